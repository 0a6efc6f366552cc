//! What guards do about a batch that does not belong: skip its step, stop, or go back and leave it out.

use std::fs;
use std::path::Path;

use psann_core::observer::Silent;
use psann_core::tokens::{BatchStream, Cursor, RowSources, Skip, Span, TokenBatch};
use psann_core::{Error, Result};
use psann_train::checkpoint::{State, load_model, newest};
use psann_train::{Job, PretrainOptions, TrainSummary, pretrain};
use serde_json::{Value, json};
use tch::Tensor;

use super::support::{CountingStream, VOCABULARY};

/// The draw whose batch is noise among batches that can be learned.
const BAD: u64 = 33;
const STEPS: u64 = 40;

/// Counts, but for one batch; can leave batches out, and says where rows come from.
struct Poisoned {
    inner: CountingStream,
    skip: Vec<Skip>,
}

impl Poisoned {
    fn new(skip: &[Skip]) -> Self {
        Self { inner: CountingStream::new(4, 13), skip: skip.to_vec() }
    }
}

impl BatchStream for Poisoned {
    fn next_batch(&mut self) -> Result<TokenBatch> {
        loop {
            let mut batch = self.inner.next_batch()?;
            let draw = self.inner.batches;
            if self.skip.iter().any(|skip| skip.holds(draw)) {
                continue;
            }
            if draw == BAD {
                for (place, token) in batch.tokens.iter_mut().enumerate() {
                    *token = (place as u32 * place as u32 * 7 + 3) % VOCABULARY;
                }
            }
            return Ok(batch);
        }
    }

    fn cursor(&self) -> Cursor {
        Cursor { skip: self.skip.clone(), drawn: self.inner.batches, ..self.inner.cursor() }
    }

    fn drawn(&self) -> u64 {
        self.inner.batches
    }

    fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        self.skip.clone_from(&cursor.skip);
        self.inner.seek(cursor)
    }

    fn skip(&mut self, batches: Skip) -> Result<()> {
        self.skip.push(batches);
        Ok(())
    }

    fn sources(&self) -> Vec<RowSources> {
        let span = Span {
            epoch: 0,
            file: "numbers".into(),
            document: self.inner.batches,
            id: None,
            bytes: (0, 1),
            offset: 0,
            tokens: 13,
        };
        (0..4).map(|row| RowSources { row, spans: vec![span.clone()] }).collect()
    }
}

fn run(directory: &Path, guard: &Value, skip: &[Skip]) -> Result<TrainSummary> {
    run_saving(directory, guard, skip, 12)
}

/// A run with a checkpoint every so many steps.
fn run_saving(directory: &Path, guard: &Value, skip: &[Skip], every: u64) -> Result<TrainSummary> {
    let options = PretrainOptions::parse(&json!({
        "model": { "plugin": "model/waveresnet", "options": {
            "vocab": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 20,
        } },
        "optimizer": { "plugin": "optimizer/adamw", "options": { "lr": 0.02 } },
        "steps": STEPS, "batch": 4, "seq_len": 12, "seed": 5, "guard": guard,
        "schedule": { "decay": "none" },
        "checkpoint": { "every": every, "keep": 9 }, "validation": { "every": 100 },
    }))?;
    let parts = options.components()?;
    pretrain(Job {
        device: tch::Device::Cpu,
        options: &options,
        model: parts.model,
        sharder: parts.sharder,
        optimizer: parts.optimizer,
        stream: Box::new(Poisoned::new(skip)),
        validation: Vec::new(),
        probe: None,
        epoch_tokens: None,
        directory,
        observer: &Silent,
        identity: json!({ "guard": "tested" }),
    })
}

fn guard(spike: &str) -> Value {
    json!({ "spike": spike, "window": 16, "deviations": 8.0 })
}

fn log(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("guards.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn state(directory: &Path) -> State {
    State::read(&newest(directory).unwrap().unwrap()).unwrap()
}

fn weights(directory: &Path) -> Vec<Tensor> {
    load_model(directory).unwrap().parameters.into_iter().flatten().collect()
}

/// The losses of the metrics, by step.
fn losses(directory: &Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| Some((line["step"].as_u64()?, line["loss"].as_f64()?))).collect()
}

#[test]
fn a_skipped_step_moves_nothing_and_is_on_record_with_its_data() {
    let (skipped, ignored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let summary = run(skipped.path(), &guard("skip"), &[]).unwrap();
    assert_eq!(summary.steps, STEPS);
    let log = log(skipped.path());
    assert_eq!(log.len(), 1, "{log:?}");
    let line = &log[0];
    assert_eq!((line["step"].as_u64(), line["batch"].as_u64()), (Some(BAD), Some(BAD)));
    assert_eq!((&line["guard"]["what"], &line["guard"]["action"]), (&json!("loss"), &json!("skip")));
    assert_eq!(line["rows"].as_array().unwrap().len(), 4);
    assert_eq!(line["rows"][3]["spans"][0]["document"].as_u64(), Some(BAD));
    assert_eq!(state(skipped.path()).updates, STEPS - 1);
    run(ignored.path(), &guard("ignore"), &[]).unwrap();
    assert_eq!(state(ignored.path()).updates, STEPS);
    assert_ne!(weights(skipped.path()), weights(ignored.path()));
    assert_eq!(losses(skipped.path())[..BAD as usize], losses(ignored.path())[..BAD as usize]);
}

#[test]
fn rewinding_ends_as_if_the_batch_had_never_been_there() {
    // Back to a checkpoint on the way, and to the very beginning.
    for every in [12, STEPS] {
        let (rewound, clean) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run_saving(rewound.path(), &guard("rewind"), &[], every).unwrap();
        run_saving(clean.path(), &guard("ignore"), &[Skip(BAD, BAD)], every).unwrap();
        assert_eq!(weights(rewound.path()), weights(clean.path()), "{every}");
        assert_eq!(losses(rewound.path()), losses(clean.path()), "metrics tell one story");
        let state = state(rewound.path());
        assert_eq!((state.left_out.as_slice(), state.updates), (&[Skip(BAD, BAD)][..], STEPS));
        assert_eq!(log(rewound.path()).len(), 1);
    }
}

#[test]
fn rewinding_leaves_out_as_many_batches_as_asked_and_has_a_first_checkpoint_to_go_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let guard = json!({ "spike": "rewind", "window": 16, "deviations": 8.0, "rewind_batches": 3 });
    run(folder.path(), &guard, &[]).unwrap();
    assert_eq!(state(folder.path()).left_out, [Skip(BAD - 2, BAD)]);
    assert!(folder.path().join("checkpoints/step-00000000").is_dir());
}

#[test]
fn a_run_that_goes_back_too_often_or_is_told_to_stop_says_where_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let error = run(folder.path(), &guard("stop"), &[]).unwrap_err();
    assert!(error.to_string().contains(&format!("step {BAD}")), "{error}");
    assert!(error.hint_text().unwrap().contains("guards.jsonl"));
    let folder = tempfile::tempdir().unwrap();
    let never = json!({ "spike": "rewind", "window": 16, "deviations": 8.0, "most_rewinds": 0 });
    let error: Error = run(folder.path(), &never, &[]).unwrap_err();
    assert!(error.to_string().contains("went back 0 times"), "{error}");
}
