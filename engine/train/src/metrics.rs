//! `metrics.jsonl`: one JSON line per logged step and one per validation, for people, plots and reports.
//!
//! The file tells one gapless story however often a run was killed: a resumed run first cuts off what lies beyond its
//! checkpoint, and a checkpoint is published only after the lines before it are on the disk.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use psann_core::tokens::StreamCounters;
use psann_core::{Error, Result};
use psann_torch::memory;
use serde_json::{Value, json};

use crate::trainer::step::Outcome;

/// Name of the file in a stage's folder.
pub const FILE: &str = "metrics.jsonl";

/// The open file.
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// Opens the file in `directory`, keeping the lines up to `step`.
    pub fn open(directory: &Path, step: u64) -> Result<Self> {
        let path = directory.join(FILE);
        let fail = |e: std::io::Error| Error::new(format!("cannot open `{}`", path.display())).because(e);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        let mut reader = BufReader::new(&file);
        let (mut kept, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(fail)?;
            // A line without its end was torn by a kill.
            if length == 0 || !line.ends_with(b"\n") || step_of(&line).is_none_or(|of_line| of_line > step) {
                break;
            }
            kept += length as u64;
        }
        file.set_len(kept).map_err(fail)?;
        let mut metrics = Self { file, path: path.clone() };
        metrics.file.seek(SeekFrom::End(0)).map_err(fail)?;
        Ok(metrics)
    }

    /// Appends one line.
    pub fn write(&mut self, value: &Value) -> Result<()> {
        // One write, so that a kill tears at most the last line.
        let line = format!("{value}\n");
        self.file.write_all(line.as_bytes()).map_err(|e| crate::files::cannot_write(&self.path, e))
    }

    /// Waits until all lines are on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| crate::files::cannot_write(&self.path, e))
    }
}

/// What a line tells of a step.
pub struct StepMetrics<'a> {
    /// Number of the step, from 1.
    pub step: u64,
    /// Tokens of all steps so far.
    pub tokens: u64,
    /// Loss, gradient norm and times.
    pub outcome: &'a Outcome,
    /// Learning rate.
    pub rate: f64,
    /// Tokens per second.
    pub speed: f64,
    /// Time of waiting for the batch.
    pub data: Duration,
    /// Time of all.
    pub elapsed: Duration,
    /// Of the data stream.
    pub counters: StreamCounters,
    /// Bytes that this rank sent since its process began.
    pub bytes_sent: u64,
}

impl StepMetrics<'_> {
    /// The line, with the memory of this process as it is now.
    pub fn line(&self) -> Value {
        let (outcome, time, counters) = (self.outcome, self.outcome.time, self.counters);
        json!({
            "step": self.step,
            "tokens": self.tokens,
            "loss": outcome.loss,
            "lr": self.rate,
            "grad_norm": outcome.gradient_norm,
            "tokens_per_second": rounded(self.speed),
            "seconds": {
                "step": rounded(self.elapsed.as_secs_f64()),
                "data": rounded(self.data.as_secs_f64()),
                "forward": rounded(time.forward.as_secs_f64()),
                "head": rounded(time.head.as_secs_f64()),
                "recompute": rounded(time.recompute.as_secs_f64()),
                "backward": rounded(time.backward.as_secs_f64()),
                "exchange": rounded(time.exchange.as_secs_f64()),
                "optimizer": rounded(outcome.optimizer_time.as_secs_f64()),
            },
            "loader": {
                "waited_for_data": rounded(counters.waited_for_data),
                "waited_for_trainer": rounded(counters.waited_for_trainer),
                "reading": rounded(counters.reading),
                "tokenising": rounded(counters.tokenising),
                "bytes": counters.bytes,
                "tokens": counters.tokens,
                "ready": counters.ready,
            },
            "memory": { "resident": memory::resident(), "peak": memory::peak_resident() },
            "bytes_sent": self.bytes_sent,
        })
    }
}

/// To the microsecond, which is all a clock is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn step_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(line).ok()?.get("step")?.as_u64()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_resumed_run_cuts_off_what_lies_beyond_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut metrics = Metrics::open(folder.path(), 0).unwrap();
        for step in 1..=4 {
            metrics.write(&json!({ "step": step })).unwrap();
        }
        drop(metrics);
        let torn = fs::read_to_string(&path).unwrap() + "{\"step\":5,\"lo";
        fs::write(&path, &torn).unwrap();
        Metrics::open(folder.path(), 9).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4, "the torn line is gone");
        let mut metrics = Metrics::open(folder.path(), 2).unwrap();
        metrics.write(&json!({ "step": 3, "again": true })).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"again\":true}\n");
    }
}
