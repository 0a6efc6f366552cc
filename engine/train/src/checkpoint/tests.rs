//! Saving, keeping, finding and refusing checkpoints; that a run continues from them is tested in `tests/resume.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use psann_core::plan::Component;
use psann_core::registry::Kind as PluginKind;
use psann_core::tokens::Cursor;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::files::full::FullDisk;

fn state(step: u64) -> State {
    State {
        version: VERSION,
        step,
        tokens: step * 10,
        loss: 2.5,
        seed: 7,
        updates: step,
        left_out: Vec::new(),
        guard: serde_json::Value::Null,
        cursor: Cursor { batches: step, rows: Vec::new(), hash: "00".into(), ..Cursor::default() },
        model: Component::new(PluginKind::Model, "none"),
        identity: json!({ "plan": 1 }),
        files: BTreeMap::new(),
    }
}

fn content(value: f64) -> Content {
    let tensor = |name: &str| (name.to_owned(), Tensor::full([30, 10], value, (Kind::Float, Device::Cpu)));
    Content { model: vec![tensor("a.weight")], optimizer: vec![tensor("a.weight.exp_avg")] }
}

fn folders(directory: &Path) -> Vec<String> {
    names(&directory.join("checkpoints")).unwrap()
}

#[test]
fn the_last_ones_are_kept_and_the_newest_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(newest(folder.path()).unwrap().is_none());
    let checkpoints = Checkpoints::open(folder.path(), 2).unwrap();
    for step in [5, 10, 100] {
        checkpoints.save(state(step), &content(step as f64)).unwrap();
    }
    assert_eq!(folders(folder.path()), ["latest", "step-00000010", "step-00000100"]);
    assert_eq!(fs::read_to_string(folder.path().join("checkpoints/latest")).unwrap(), "step-00000100\n");
    let found = newest(folder.path()).unwrap().unwrap();
    let read = State::read(&found).unwrap();
    assert_eq!((read.step, read.tokens, read.cursor.batches), (100, 1000, 100));
    let tensors = read_verified(&found, &read, MODEL).unwrap();
    assert_eq!(tensors[0].0, "a.weight");
    assert_eq!(tensors[0].1.double_value(&[29, 9]), 100.0);
}

#[test]
fn what_a_killed_save_left_is_removed_and_never_taken_for_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 3).unwrap();
    checkpoints.save(state(5), &content(1.0)).unwrap();
    // A kill in the middle of a file, after the files but before the rename, and while an old one was removed.
    let root = folder.path().join("checkpoints");
    for (name, whole) in [(".tmp-step-00000006", false), (".tmp-step-00000007", true), (".tmp-step-00000004", false)] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join(MODEL), b"half a fi").unwrap();
        if whole {
            fs::copy(root.join("step-00000005").join(STATE), root.join(name).join(STATE)).unwrap();
        }
    }
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000005"));
    let checkpoints = Checkpoints::open(folder.path(), 3).unwrap();
    assert_eq!(folders(folder.path()), ["latest", "step-00000005"]);
    checkpoints.save(state(6), &content(1.0)).unwrap();
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000006"));
}

#[test]
fn a_kill_before_the_pointer_is_moved_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path(), 3).unwrap();
    checkpoints.save(state(5), &content(1.0)).unwrap();
    let latest = folder.path().join("checkpoints/latest");
    let before = fs::read(&latest).unwrap();
    checkpoints.save(state(6), &content(1.0)).unwrap();
    fs::write(&latest, before).unwrap();
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000006"));
}

#[test]
fn a_disk_that_fills_up_at_any_byte_publishes_nothing_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    Checkpoints::open(folder.path(), 1).unwrap().save(state(5), &content(1.0)).unwrap();
    let published = folder.path().join("checkpoints/step-00000005");
    let size = |name: &str| fs::metadata(published.join(name)).unwrap().len() as usize;
    let (model, optimizer, json) = (size(MODEL), size(OPTIMIZER), size(STATE));
    for room in [0, 4, model - 1, model, model + optimizer - 1, model + optimizer, model + optimizer + json - 1] {
        let full = Checkpoints::on(folder.path(), 1, Box::new(FullDisk::with_room(room))).unwrap();
        let error = full.save(state(6), &content(2.0)).unwrap_err();
        assert!(error.to_string().contains("saving step 6: cannot write"), "{room}: {error}");
        assert!(error.hint_text().unwrap().contains("free some space"), "{room}: {error}");
        assert_eq!(folders(folder.path()), ["latest", "step-00000005"], "{room}");
    }
    let read = State::read(&published).unwrap();
    assert_eq!(read_verified(&published, &read, MODEL).unwrap()[0].1.double_value(&[0, 0]), 1.0);
}

#[test]
fn a_damaged_file_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let published = Checkpoints::open(folder.path(), 1).unwrap().save(state(5), &content(1.0)).unwrap();
    let read = State::read(&published).unwrap();
    let path = published.join(MODEL);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() - 3] ^= 1;
    let longer = [whole.as_slice(), b"x"].concat();
    for damaged in [&whole[..whole.len() / 2], &flipped, &longer, b""] {
        fs::write(&path, damaged).unwrap();
        for error in
            [read_verified(&published, &read, MODEL).unwrap_err(), verify(&published, &read, MODEL).unwrap_err()]
        {
            assert!(error.to_string().contains("step-00000005/model.safetensors` is damaged"), "{error}");
            assert!(
                error.hint_text().unwrap().contains("step-00000005") && error.hint_text().unwrap().contains("--fresh")
            );
        }
    }
    fs::remove_file(&path).unwrap();
    assert!(read_verified(&published, &read, MODEL).unwrap_err().hint_text().is_some());
    fs::write(published.join(STATE), b"{ \"version\": 1, \"step\":").unwrap();
    assert!(State::read(&published).unwrap_err().to_string().contains("state.json` is damaged"));
    fs::write(published.join(STATE), b"{ \"version\": 99 }").unwrap();
    assert!(State::read(&published).unwrap_err().to_string().contains("version 99"));
}
