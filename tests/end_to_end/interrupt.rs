//! Ctrl-C, SIGTERM and SIGUSR1: save, say so, exit 130; the same command goes on.

use std::fs;
use std::process::{Command, Stdio};

use super::support::Scratch;

fn checkpoints(scratch: &Scratch) -> usize {
    let folder = scratch.stage("tiny", "pretrain").join("checkpoints");
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("step-")).count()
}

fn stopped_by(signal: &str) {
    let scratch = Scratch::with_tiny_recipe();
    let arguments = ["recipe", "tiny.rhai", "--set", "steps=100000", "--set", "pretrain.checkpoint.every=50000"];
    let child = scratch.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let run = scratch.path().join("runs/tiny");
    let started = || {
        let Ok(entries) = fs::read_dir(&run) else { return false };
        entries.filter_map(Result::ok).any(|entry| entry.path().join("metrics.jsonl").is_file())
    };
    while !started() {
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{err}");
    assert!(err.contains("stopped"), "{err}");
    assert_eq!(checkpoints(&scratch), 1, "what was reached is saved");
    assert_eq!(fs::read_to_string(run.join("STATUS")).unwrap(), "interrupted\n");
}

#[test]
fn ctrl_c_saves_and_exits_130() {
    stopped_by("-INT");
}

#[test]
fn sigterm_saves_and_exits_130() {
    stopped_by("-TERM");
}

#[test]
fn sigusr1_saves_and_exits_130() {
    stopped_by("-USR1");
}
