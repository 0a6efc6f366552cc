//! Runs that go on on another number of ranks as if nothing had happened.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use psann_core::observer::Silent;
use psann_core::tokens::{BatchStream, Cursor, RowCursor, TokenBatch};
use psann_core::{Collective, Error, Result};
use psann_golden::ranks;
use psann_train::checkpoint::{State, newest};
use psann_train::{Job, PretrainOptions, TrainSummary, pretrain};
use serde_json::{Value, json};
use tch::Device;

use super::support::VOCABULARY;

/// Batches of six rows of which a rank serves its own; rows know what they served.
struct Rows {
    rank: usize,
    ranks: usize,
    batches: u64,
    hashes: Vec<String>,
    /// Breaks off after so many batches.
    end: u64,
}

const ROWS: usize = 6;
const COLUMNS: usize = 13;

impl Rows {
    fn new(group: &dyn Collective, end: u64) -> Self {
        Self { rank: group.rank(), ranks: group.size(), batches: 0, hashes: vec![String::new(); ROWS], end }
    }

    fn own(&self) -> impl Iterator<Item = usize> + use<> {
        (self.rank..ROWS).step_by(self.ranks)
    }
}

impl BatchStream for Rows {
    fn next_batch(&mut self) -> Result<TokenBatch> {
        if self.batches == self.end {
            return Err(Error::new("killed"));
        }
        let mut tokens = Vec::new();
        for row in self.own() {
            let first = self.batches as usize * ROWS * COLUMNS + row * COLUMNS;
            let token = |place: usize| ((first + place + (first + place) / 7) as u32) % VOCABULARY;
            let of_row: Vec<u32> = (0..COLUMNS).map(token).collect();
            self.hashes[row] = rolled(&self.hashes[row], &of_row);
            tokens.extend(of_row);
        }
        self.batches += 1;
        Ok(TokenBatch { rows: self.own().count(), columns: COLUMNS, tokens, documents: None })
    }

    fn cursor(&self) -> Cursor {
        let row = |row: usize| RowCursor { row: row as u64, hash: self.hashes[row].clone(), ..RowCursor::default() };
        Cursor::new(self.batches, self.batches, Vec::new(), self.own().map(row).collect())
    }

    fn drawn(&self) -> u64 {
        self.batches
    }

    fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        assert_eq!(cursor.rows.len(), ROWS, "every rank gets the rows of all");
        self.batches = cursor.batches;
        self.hashes = cursor.rows.iter().map(|row| row.hash.clone()).collect();
        Ok(())
    }
}

/// A rolling hash that is cheap and that order changes.
fn rolled(before: &str, tokens: &[u32]) -> String {
    let start = u64::from_str_radix(before, 16).unwrap_or(1);
    let mixed = tokens.iter().fold(start, |hash, token| (hash ^ u64::from(*token)).wrapping_mul(0x0100_0000_01B3));
    format!("{mixed:016x}")
}

fn options(optimizer: &str) -> PretrainOptions {
    let options = json!({
        "model": { "plugin": "model/waveresnet", "options": {
            "vocab": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 20, "dropout": 0.0,
        } },
        "optimizer": { "plugin": format!("optimizer/{optimizer}"), "options": {} },
        "sharder": { "plugin": "sharder/fsdp", "options": {} },
        "steps": 12, "batch": ROWS, "seq_len": COLUMNS - 1, "seed": 5,
        "checkpoint": { "every": 6, "keep": 1 },
    });
    PretrainOptions::parse(&options).unwrap()
}

fn run(directory: &Path, optimizer: &str, ranks: usize, end: u64) -> Vec<Result<TrainSummary>> {
    let options = options(optimizer);
    ranks::run(ranks, |group| {
        let parts = options.components_on(options.placement(Device::Cpu, Arc::clone(&group)))?;
        pretrain(Job {
            device: Device::Cpu,
            options: &options,
            model: parts.model,
            sharder: parts.sharder,
            optimizer: parts.optimizer,
            stream: Box::new(Rows::new(group.as_ref(), end)),
            validation: Vec::new(),
            probe: None,
            epoch_tokens: None,
            directory,
            observer: &Silent,
            identity: json!({ "plan": 1 }),
        })
    })
}

fn losses(directory: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    metrics.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64()).collect()
}

#[test]
fn a_run_on_two_ranks_goes_on_on_any_number_as_if_undisturbed() {
    for optimizer in ["adamw", "adafactor"] {
        let undisturbed = tempfile::tempdir().unwrap();
        for rank in run(undisturbed.path(), optimizer, 2, u64::MAX) {
            rank.unwrap();
        }
        let expected = losses(undisturbed.path());
        let hash = |directory: &Path| State::read(&newest(directory).unwrap().unwrap()).unwrap().cursor.hash;
        assert_eq!(expected.len(), 12);
        for ranks in [1, 2, 3, 4] {
            let folder = tempfile::tempdir().unwrap();
            for rank in run(folder.path(), optimizer, 2, 8) {
                assert_eq!(rank.unwrap_err().to_string(), "killed");
            }
            for rank in run(folder.path(), optimizer, ranks, u64::MAX) {
                let summary = rank.unwrap();
                assert_eq!(summary.resumed_from, Some(6));
                assert!(summary.checkpoint.ends_with("step-00000012"));
            }
            let found = losses(folder.path());
            assert_eq!(found.len(), 12, "{ranks}");
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let off = (found - expected).abs() / expected.abs();
                assert!(off <= 1e-6, "{optimizer} on {ranks}: step {}: {found}, not {expected}", step + 1);
            }
            assert_eq!(hash(folder.path()), hash(undisturbed.path()));
        }
    }
}
