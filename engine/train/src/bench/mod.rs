//! How fast training steps are on this machine, and how close they come to what its matrix products allow.
//!
//! Tokens are synthetic, weights come from a seed, the learning rate is constant: what is timed is the step and nothing
//! else. Memory is counted above a baseline that is taken after a step of a toy model, so that what libtorch itself
//! brings in on first use is not counted. Then the memory is measured on steps alone, and only after that steps are
//! timed in turn with the step's matrix products, so that the products' own buffers do not count as the step's.

pub mod optimizer;
mod products;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, Instant};

use psann_core::collective::{Alone, Collective};
use psann_core::initialise::initialise;
use psann_core::plan::Component;
use psann_core::registry::{self, Kind as PluginKind};
use psann_core::sharder::Placement;
use psann_core::{Error, Model, Optimizer, Result, Sharder};
use psann_torch::{memory, threads};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind};

use crate::executor::{Executor, Recompute};
use crate::options::{ActivationCheckpointing, Precision, PretrainOptions};
use crate::plan::plan;
use crate::trainer::micro_batches;
use crate::trainer::step::{Moment, Outcome, Stepper};

use products::Products;
pub use products::matrix_product_rate;
use tokens::SyntheticTokens;

/// What to time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BenchOptions {
    /// Width of the model.
    pub d_model: u64,
    /// Blocks.
    pub layers: u64,
    /// Attention heads.
    pub heads: u64,
    /// Width inside the MLP; four times `d_model` when not given.
    pub d_mlp: Option<u64>,
    /// Vocabulary.
    pub vocab: u64,
    /// Sequences of one micro-batch.
    pub batch: u64,
    /// Tokens of one sequence.
    pub seq: u64,
    /// Micro-batches of one step.
    pub accumulation: u64,
    /// Micro-batches that go through a block together; 0 for all.
    pub together: u64,
    /// Which segments are computed twice.
    pub checkpoint: ActivationCheckpointing,
    /// Threads of one operation; as libtorch chooses when not given.
    pub threads: Option<u64>,
    /// Timed steps.
    pub steps: u64,
    /// Steps before them, on which memory is measured.
    pub warmup_steps: u64,
    /// Computes in bf16 instead of fp32.
    pub bf16: bool,
    /// Where weights live; by default `single` in one process and `fsdp` in several.
    pub sharder: Option<Component>,
    /// Name of the model plugin.
    pub model: String,
    /// The optimizer; by default AdamW with weight decay on everything, as in the reference.
    pub optimizer: Component,
    /// Greatest norm of the gradient.
    pub clip: f64,
    /// Seed of weights and tokens.
    pub seed: u64,
}

impl Default for BenchOptions {
    fn default() -> Self {
        let optimizer = Component {
            options: json!({ "lr": 3e-4, "weight_decay": 0.01, "groups": "all" }),
            ..Component::new(PluginKind::Optimizer, "adamw")
        };
        Self {
            d_model: 384,
            layers: 6,
            heads: 6,
            d_mlp: None,
            vocab: 8192,
            batch: 4,
            seq: 512,
            accumulation: 1,
            together: 1,
            checkpoint: ActivationCheckpointing(Recompute::None),
            threads: None,
            steps: 10,
            warmup_steps: 3,
            bf16: false,
            sharder: None,
            model: "waveresnet".into(),
            optimizer,
            clip: 1.0,
            seed: 1337,
        }
    }
}

/// What was measured. Times are medians over the timed steps, memory is in MiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// What was timed.
    pub options: BenchOptions,
    /// Version of libtorch.
    pub libtorch: String,
    /// Processes.
    pub ranks: usize,
    /// Threads of one operation, in each process.
    pub threads: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Tokens of one step, of all ranks.
    pub tokens_per_step: u64,
    /// Seconds of one step.
    pub median_step_seconds: f64,
    /// Tokens of a step over its median seconds.
    pub tokens_per_second: f64,
    /// Bytes that this rank sends in one step.
    pub bytes_sent_per_step: u64,
    /// Most memory resident during steps, above the baseline; of the rank that needs most.
    pub peak_rss_mb: f64,
    /// The same, by rank.
    pub peak_rss_mb_by_rank: Vec<f64>,
    /// What the memory plan says of it.
    pub predicted_peak_mb: f64,
    /// Resident memory after start-up and a step of a toy model.
    pub baseline_rss_mb: f64,
    /// Whether the system let the peak be reset at the baseline; if not, the peak of start-up is in it.
    pub peak_was_reset: bool,
    /// Seconds of one step by part.
    pub seconds_by_part: PartSeconds,
    /// Seconds that the matrix products of one step take by themselves, each shape timed in turn with the steps:
    /// linear maps and the vocabulary product forward and both ways back, and attention's products over the full
    /// square of positions (a causal kernel needs half of it). Products that recomputation repeats count twice.
    pub product_seconds: f64,
    /// `product_seconds` over the step's seconds.
    pub roofline_fraction: f64,
    /// The same with attention counted over the causal half only.
    pub roofline_fraction_causal: f64,
    /// Floating-point operations of those products, in 10⁹.
    pub product_gflop: f64,
    /// Seconds of each timed step.
    pub step_seconds: Vec<f64>,
    /// Loss of each step, warm-up included.
    pub losses: Vec<f64>,
    /// Norm of the gradient in each step, warm-up included.
    pub gradient_norms: Vec<f64>,
}

/// Seconds of one step by part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PartSeconds {
    /// Making the batch.
    pub data: f64,
    /// Segments before the head, forward.
    pub forward: f64,
    /// Last norm, vocabulary product and loss, both ways.
    pub head: f64,
    /// Segments computed again.
    pub recompute: f64,
    /// Segments before the head, backward.
    pub backward: f64,
    /// Sharder: weights in, gradients home.
    pub exchange: f64,
    /// Gradient norm and optimizer.
    pub optimizer: f64,
}

/// Times training steps of this process alone.
pub fn train_bench(options: &BenchOptions) -> Result<BenchReport> {
    let alone: Arc<dyn Collective> = Arc::new(Alone { device: Device::Cpu });
    ranked_bench(options, &alone)
}

/// Times training steps of all `ranks`, of which this process is one; `batch` is per rank. All get the figures of the
/// slowest step and the memory of each.
pub fn ranked_bench(options: &BenchOptions, ranks: &Arc<dyn Collective>) -> Result<BenchReport> {
    if options.steps == 0 || options.batch == 0 || options.seq == 0 || options.accumulation == 0 {
        return Err(Error::usage("a bench needs at least one step of one sequence of one token"));
    }
    memory::set_freed(options.checkpoint.0.freed_memory());
    if let Some(count) = options.threads {
        threads::set(count as usize);
    }
    let toy =
        BenchOptions { d_model: 8, heads: 1, layers: 1, d_mlp: Some(8), vocab: 8, batch: 4, seq: 8, ..options.clone() };
    Bench::new(&toy, ranks)?.step()?;
    let peak_was_reset = memory::reset_peak();
    let baseline = memory::resident();

    let mut bench = Bench::new(options, ranks)?;
    let mut steps = Vec::new();
    let sent = ranks.bytes_sent();
    for _ in 0..options.warmup_steps.max(1) {
        steps.push(bench.step()?);
    }
    let sent = (ranks.bytes_sent() - sent) / options.warmup_steps.max(1);
    let peak = memory::peak_resident();

    let mut products = Products::new(options);
    let mut timed = Vec::new();
    for _ in 0..options.steps {
        timed.push(bench.step()?);
        products.measure();
    }
    let step_seconds: Vec<f64> = timed.iter().map(|step| step.seconds).collect();
    // Every rank waits for the slowest, so that all have about the same time; the slowest counts.
    let median_step_seconds = gather(ranks, median(step_seconds.iter().copied()))?.into_iter().fold(0.0, f64::max);
    let tokens_per_step = options.batch * options.seq * options.accumulation * ranks.size() as u64;
    let needed = products.total();
    let part = |of: fn(&Timed) -> Duration| median(timed.iter().map(|step| of(step).as_secs_f64()));
    let seconds_by_part = PartSeconds {
        data: part(|step| step.data),
        forward: part(|step| step.outcome.time.forward),
        head: part(|step| step.outcome.time.head),
        recompute: part(|step| step.outcome.time.recompute),
        backward: part(|step| step.outcome.time.backward),
        exchange: part(|step| step.outcome.time.exchange),
        optimizer: part(|step| step.outcome.optimizer_time),
    };
    steps.extend(timed);
    let own_peak = mebibytes(peak.saturating_sub(baseline));
    let peaks = gather(ranks, own_peak)?;
    Ok(BenchReport {
        options: options.clone(),
        libtorch: psann_torch::libtorch_version(),
        ranks: ranks.size(),
        threads: threads::get(),
        parameters: bench.parameters(),
        tokens_per_step,
        median_step_seconds,
        tokens_per_second: tokens_per_step as f64 / median_step_seconds,
        bytes_sent_per_step: sent,
        peak_rss_mb: peaks.iter().copied().fold(0.0, f64::max),
        peak_rss_mb_by_rank: peaks,
        predicted_peak_mb: mebibytes(bench.planned(options)?),
        baseline_rss_mb: mebibytes(baseline),
        peak_was_reset,
        seconds_by_part,
        product_seconds: needed.seconds,
        roofline_fraction: needed.seconds / median_step_seconds,
        roofline_fraction_causal: (needed.seconds - needed.attention_seconds / 2.0) / median_step_seconds,
        product_gflop: needed.operations / 1e9,
        step_seconds,
        losses: steps.iter().map(|step| step.outcome.loss).collect(),
        gradient_norms: steps.iter().map(|step| step.outcome.gradient_norm).collect(),
    })
}

/// One value of each rank.
fn gather(ranks: &Arc<dyn Collective>, value: f64) -> Result<Vec<f64>> {
    let all = ranks.share(&value.to_le_bytes())?;
    let read =
        |bytes: Vec<u8>| bytes.try_into().map(f64::from_le_bytes).map_err(|_| Error::new("a rank tells no number"));
    all.into_iter().map(read).collect()
}

struct Timed {
    outcome: Outcome,
    data: Duration,
    seconds: f64,
}

struct Bench {
    model: Box<dyn Model>,
    sharder: Box<dyn Sharder>,
    optimizer: Box<dyn Optimizer>,
    stepper: Stepper,
    tokens: SyntheticTokens,
    ranks: Arc<dyn Collective>,
    accumulation: usize,
    number: u64,
}

impl Bench {
    fn new(options: &BenchOptions, ranks: &Arc<dyn Collective>) -> Result<Self> {
        let model = registry::model(
            &options.model,
            &json!({
                "d_model": options.d_model,
                "n_layers": options.layers,
                "n_heads": options.heads,
                "d_mlp": options.d_mlp.unwrap_or(4 * options.d_model),
                "vocab": options.vocab,
            }),
        )?;
        let placement = Placement {
            compute: if options.bf16 { Kind::BFloat16 } else { Kind::Float },
            ranks: Arc::clone(ranks),
            ..Placement::alone(Device::Cpu, Kind::Float)
        };
        let default = if ranks.size() == 1 { "single" } else { "fsdp" };
        let sharder = options.sharder.clone().unwrap_or_else(|| Component::new(PluginKind::Sharder, default));
        let mut sharder = registry::sharder(&sharder.name, &sharder.options, placement)?;
        sharder.install(model.segments())?;
        let parameters = initialise(model.as_ref(), options.seed as i64)?;
        for (shard, value) in sharder.shards().iter_mut().zip(parameters.into_iter().flatten()) {
            shard.fill(&value);
        }
        let executor = Executor { recompute: options.checkpoint.0, together: options.together as usize };
        Ok(Self {
            model,
            sharder,
            optimizer: registry::optimizer(&options.optimizer.name, &options.optimizer.options)?,
            stepper: Stepper { executor, clip: options.clip, label_smoothing: 0.0 },
            tokens: SyntheticTokens::new(options, ranks.rank(), ranks.size()),
            ranks: Arc::clone(ranks),
            accumulation: options.accumulation as usize,
            number: 0,
        })
    }

    fn step(&mut self) -> Result<Timed> {
        self.ranks.barrier()?;
        let started = Instant::now();
        self.number += 1;
        let micro = micro_batches(&self.tokens.next_batch(), self.accumulation, Device::Cpu)?;
        let data = started.elapsed();
        let moment = Moment::plain(self.number);
        let outcome =
            self.stepper.step(self.model.as_ref(), self.sharder.as_mut(), self.optimizer.as_mut(), &micro, moment)?;
        self.ranks.barrier()?;
        Ok(Timed { outcome, data, seconds: started.elapsed().as_secs_f64() })
    }

    /// Bytes that the plan of a run like this one says.
    fn planned(&self, options: &BenchOptions) -> Result<u64> {
        let ranks = self.ranks.size() as u64;
        let run = PretrainOptions {
            batch: options.batch * options.accumulation * ranks,
            seq_len: options.seq,
            accumulation: options.accumulation,
            together: Some(if options.together == 0 { options.accumulation } else { options.together }),
            activation_checkpointing: options.checkpoint,
            precision: Some(if options.bf16 { Precision::Bf16 } else { Precision::Fp32 }),
            sharder: options.sharder.clone(),
            ..PretrainOptions::default()
        };
        let plan = plan(&run, self.model.as_ref(), self.optimizer.as_ref(), self.ranks.size(), Device::Cpu)?;
        Ok(plan.memory.peak)
    }

    fn parameters(&self) -> u64 {
        let specs = self.model.segments().iter().flat_map(|segment| &segment.parameters);
        specs.map(|spec| spec.elements() as u64).sum()
    }
}

/// The middle of some values, the upper one of an even number.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}
