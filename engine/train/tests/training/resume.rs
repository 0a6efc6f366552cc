//! A run that was stopped, killed or damaged ends with the weights of one that was not, or says why it cannot.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use psann_core::error::Fault;
use psann_core::tokens::BatchStream;
use psann_core::{Error, Event, Observer, Result};
use psann_train::checkpoint::{State, load_model, newest};
use psann_train::export::{MODEL, SaveOptions};
use psann_train::{Job, PretrainOptions, TrainSummary, export, pretrain};
use serde_json::{Value, json};

use super::support::{CountingStream, VOCABULARY};

/// Asks to stop, or fails like a killed process would, at a step.
#[derive(Default)]
struct Watcher {
    stop_at: Option<u64>,
    seen: Mutex<u64>,
    notes: Mutex<Vec<String>>,
}

impl Observer for Watcher {
    fn event(&self, event: Event) {
        match event {
            Event::Progress { done, .. } => *self.seen.lock().unwrap() = done,
            Event::Note(text) | Event::Warning(text) => self.notes.lock().unwrap().push(text),
            Event::Done { .. } => {}
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop_at.is_some_and(|step| *self.seen.lock().unwrap() >= step)
    }
}

/// A stream that breaks off after so many batches: to the run it is a kill between two steps.
struct Breaking(CountingStream, u64);

impl BatchStream for Breaking {
    fn next_batch(&mut self) -> Result<psann_core::tokens::TokenBatch> {
        if self.0.batches == self.1 {
            return Err(Error::new("killed"));
        }
        self.0.next_batch()
    }

    fn cursor(&self) -> psann_core::tokens::Cursor {
        self.0.cursor()
    }

    fn drawn(&self) -> u64 {
        self.0.drawn()
    }

    fn seek(&mut self, cursor: &psann_core::tokens::Cursor) -> Result<()> {
        self.0.seek(cursor)
    }
}

fn options(extra: &Value) -> PretrainOptions {
    let mut options = json!({
        "model": { "plugin": "model/waveresnet", "options": {
            "vocab": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 20, "dropout": 0.1,
        } },
        "optimizer": { "plugin": "optimizer/adamw", "options": { "lr": 0.01 } },
        "steps": 10, "batch": 4, "seq_len": 12, "accumulation": 2, "seed": 5,
        "checkpoint": { "every": 4, "keep": 2 },
        "validation": { "every": 5 },
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    PretrainOptions::parse(&options).unwrap()
}

fn run_with(
    directory: &Path,
    options: &PretrainOptions,
    stream: Box<dyn BatchStream>,
    observer: &dyn Observer,
    identity: Value,
) -> Result<TrainSummary> {
    let parts = options.components()?;
    let validation = vec![CountingStream { batches: 1000, ..CountingStream::new(4, 13) }.next_batch()?];
    pretrain(Job {
        device: tch::Device::Cpu,
        options,
        model: parts.model,
        sharder: parts.sharder,
        optimizer: parts.optimizer,
        stream,
        validation,
        probe: None,
        epoch_tokens: None,
        directory,
        observer,
        identity,
    })
}

fn run(directory: &Path, observer: &Watcher) -> Result<TrainSummary> {
    run_with(directory, &options(&json!({})), Box::new(CountingStream::new(4, 13)), observer, json!({ "plan": 1 }))
}

/// Weights and optimizer state of the newest checkpoint, and the metrics without what a clock decides.
fn outcome(directory: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
    let checkpoint = newest(directory).unwrap().unwrap();
    assert!(checkpoint.ends_with("step-00000010"), "{}", checkpoint.display());
    let read = |name: &str| (name.to_owned(), fs::read(checkpoint.join(name)).unwrap());
    let files: Vec<String> = State::read(&checkpoint).unwrap().files.into_keys().chain(["state.json".into()]).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let metrics = fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for clock in ["seconds", "loader", "memory", "tokens_per_second"] {
            line.as_object_mut().unwrap().remove(clock);
        }
        line
    });
    (files.iter().map(|name| read(name)).collect(), lines.collect())
}

fn undisturbed() -> (BTreeMap<String, Vec<u8>>, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(folder.path(), &Watcher::default()).unwrap();
    assert_eq!((summary.steps, summary.tokens, summary.resumed_from), (10, 480, None));
    outcome(folder.path())
}

#[test]
fn training_lowers_the_loss_and_tells_every_step_once() {
    let (_, metrics) = undisturbed();
    let losses: Vec<f64> = metrics.iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 10);
    assert!(losses[9] < losses[0] - 0.1, "{losses:?}");
    let validated: Vec<u64> =
        metrics.iter().filter(|line| line["perplexity"].is_number()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(validated, [5, 10]);
}

#[test]
fn stopped_and_continued_is_bitwise_the_undisturbed_run() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let error = run(folder.path(), &Watcher { stop_at: Some(3), ..Watcher::default() }).unwrap_err();
    assert_eq!(error.fault(), Fault::Interrupted);
    assert!(error.to_string().contains("stopped after step 3 of 10"), "{error}");
    assert!(newest(folder.path()).unwrap().unwrap().ends_with("step-00000003"), "what was reached is saved");
    let summary = run(folder.path(), &Watcher::default()).unwrap();
    assert_eq!(summary.resumed_from, Some(3));
    assert_eq!(outcome(folder.path()), expected);
}

#[test]
fn killed_between_checkpoints_and_continued_is_bitwise_the_undisturbed_run() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    // Before the first checkpoint, right at one, and beyond it: the steps after step 4 are made again.
    for kill in [2, 4, 6] {
        let stream = Breaking(CountingStream::new(4, 13), kill);
        let options = options(&json!({}));
        let result = run_with(folder.path(), &options, Box::new(stream), &Watcher::default(), json!({ "plan": 1 }));
        assert_eq!(result.unwrap_err().to_string(), "killed");
        // A kill tears the line that is being written, too.
        let metrics = folder.path().join("metrics.jsonl");
        fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "{\"step\":").unwrap();
    }
    let observer = Watcher::default();
    assert_eq!(run(folder.path(), &observer).unwrap().resumed_from, Some(4));
    assert!(observer.notes.lock().unwrap().iter().any(|note| note.contains("goes on from step 4 of 10")));
    assert_eq!(outcome(folder.path()), expected);
}

#[test]
fn a_run_that_is_finished_does_nothing_and_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), &Watcher::default()).unwrap();
    let before = outcome(folder.path());
    let again = run(folder.path(), &Watcher::default()).unwrap();
    assert_eq!(again.resumed_from, Some(10));
    assert_eq!((again.loss, again.validation_loss), (first.loss, first.validation_loss));
    assert_eq!(again.tokens_per_second, None);
    assert_eq!(outcome(folder.path()), before);
}

#[test]
fn another_configuration_and_other_data_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &Watcher { stop_at: Some(3), ..Watcher::default() }).unwrap_err();
    let stream = || Box::new(CountingStream::new(4, 13));
    let other = run_with(folder.path(), &options(&json!({})), stream(), &Watcher::default(), json!({ "plan": 2 }));
    let error = other.unwrap_err();
    assert!(error.to_string().contains("`plan` was `1` and is `2`"), "{error}");
    assert_eq!(error.fault(), Fault::Usage);
    let changed = Box::new(CountingStream { hash: "other".into(), ..CountingStream::new(4, 13) });
    let error =
        run_with(folder.path(), &options(&json!({})), changed, &Watcher::default(), json!({ "plan": 1 })).unwrap_err();
    assert!(error.to_string().contains("the data changed"), "{error}");
}

#[test]
fn a_damaged_checkpoint_stops_the_run_and_removing_it_falls_back_on_the_one_before() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let kill = Breaking(CountingStream::new(4, 13), 9);
    run_with(folder.path(), &options(&json!({})), Box::new(kill), &Watcher::default(), json!({ "plan": 1 }))
        .unwrap_err();
    let checkpoint = newest(folder.path()).unwrap().unwrap();
    assert!(checkpoint.ends_with("step-00000008"));
    let name = "shard-00001-model-00001-of-00001.safetensors";
    let weights = checkpoint.join(name);
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 100]).unwrap();
    let error = run(folder.path(), &Watcher::default()).unwrap_err();
    assert!(
        error.to_string().contains("step-00000008/shard-00001-model-00001-of-00001.safetensors` is damaged"),
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("step-00000008"));
    fs::remove_dir_all(&checkpoint).unwrap();
    assert_eq!(run(folder.path(), &Watcher::default()).unwrap().resumed_from, Some(4));
    assert_eq!(outcome(folder.path()), expected);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_with_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let wild = options(&json!({
        "optimizer": { "plugin": "optimizer/adamw", "options": { "lr": 1e30 } }, "clip": 0,
    }));
    let stream = Box::new(CountingStream::new(4, 13));
    let error = run_with(folder.path(), &wild, stream, &Watcher::default(), json!({})).unwrap_err();
    assert!(error.to_string().contains("of step 2 is"), "{error}");
    assert!(error.hint_text().unwrap().contains("lr"));
}

#[test]
fn rows_of_the_wrong_length_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stream = Box::new(CountingStream::new(4, 12));
    let error = run_with(folder.path(), &options(&json!({})), stream, &Watcher::default(), json!({})).unwrap_err();
    assert!(error.to_string().contains("rows of 12 tokens"), "{error}");
}

#[test]
fn a_trained_model_loads_from_stage_checkpoint_and_saved_folder_alike() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(folder.path(), &Watcher::default()).unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    fs::write(&tokenizer, "{}").unwrap();
    let saved = folder.path().join("saved");
    let report =
        export::save(folder.path(), &saved, std::slice::from_ref(&tokenizer), &SaveOptions::default()).unwrap();
    assert_eq!(report.parameters, summary.parameters);
    assert_eq!(fs::read_to_string(saved.join("tokenizer.json")).unwrap(), "{}");
    let loaded: Vec<_> = [folder.path(), &summary.checkpoint, &saved].map(|place| load_model(place).unwrap()).into();
    assert_eq!(loaded[0].state.as_ref().unwrap().step, 10);
    for other in &loaded[1..] {
        assert_eq!(other.component, loaded[0].component);
        let pairs = loaded[0].parameters.iter().flatten().zip(other.parameters.iter().flatten());
        assert!(pairs.into_iter().all(|(one, two)| one.equal(two)));
    }
    let weights = saved.join(MODEL);
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert!(load_model(&saved).err().unwrap().to_string().contains("saved/model.safetensors` is damaged"));
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(load_model(nothing.path()).err().unwrap().fault(), Fault::Usage);
}

#[test]
fn checkpoints_in_the_background_are_those_of_a_run_that_waits() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let background = options(&json!({ "checkpoint": { "every": 4, "keep": 2, "background": true } }));
    let kill = Breaking(CountingStream::new(4, 13), 9);
    run_with(folder.path(), &background, Box::new(kill), &Watcher::default(), json!({ "plan": 1 })).unwrap_err();
    let stream = Box::new(CountingStream::new(4, 13));
    let summary = run_with(folder.path(), &background, stream, &Watcher::default(), json!({ "plan": 1 })).unwrap();
    assert!(summary.resumed_from >= Some(4), "{:?}", summary.resumed_from);
    assert_eq!(outcome(folder.path()), expected);
}
