//! A process that saves all the time is killed with -9, again and again; what it published last always loads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use psann_core::observer::Silent;
use psann_train::checkpoint::{State, load_model, newest};
use psann_train::{Job, PretrainOptions, pretrain};
use serde_json::json;

use super::support::{CountingStream, VOCABULARY};

/// Names the folder in which the child saves; without it, the child's test does nothing.
const FOLDER: &str = "PSANN_TEST_SAVES";

/// The child's part: trains and saves each step, for longer than anybody lets it.
#[test]
fn saves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let options = PretrainOptions::parse(&json!({
        "model": { "plugin": "model/waveresnet", "options": {
            "vocab": VOCABULARY, "d_model": 64, "n_layers": 2, "n_heads": 2,
        } },
        "steps": 1_000_000, "batch": 2, "seq_len": 12, "threads": 1,
        "checkpoint": { "every": 1, "keep": 2 }, "validation": { "every": 1_000_000 },
    }))
    .unwrap();
    let parts = options.components().unwrap();
    pretrain(Job {
        device: tch::Device::Cpu,
        options: &options,
        model: parts.model,
        sharder: parts.sharder,
        optimizer: parts.optimizer,
        stream: Box::new(CountingStream::new(2, 13)),
        validation: Vec::new(),
        probe: None,
        epoch_tokens: None,
        directory: &folder,
        observer: &Silent,
        identity: json!({}),
    })
    .unwrap();
}

fn newest_step(folder: &Path) -> u64 {
    newest(folder).unwrap().map_or(0, |checkpoint| State::read(&checkpoint).map_or(0, |state| state.step))
}

#[test]
fn after_twenty_kills_while_saving_the_last_checkpoint_always_loads() {
    let folder = tempfile::tempdir().unwrap();
    let mut reached = 0;
    for kill in 0..20_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "training::kills::saves_until_it_is_killed"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One more checkpoint, and then somewhere in the work on the next ones: a save is most of what the child does.
        while newest_step(folder.path()) <= reached {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::yield_now();
        }
        let root = folder.path().join("checkpoints");
        for _ in 0..kill * 37 % 101 {
            std::fs::read_dir(&root).unwrap().for_each(drop);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let loaded = load_model(folder.path()).unwrap();
        let step = loaded.state.unwrap().step;
        assert!(step > reached, "kill {kill}: {step} after {reached}");
        reached = step;
    }
}
