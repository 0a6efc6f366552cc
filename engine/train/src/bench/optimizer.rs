//! How fast optimizers step on the parameters of a model, and what their state takes, beside ATen's own fused AdamW.
//!
//! All optimizers move the same weights by the same gradients, in turn, so that a change of the machine's speed meets them
//! all; the rate is so small that the weights stay what they were.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use psann_core::collective::Alone;
use psann_core::model::ParameterSpec;
use psann_core::optimizer::{StateTensor, Step};
use psann_core::registry;
use psann_core::sharder::Shard;
use psann_core::{Error, Optimizer, Result};
use psann_torch::optimizer::AdamW;
use psann_torch::optimizer::adamw::aten_adamw_step;
use psann_torch::{memory, threads};
use serde::Serialize;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::median;

/// What to time.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerBenchOptions {
    /// Width of the model whose parameters are moved.
    pub d_model: u64,
    /// Its blocks.
    pub layers: u64,
    /// Its vocabulary.
    pub vocab: u64,
    /// Threads of one operation; as libtorch chooses when not given.
    pub threads: Option<u64>,
    /// Timed steps of each optimizer.
    pub steps: u64,
}

impl Default for OptimizerBenchOptions {
    fn default() -> Self {
        Self { d_model: 768, layers: 12, vocab: 32768, threads: None, steps: 10 }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptimizerBenchReport {
    /// Number of weights.
    pub parameters: u64,
    /// Threads of one operation.
    pub threads: usize,
    /// Timed steps of each optimizer.
    pub steps: u64,
    /// By optimizer.
    pub optimizers: Vec<OptimizerFigures>,
    /// Time of a step of `adamw8bit` over one of `adamw`.
    pub adamw8bit_over_adamw: f64,
    /// Time of a step of `adamw8bit` over one of ATen's fused AdamW.
    pub adamw8bit_over_aten: f64,
    /// Bytes of state of `adamw8bit` over those of `adamw`.
    pub adamw8bit_state_over_adamw: f64,
}

/// Figures of one optimizer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptimizerFigures {
    /// Its name in recipes; `aten_fused_adamw` for ATen's.
    pub name: String,
    /// Median time of a step.
    pub median_step_seconds: f64,
    /// Shortest step.
    pub shortest_step_seconds: f64,
    /// Bytes of its state tensors.
    pub state_bytes: u64,
    /// By how much its first step made the process grow.
    pub resident_bytes: u64,
}

const ATEN: &str = "aten_fused_adamw";

struct Racer {
    name: &'static str,
    optimizer: Box<dyn Optimizer>,
    seconds: Vec<f64>,
    resident: u64,
}

/// Times optimizers.
///
/// # Errors
/// When no step is to be timed, or the model's sizes are refused.
pub fn optimizer_bench(options: &OptimizerBenchOptions) -> Result<OptimizerBenchReport> {
    if options.steps == 0 {
        return Err(Error::usage("a bench needs a step to time").hint("give `--steps` 1 or more"));
    }
    if let Some(count) = options.threads {
        threads::set(count as usize);
    }
    let mut shards = shards(options)?;
    let mut racers = Vec::new();
    for name in ["adamw", "adamw8bit", "adafactor", ATEN] {
        let optimizer: Box<dyn Optimizer> = match name {
            ATEN => Box::new(AtenAdamW::default()),
            _ => registry::optimizer(name, &json!({ "lr": RATE }))?,
        };
        racers.push(Racer { name, optimizer, seconds: Vec::new(), resident: 0 });
    }
    for racer in &mut racers {
        let before = memory::resident();
        step(racer.optimizer.as_mut(), &mut shards, 1)?;
        racer.resident = memory::resident().saturating_sub(before);
    }
    for number in 2..options.steps as i64 + 2 {
        for racer in &mut racers {
            let took = step(racer.optimizer.as_mut(), &mut shards, number)?;
            racer.seconds.push(took.as_secs_f64());
        }
    }
    report(options, &shards, racers)
}

/// Small enough to leave weights and gradients of the order they have in training.
const RATE: f64 = 1e-7;

fn shards(options: &OptimizerBenchOptions) -> Result<Vec<Shard>> {
    let sizes = json!({
        "vocab": options.vocab, "d_model": options.d_model, "n_layers": options.layers, "d_mlp": 4 * options.d_model,
        // Attention is not computed, and heads change no shape.
        "n_heads": 1,
    });
    let model = registry::model("waveresnet", &sizes)?;
    tch::manual_seed(1);
    let specs = model.segments().iter().enumerate();
    let specs = specs.flat_map(|(segment, spec)| spec.parameters.iter().map(move |spec| (segment, spec)));
    let draw = |spec: &ParameterSpec, size: f64| Tensor::randn(&spec.shape, (Kind::Float, Device::Cpu)) * size;
    let shard = |(segment, spec): (usize, &ParameterSpec)| Shard {
        spec: spec.clone(),
        segment,
        parameter: 0,
        first_row: 0,
        value: draw(spec, 0.02),
        gradient: Some(draw(spec, 1e-3)),
    };
    Ok(specs.map(shard).collect())
}

fn step(optimizer: &mut dyn Optimizer, shards: &mut [Shard], number: i64) -> Result<Duration> {
    let step = Step { number, rate: 1.0, gradient_scale: 1.0 };
    let started = Instant::now();
    optimizer.prepare(shards, step, &Alone { device: Device::Cpu })?;
    for (index, shard) in shards.iter_mut().enumerate() {
        let Some(gradient) = &shard.gradient else { continue };
        optimizer.step(index, &shard.spec, &mut shard.value, gradient, step)?;
    }
    Ok(started.elapsed())
}

fn report(options: &OptimizerBenchOptions, shards: &[Shard], racers: Vec<Racer>) -> Result<OptimizerBenchReport> {
    let figures = racers.into_iter().map(|racer| {
        let states = (0..shards.len()).flat_map(|index| racer.optimizer.state(index));
        let size = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
        OptimizerFigures {
            name: racer.name.to_owned(),
            median_step_seconds: median(racer.seconds.iter().copied()),
            shortest_step_seconds: racer.seconds.iter().copied().fold(f64::INFINITY, f64::min),
            state_bytes: states.map(|state| size(&state.tensor)).sum(),
            resident_bytes: racer.resident,
        }
    });
    let optimizers: Vec<OptimizerFigures> = figures.collect();
    let of = |name: &str| {
        let found = optimizers.iter().find(|figures| figures.name == name);
        found.ok_or_else(|| Error::new(format!("`{name}` was not timed")))
    };
    let (full, eight, aten) = (of("adamw")?, of("adamw8bit")?, of(ATEN)?);
    Ok(OptimizerBenchReport {
        parameters: shards.iter().map(|shard| shard.spec.elements().unsigned_abs()).sum(),
        threads: threads::get(),
        steps: options.steps,
        adamw8bit_over_adamw: eight.median_step_seconds / full.median_step_seconds,
        adamw8bit_over_aten: eight.median_step_seconds / aten.median_step_seconds,
        adamw8bit_state_over_adamw: eight.state_bytes as f64 / full.state_bytes as f64,
        optimizers,
    })
}

/// ATen's fused AdamW, parameter by parameter.
#[derive(Debug, Default)]
struct AtenAdamW {
    moments: BTreeMap<usize, [Tensor; 2]>,
}

impl Optimizer for AtenAdamW {
    fn peak_learning_rate(&self) -> f64 {
        RATE
    }

    fn step(
        &mut self,
        index: usize,
        _spec: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        step: Step,
    ) -> Result<()> {
        let [first, second] = self.moments.entry(index).or_insert_with(|| [value.zeros_like(), value.zeros_like()]);
        let settings = AdamW {
            lr: RATE * step.rate,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            gradient_scale: step.gradient_scale,
            step: step.number,
        };
        aten_adamw_step(value, &mut gradient.shallow_clone(), first, second, settings)
    }

    fn state(&self, index: usize) -> Vec<StateTensor> {
        let moments = self.moments.get(&index).into_iter().flatten();
        let part = psann_core::optimizer::Part::Rows;
        moments
            .zip(["exp_avg", "exp_avg_sq"])
            .map(|(moment, name)| StateTensor { name: name.to_owned(), tensor: moment.shallow_clone(), part })
            .collect()
    }

    fn load_state(&mut self, _index: usize, _state: Vec<(String, Tensor)>) -> Result<()> {
        Err(Error::new("a bench loads no state"))
    }

    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64 {
        8 * spec.elements_of(rows)
    }
}
