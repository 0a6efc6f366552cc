//! A run that was killed ends with the weights of one that was not.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::support::Scratch;

fn weights(scratch: &Scratch) -> Vec<u8> {
    fs::read(scratch.stage("tiny", "save").join("model.safetensors")).unwrap()
}

/// Number of lines the trainer has written, over all stages of the run.
fn steps_written(run: &Path) -> usize {
    let Ok(entries) = fs::read_dir(run) else { return 0 };
    let text = |path: &Path| fs::read_to_string(path.join("metrics.jsonl")).unwrap_or_default();
    entries.map(|entry| text(&entry.unwrap().path()).lines().count()).sum()
}

#[test]
fn killed_at_any_moment_the_same_command_ends_with_the_same_weights() {
    let undisturbed = Scratch::with_tiny_recipe();
    undisturbed.ok(&["recipe", "tiny.rhai"]);

    let killed = Scratch::with_tiny_recipe();
    let run = killed.path().join("runs/tiny");
    // Kill when the run has come this far: before any step, between checkpoints, right after one, near the end.
    for steps in [0, 2, 4, 9] {
        let mut child =
            killed.command(&["recipe", "tiny.rhai"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while steps_written(&run) < steps && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    killed.ok(&["recipe", "tiny.rhai"]);
    assert_eq!(weights(&killed), weights(&undisturbed));
    let steps = |scratch: &Scratch| -> Vec<u64> {
        let metrics = fs::read_to_string(scratch.stage("tiny", "pretrain").join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["loss"].is_number()).map(|line| line["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&killed), (1..=12).collect::<Vec<_>>(), "no step is missing from the metrics or there twice");
    assert_eq!(steps(&killed), steps(&undisturbed));
}

/// Flips one byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_named_and_not_used() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai"]);
    let pretrain = scratch.stage("tiny", "pretrain");
    damage(&pretrain.join("checkpoints/step-00000012/shard-00001-model-00001-of-00001.safetensors"));
    let ended = scratch.run(&["generate", "runs/tiny", "--prompt", "The sea"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("step-00000012/shard-00001-model-00001-of-00001.safetensors"), "{}", ended.err);
    assert!(ended.err.contains("hint:"), "{}", ended.err);
}
