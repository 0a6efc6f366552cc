//! Small models with their weights in place, and data that follow from a counter.

pub mod saving;

use psann_core::initialise::initialise;
use psann_core::sharder::Placement;
use psann_core::tokens::{BatchStream, Cursor, RowCursor, TokenBatch};
use psann_core::{Error, Model, Result, Sharder, registry};
use psann_plugins_nn as _;
use psann_train::executor::MicroBatch;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

pub const VOCABULARY: u32 = 31;

/// A model of three blocks with options of its own; `plugin` among them says of which architecture.
pub fn model(extra: &Value) -> Box<dyn Model> {
    let mut options = json!({ "vocab": VOCABULARY, "d_model": 16, "n_layers": 3, "n_heads": 2, "d_mlp": 20 });
    let own = extra.as_object().into_iter().flatten();
    for (key, value) in own.filter(|(key, _)| *key != "plugin") {
        options[key] = value.clone();
    }
    registry::model(extra["plugin"].as_str().unwrap_or("waveresnet"), &options).unwrap()
}

/// `single` in fp32 with `parameters` installed.
pub fn sharder_with(model: &dyn Model, parameters: &[Vec<Tensor>], compute: Kind) -> Box<dyn Sharder> {
    let placement = Placement::alone(Device::Cpu, compute);
    let mut sharder = registry::sharder("single", &json!({}), placement).unwrap();
    sharder.install(model.segments()).unwrap();
    for (shard, value) in sharder.shards().iter_mut().zip(parameters.iter().flatten()) {
        shard.fill(value);
    }
    sharder
}

/// Initial weights, moved a little so that no gradient is zero by symmetry.
pub fn parameters(model: &dyn Model, seed: i64) -> Vec<Vec<Tensor>> {
    let mut parameters = initialise(model, seed).unwrap();
    for (number, value) in parameters.iter_mut().flatten().enumerate() {
        let count = value.numel() as i64;
        let wave = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 1.7 + number as f64).sin();
        *value = &*value + wave.view_as(value) * 0.05;
    }
    parameters
}

/// `rows` sequences; the first `ignored[r]` labels of row r are not predicted.
pub fn sequences(rows: i64, time: i64, ignored: &[i64], seed: i64) -> MicroBatch {
    // From a recurrence: libtorch's generator is the whole process's, and tests run beside each other.
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).rem_euclid(i64::from(VOCABULARY))
    };
    let tokens: Vec<i64> = (0..rows * (time + 1)).map(|_| draw()).collect();
    let tokens = Tensor::from_slice(&tokens).view([rows, time + 1]);
    let labels = tokens.narrow(1, 1, time).copy();
    for (row, count) in ignored.iter().enumerate() {
        let _ = labels.get(row as i64).narrow(0, 0, *count).fill_(-100);
    }
    MicroBatch { ids: tokens.narrow(1, 0, time).copy(), labels, documents: None }
}

/// Cuts a batch into parts of so many rows.
pub fn split(batch: &MicroBatch, rows: &[i64]) -> Vec<MicroBatch> {
    let mut first = 0;
    let part = |count: &i64| {
        let of = |tensor: &Tensor| tensor.narrow(0, first, *count).copy();
        let part =
            MicroBatch { ids: of(&batch.ids), labels: of(&batch.labels), documents: batch.documents.as_ref().map(of) };
        first += count;
        part
    };
    rows.iter().map(part).collect()
}

/// The gradients that stand in the shards, with their names.
pub fn gradients(sharder: &mut dyn Sharder) -> Vec<(String, Option<Tensor>)> {
    let of = |shard: &psann_core::sharder::Shard| (shard.spec.name.clone(), shard.gradient.as_ref().map(Tensor::copy));
    sharder.shards().iter().map(of).collect()
}

/// Rows that follow from their number alone, as a real stream's do.
pub struct CountingStream {
    /// Of the global batch.
    pub rows: usize,
    pub columns: usize,
    pub batches: u64,
    /// Differs for other data.
    pub hash: String,
    pub rank: usize,
    pub ranks: usize,
}

impl CountingStream {
    pub fn new(rows: usize, columns: usize) -> Self {
        Self::of_rank(rows, columns, 0, 1)
    }

    pub fn of_rank(rows: usize, columns: usize, rank: usize, ranks: usize) -> Self {
        Self { rows, columns, batches: 0, hash: "same".into(), rank, ranks }
    }

    fn own_rows(&self) -> impl Iterator<Item = usize> + use<> {
        (self.rank..self.rows).step_by(self.ranks)
    }
}

impl BatchStream for CountingStream {
    fn next_batch(&mut self) -> Result<TokenBatch> {
        let first = self.batches * (self.rows * self.columns) as u64;
        // Counts up with a step that changes, so that there is something to learn.
        let token = |place: u64| ((first + place + (first + place) / 7) % u64::from(VOCABULARY)) as u32;
        let columns = self.columns as u64;
        let row = |row: usize| (row as u64 * columns..(row as u64 + 1) * columns).map(token);
        let tokens = self.own_rows().flat_map(row).collect();
        self.batches += 1;
        Ok(TokenBatch { rows: self.own_rows().count(), columns: self.columns, tokens, documents: None })
    }

    fn cursor(&self) -> Cursor {
        let row = |row: usize| RowCursor { row: row as u64, hash: self.hash.clone(), ..RowCursor::default() };
        Cursor::new(self.batches, self.batches, Vec::new(), self.own_rows().map(row).collect())
    }

    fn drawn(&self) -> u64 {
        self.batches
    }

    fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        if cursor.rows.iter().any(|row| row.hash != self.hash) {
            return Err(Error::new("the data changed"));
        }
        self.batches = cursor.batches;
        Ok(())
    }
}
