//! Saving, keeping, finding and refusing checkpoints; that a run continues from them is tested in `tests/resume.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use psann_core::collective::Alone;
use psann_core::optimizer::Part;
use psann_core::plan::Component;
use psann_core::registry::Kind as PluginKind;
use psann_core::tokens::Cursor;
use psann_golden::ranks;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::shards::Wanted;
use super::*;
use crate::files::full::FullDisk;

const ALONE: Alone = Alone { device: Device::Cpu };

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

/// Thirty rows of ten, of which rank `rank` of `ranks` brings its part.
fn content_of(value: f64, rank: i64, ranks: i64) -> Content {
    let (first, end) = (30 * rank / ranks, 30 * (rank + 1) / ranks);
    let rows = |name: &str| Rows {
        name: name.to_owned(),
        tensor: Tensor::full([end - first, 10], value, (Kind::Float, Device::Cpu)),
        first,
        part: Part::Rows,
    };
    Content { model: vec![rows("a.weight")], optimizer: vec![rows("a.weight.exp_avg")] }
}

fn content(value: f64) -> Content {
    content_of(value, 0, 1)
}

fn open(directory: &Path, keep: usize) -> Checkpoints {
    Checkpoints::open(directory, keep, &ALONE).unwrap()
}

/// The whole of `a.weight` in checkpoint `folder`.
fn weight(folder: &Path) -> Result<Tensor> {
    let state = State::read(folder)?;
    let files = state.files.iter().filter(|(name, _)| !name.starts_with(OPTIMIZER));
    let mut shards = Shards::open(folder, files, way_out(folder))?;
    let into = Tensor::zeros([30, 10], (Kind::Float, Device::Cpu));
    shards.fill(&BTreeMap::from([("a.weight".to_owned(), Wanted { first: 0, into: into.shallow_clone() })]))?;
    Ok(into)
}

fn folders(directory: &Path) -> Vec<String> {
    names(&directory.join("checkpoints")).unwrap()
}

#[test]
fn the_last_ones_are_kept_and_the_newest_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(newest(folder.path()).unwrap().is_none());
    let checkpoints = open(folder.path(), 2);
    for step in [5, 10, 100] {
        checkpoints.save(&state(step), content(step as f64), &ALONE).unwrap();
    }
    assert_eq!(folders(folder.path()), ["latest", "step-00000010", "step-00000100"]);
    assert_eq!(fs::read_to_string(folder.path().join("checkpoints/latest")).unwrap(), "step-00000100\n");
    let found = newest(folder.path()).unwrap().unwrap();
    let read = State::read(&found).unwrap();
    assert_eq!((read.step, read.tokens, read.cursor.batches), (100, 1000, 100));
    assert_eq!(weight(&found).unwrap().double_value(&[29, 9]), 100.0);
}

#[test]
fn what_a_killed_save_left_is_removed_and_never_taken_for_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = open(folder.path(), 3);
    checkpoints.save(&state(5), content(1.0), &ALONE).unwrap();
    // A kill in the middle of a file, after the files but before the rename, and while an old one was removed.
    let root = folder.path().join("checkpoints");
    for (name, whole) in [(".tmp-step-00000006", false), (".tmp-step-00000007", true), (".tmp-step-00000004", false)] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join(shard_name(0)), b"half a fi").unwrap();
        if whole {
            fs::copy(root.join("step-00000005").join(STATE), root.join(name).join(STATE)).unwrap();
        }
    }
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000005"));
    let checkpoints = open(folder.path(), 3);
    assert_eq!(folders(folder.path()), ["latest", "step-00000005"]);
    checkpoints.save(&state(6), content(1.0), &ALONE).unwrap();
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000006"));
}

#[test]
fn a_kill_before_the_pointer_is_moved_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = open(folder.path(), 3);
    checkpoints.save(&state(5), content(1.0), &ALONE).unwrap();
    let latest = folder.path().join("checkpoints/latest");
    let before = fs::read(&latest).unwrap();
    checkpoints.save(&state(6), content(1.0), &ALONE).unwrap();
    fs::write(&latest, before).unwrap();
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000006"));
}

#[test]
fn a_disk_that_fills_up_at_any_byte_publishes_nothing_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), 1).save(&state(5), content(1.0), &ALONE).unwrap();
    let published = folder.path().join("checkpoints/step-00000005");
    let size = |name: &str| fs::metadata(published.join(name)).unwrap().len() as usize;
    let (model, optimizer) = (size(&shard_name(0)), size(&format!("{OPTIMIZER}/{}", shard_name(0))));
    let json = size(STATE);
    for room in [0, 4, model - 1, model, model + optimizer - 1, model + optimizer, model + optimizer + json - 1] {
        let full = Checkpoints::on(folder.path(), 1, &ALONE, Arc::new(FullDisk::with_room(room))).unwrap();
        let error = full.save(&state(6), content(2.0), &ALONE).unwrap_err();
        assert!(error.to_string().contains("saving step 6: cannot write"), "{room}: {error}");
        assert!(error.hint_text().unwrap().contains("free some space"), "{room}: {error}");
        assert_eq!(folders(folder.path()), ["latest", "step-00000005"], "{room}");
    }
    assert_eq!(weight(&published).unwrap().double_value(&[0, 0]), 1.0);
}

#[test]
fn a_damaged_file_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let published = open(folder.path(), 1).save(&state(5), content(1.0), &ALONE).unwrap();
    let path = published.join(shard_name(0));
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() - 3] ^= 1;
    let longer = [whole.as_slice(), b"x"].concat();
    for damaged in [&whole[..whole.len() / 2], &flipped, &longer, b""] {
        fs::write(&path, damaged).unwrap();
        let error = weight(&published).unwrap_err();
        assert!(
            error.to_string().contains("step-00000005/shard-00001-model-00001-of-00001.safetensors` is damaged"),
            "{error}"
        );
        assert!(error.hint_text().unwrap().contains("step-00000005") && error.hint_text().unwrap().contains("--fresh"));
    }
    fs::remove_file(&path).unwrap();
    assert!(weight(&published).unwrap_err().hint_text().is_some());
    let text = fs::read_to_string(published.join(STATE)).unwrap();
    fs::write(published.join(STATE), text.replace("\"step\": 5", "\"step\": 6")).unwrap();
    assert!(State::read(&published).unwrap_err().to_string().contains("its content is not what was saved"));
    fs::write(published.join(STATE), b"{ \"version\": 2, \"step\":").unwrap();
    assert!(State::read(&published).unwrap_err().to_string().contains("state.json` is damaged"));
    fs::write(published.join(STATE), b"{ \"version\": 99 }").unwrap();
    assert!(State::read(&published).unwrap_err().to_string().contains("version 99"));
}

#[test]
fn ranks_save_together_and_one_that_fails_fails_all() {
    let folder = tempfile::tempdir().unwrap();
    let saved = ranks::run(3, |group| {
        let checkpoints = Checkpoints::open(folder.path(), 2, group.as_ref()).unwrap();
        let rank = group.rank() as i64;
        checkpoints.save(&state(5), content_of(rank as f64, rank, 3), group.as_ref()).unwrap()
    });
    assert!(saved.iter().all(|path| *path == newest(folder.path()).unwrap().unwrap()));
    let whole = weight(&saved[0]).unwrap();
    assert_eq!([0, 9, 10, 20, 29].map(|row| whole.double_value(&[row, 0])), [0.0, 0.0, 1.0, 2.0, 2.0]);
    assert_eq!(State::read(&saved[0]).unwrap().files.len(), 6);

    let errors = ranks::run(3, |group| {
        let disk: Arc<dyn Disk> =
            if group.rank() == 1 { Arc::new(FullDisk::with_room(100)) } else { Arc::new(FileSystem) };
        let checkpoints = Checkpoints::on(folder.path(), 2, group.as_ref(), disk).unwrap();
        let rank = group.rank() as i64;
        checkpoints.save(&state(6), content_of(rank as f64, rank, 3), group.as_ref()).unwrap_err().to_string()
    });
    assert!(errors[0].contains("saving step 6: rank 1: cannot write"), "{}", errors[0]);
    assert!(errors[1].starts_with("saving step 6: cannot write"), "{}", errors[1]);
    assert_eq!(folders(folder.path()), ["latest", "step-00000005"]);
}

#[test]
fn what_a_thread_saves_is_what_would_be_saved_and_appears_at_the_end() {
    let (straight, threaded) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let read = |folder: &Path| {
        let names = State::read(folder).unwrap().files.into_keys().chain([STATE.to_owned()]);
        names.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect::<Vec<_>>()
    };
    let saved = ranks::run(2, |group| {
        let rank = group.rank() as i64;
        let checkpoints = Checkpoints::open(straight.path(), 2, group.as_ref()).unwrap();
        let expected = checkpoints.save(&state(5), content_of(1.5, rank, 2), group.as_ref()).unwrap();
        let checkpoints = Checkpoints::open(threaded.path(), 2, group.as_ref()).unwrap();
        let mut content = content_of(1.5, rank, 2);
        let shared = content.model[0].tensor.shallow_clone();
        content.model[0].tensor = shared.shallow_clone();
        let saving = checkpoints.start(state(5), content, group.as_ref()).unwrap();
        // The run goes on and changes its weights.
        let _ = shared.shallow_clone().fill_(9.0);
        assert!(newest(threaded.path()).unwrap().is_none(), "not published before all ranks are done");
        assert_eq!(saving.step(), 5);
        group.barrier().unwrap();
        (expected, checkpoints.end(saving, group.as_ref()).unwrap())
    });
    let (expected, found) = &saved[0];
    assert_eq!(read(found), read(expected));
}

#[test]
fn ranks_go_on_from_the_checkpoint_that_the_first_one_sees() {
    let (first, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (folder, steps) in [(&first, [2, 4]), (&late, [1, 2])] {
        for step in steps {
            open(folder.path(), 9).save(&state(step), content(1.0), &ALONE).unwrap();
        }
    }
    let found = ranks::run(2, |group| {
        let seen = if group.rank() == 0 { first.path() } else { late.path() };
        newest_of_all(seen, group.as_ref()).unwrap().unwrap()
    });
    assert_eq!(found, [first.path().join("checkpoints/step-00000004"), late.path().join("checkpoints/step-00000004")]);
    let nothing = tempfile::tempdir().unwrap();
    let found = ranks::run(2, |group| {
        let seen = if group.rank() == 0 { nothing.path() } else { late.path() };
        newest_of_all(seen, group.as_ref()).unwrap()
    });
    assert_eq!(found, [None, None]);
}

#[test]
fn a_rank_that_cannot_go_on_stops_the_others() {
    let told = ranks::run(3, |group| {
        let own = if group.rank() == 1 { Err(Error::new("cannot read `a`")) } else { Ok(group.rank()) };
        agree(own, group.as_ref()).unwrap_err().to_string()
    });
    assert_eq!(told, ["rank 1: cannot read `a`", "cannot read `a`", "rank 1: cannot read `a`"]);
}
