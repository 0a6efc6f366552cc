//! Several processes on one run: they start by themselves, survive the death of one, and may change in number.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::support::{Ended, Scratch};

const STEPS: &str = "steps=40";

fn recipe(ranks: &str) -> [&str; 6] {
    ["recipe", "tiny.rhai", "--set", STEPS, "--set", ranks]
}

fn start(scratch: &Scratch, ranks: &str) -> Child {
    scratch.command(&recipe(ranks)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn pretrain(scratch: &Scratch) -> Option<PathBuf> {
    let entries = fs::read_dir(scratch.path().join("runs/tiny")).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pretrain-")))
}

/// The losses of the metrics, in the order of steps.
fn losses(scratch: &Scratch) -> Vec<f64> {
    let Some(folder) = pretrain(scratch) else { return Vec::new() };
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["loss"].as_f64()).collect()
}

/// The rolling hash over all data that the run has seen.
fn data_hash(scratch: &Scratch) -> String {
    let state = scratch.stage("tiny", "pretrain").join("checkpoints/step-00000040/state.json");
    let state: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
    state["cursor"]["hash"].as_str().unwrap().to_owned()
}

fn weights(scratch: &Scratch) -> Vec<u8> {
    fs::read(scratch.stage("tiny", "save").join("model.safetensors")).unwrap()
}

fn wait_for_steps(scratch: &Scratch, child: &mut Child, steps: usize) {
    while losses(scratch).len() < steps {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before step {steps}");
        std::thread::yield_now();
    }
}

fn signal(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// The process that is rank `rank` of the ranks that `launcher` started.
fn process_of_rank(launcher: u32, rank: usize) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_rank = |process: &u32| {
        let folder = Path::new("/proc").join(process.to_string());
        let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let variable = format!("RANK={rank}");
        parent == Some(launcher) && environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    };
    numbers.into_iter().find(is_rank)
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "step {}: {found}, not {expected}", step + 1);
    }
}

#[test]
fn two_ranks_come_to_what_one_comes_to_and_speak_with_one_voice() {
    let (one, two) = (Scratch::with_tiny_recipe(), Scratch::with_tiny_recipe());
    one.ok(&recipe("pretrain.ranks=1"));
    let ended = two.run(&recipe("pretrain.ranks=2"));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_close(&losses(&two), &losses(&one));
    assert_eq!(data_hash(&two), data_hash(&one));
    assert_eq!(ended.err.matches("run complete").count(), 1, "{}", ended.err);
    assert_eq!(ended.out.matches("perplexity").count(), 1, "{}", ended.out);
}

#[test]
fn a_killed_rank_costs_a_restart_and_no_bit() {
    let undisturbed = Scratch::with_tiny_recipe();
    undisturbed.ok(&recipe("pretrain.ranks=2"));
    let killed = Scratch::with_tiny_recipe();
    let mut child = start(&killed, "pretrain.ranks=2");
    wait_for_steps(&killed, &mut child, 8);
    signal("-9", process_of_rank(child.id(), 1).unwrap());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("rank 1"), "{}", ended.err);
    assert_eq!(weights(&killed), weights(&undisturbed));
    assert_eq!(losses(&killed), losses(&undisturbed));
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks_on_the_same_data() {
    let undisturbed = Scratch::with_tiny_recipe();
    undisturbed.ok(&recipe("pretrain.ranks=1"));
    let elastic = Scratch::with_tiny_recipe();
    for (ranks, until) in [("pretrain.ranks=2", 6), ("pretrain.ranks=4", 18), ("pretrain.ranks=3", 26)] {
        let mut child = start(&elastic, ranks);
        wait_for_steps(&elastic, &mut child, until);
        signal("-INT", child.id());
        let ended = Ended::from(child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(130), "{ranks}\n{}", ended.err);
    }
    elastic.ok(&recipe("pretrain.ranks=1"));
    assert_eq!(data_hash(&elastic), data_hash(&undisturbed));
    assert_close(&losses(&elastic), &losses(&undisturbed));
}

#[test]
fn more_ranks_than_sequences_are_refused_before_anything_is_trained() {
    let scratch = Scratch::with_tiny_recipe();
    let ended = scratch.run(&recipe("pretrain.ranks=5"));
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("a batch of 4 sequences on 5 processes"), "{}", ended.err);
}
