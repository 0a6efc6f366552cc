//! The options of stage `pretrain`, and what follows from them.

mod recompute;

use std::sync::Arc;

use psann_core::collective::{Alone, Collective};
use psann_core::plan::{Component, Flow};
use psann_core::quantity::{Bytes, Count, Span};
use psann_core::registry::{self, Kind as PluginKind};
use psann_core::sharder::Placement;
use psann_core::{Error, Model, Optimizer, Result, Sharder, options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind};

use crate::executor::Recompute;
use crate::schedule::Schedule;
use crate::trainer::guard::GuardOptions;
pub use recompute::ActivationCheckpointing;

/// Trains a model from its initial weights on the prepared text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainOptions {
    /// Text to train on where no stage `prepare` comes before: a source without filters.
    pub data: Option<Flow>,
    /// What is trained.
    #[schemars(extend("x-plugin" = "model"))]
    pub model: Option<Component>,
    /// How weights move along their gradients.
    #[schemars(extend("x-plugin" = "optimizer"))]
    pub optimizer: Component,
    /// Where weights, gradients and optimizer state live; by default `single` in one process and `fsdp` in several.
    #[schemars(extend("x-plugin" = "sharder", "x-effect-free" = true))]
    pub sharder: Option<Component>,
    /// Processes that train together, each on its own device; by default one per GPU, and one without a GPU. A run may go
    /// on with another number of them.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub ranks: Option<u64>,
    /// Length of the run in optimizer steps; or give `tokens` or `epochs`.
    pub steps: Option<Count>,
    /// Length of the run in tokens; rounded up to whole steps.
    pub tokens: Option<Count>,
    /// Length of the run in passes over the training text.
    #[schemars(range(min = 0.0))]
    pub epochs: Option<f64>,
    /// Tokens of one sequence.
    #[schemars(range(min = 1))]
    pub seq_len: u64,
    /// Sequences of one optimizer step, over all processes.
    #[schemars(range(min = 1))]
    pub batch: u64,
    /// Parts that a process cuts its share of the batch into; each is computed by itself and the gradients are summed.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub accumulation: u64,
    /// Parts that walk through the blocks together, so that weights are brought together and gradients sent home once
    /// for all of them; their activations are in memory at the same time. By default all parts in several processes
    /// with full `activation_checkpointing`, and 1 otherwise.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub together: Option<u64>,
    /// How documents share a sequence.
    pub packing: Packing,
    /// Text of the batch that is shuffled among itself, beyond the shuffle of whole stretches of the corpus; memory of
    /// about twice its size is used, over all processes.
    pub shuffle_window: Bytes,
    /// Batches that are left out, by the first and the last, counted from 1 as they are drawn: `[[1200, 1210]]`.
    pub skip: Vec<[u64; 2]>,
    /// Threads that tokenise ahead of training; a quarter of the cores by default.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub tokenizer_threads: Option<u64>,
    /// Greatest norm of the whole gradient; 0 switches clipping off.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// What is computed in. By default bf16 on a GPU and fp32 on a CPU.
    pub precision: Option<Precision>,
    /// What weights are kept in: fp32, or bf16 rounded at random, which saves two bytes per weight.
    pub weights: Precision,
    /// Which segments forget their activations and compute them again in the backward pass: `"none"`, `"full"`, or
    /// every k-th one. Saves memory, costs up to a third more time.
    #[schemars(extend("x-effect-free" = true))]
    pub activation_checkpointing: ActivationCheckpointing,
    /// Share of the target probability that is spread evenly over the vocabulary.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub label_smoothing: f64,
    /// What to do about steps that went wrong.
    pub guard: GuardOptions,
    /// When and on how much held-out text the loss is measured.
    pub validation: Validation,
    /// When the run is saved.
    #[schemars(extend("x-effect-free" = true))]
    pub checkpoint: CheckpointOptions,
    /// Steps from one line of `metrics.jsonl` to the next.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub log_every: u64,
    /// Seed of the initial weights and of dropout.
    pub seed: u64,
    /// Where to train.
    #[schemars(extend("x-effect-free" = true))]
    pub device: DeviceChoice,
    /// Memory of one device that the plan is held against, such as `"24GB"`.
    #[schemars(extend("x-effect-free" = true))]
    pub device_memory: Option<Bytes>,
    /// Threads of one operation on the CPU; by default all cores, shared among the processes of a machine.
    #[schemars(range(min = 1), extend("x-effect-free" = true))]
    pub threads: Option<u64>,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        Self {
            data: None,
            model: None,
            optimizer: Component::new(PluginKind::Optimizer, "adamw"),
            sharder: None,
            ranks: None,
            steps: None,
            tokens: None,
            epochs: None,
            seq_len: 256,
            batch: 16,
            accumulation: 1,
            together: None,
            packing: Packing::Concat,
            shuffle_window: Bytes(64 << 20),
            skip: Vec::new(),
            tokenizer_threads: None,
            clip: 1.0,
            schedule: Schedule::default(),
            precision: None,
            weights: Precision::Fp32,
            activation_checkpointing: ActivationCheckpointing(Recompute::None),
            label_smoothing: 0.0,
            guard: GuardOptions::default(),
            validation: Validation::default(),
            checkpoint: CheckpointOptions::default(),
            log_every: 1,
            seed: 1337,
            device: DeviceChoice::Auto,
            device_memory: None,
            threads: None,
        }
    }
}

psann_core::register!(Stage, "pretrain", PretrainOptions);

/// When and on how much held-out text the loss is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// Steps between measurements; by default a tenth of the run. The last step is always measured.
    pub every: Span,
    /// Batches of held-out text, at most.
    pub batches: u64,
}

impl Default for Validation {
    fn default() -> Self {
        Self { every: Span::Share(0.1), batches: 8 }
    }
}

/// When the run is saved. It is always saved at its end and when it is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointOptions {
    /// Steps between checkpoints; by default a tenth of the run.
    pub every: Span,
    /// Checkpoints that are kept; older ones are removed.
    #[schemars(range(min = 1))]
    pub keep: u64,
    /// Write files while training goes on, from a copy in the memory of the host. By default on GPUs only: on a CPU the copy
    /// is as large as weights and optimizer state.
    pub background: Option<bool>,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { every: Span::Share(0.1), keep: 3, background: None }
    }
}

impl CheckpointOptions {
    /// Whether files are written while steps on `device` go on.
    pub fn in_background(&self, device: Device) -> bool {
        self.background.unwrap_or(device != Device::Cpu)
    }
}

/// How documents share a sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// One after the other; attention sees across the border.
    #[default]
    Concat,
    /// Kept apart: attention and positions restart with each document.
    Documents,
}

/// A floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// bfloat16; norms, softmax, sine and loss are computed in fp32 all the same.
    Bf16,
}

impl Precision {
    /// The dtype of tensors.
    pub fn kind(self) -> tch::Kind {
        match self {
            Self::Fp32 => tch::Kind::Float,
            Self::Bf16 => tch::Kind::BFloat16,
        }
    }
}

/// Where to train.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU when there is one.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl PretrainOptions {
    /// Reads and checks the options of a stage.
    pub fn parse(value: &Value) -> Result<Self> {
        let parsed: Self = options::parse(value)?;
        let lengths = [parsed.steps.is_some(), parsed.tokens.is_some(), parsed.epochs.is_some()];
        match lengths.iter().filter(|given| **given).count() {
            1 => {}
            0 => {
                return Err(Error::usage("`pretrain` is not told how long to train")
                    .hint("give one of `steps`, `tokens` and `epochs`, such as `steps: 300`"));
            }
            _ => {
                return Err(Error::usage("`pretrain` is told how long to train in more than one way")
                    .hint("give only one of `steps`, `tokens` and `epochs`"));
            }
        }
        if parsed.accumulation > parsed.batch {
            return Err(Error::usage(format!(
                "`accumulation` cuts a batch of {} sequences into {} parts",
                parsed.batch, parsed.accumulation
            ))
            .hint("lower `accumulation` or raise `batch`"));
        }
        Ok(parsed)
    }

    /// The model to train.
    ///
    /// # Errors
    /// When none is given.
    pub fn model(&self) -> Result<Component> {
        self.model.clone().ok_or_else(|| {
            Error::usage("`pretrain` has no model").hint("give one, such as `.pretrain(model::waveresnet(), #{ … })`")
        })
    }

    /// Tokens of one optimizer step, over all processes.
    pub fn tokens_per_step(&self) -> u64 {
        self.batch * self.seq_len
    }

    /// Steps of the run; `None` when they follow from the size of the text (`epochs`).
    pub fn planned_steps(&self) -> Option<u64> {
        match (self.steps, self.tokens) {
            (Some(steps), _) => Some(steps.0),
            (None, Some(tokens)) => Some(tokens.0.div_ceil(self.tokens_per_step().max(1))),
            (None, None) => None,
        }
    }

    /// Steps of the run over a text of `epoch_tokens` tokens.
    ///
    /// # Errors
    /// When the length is given in `epochs` and the text's size is not known, or the run would have no step.
    pub fn steps_of_run(&self, epoch_tokens: Option<u64>) -> Result<u64> {
        let steps = match (self.planned_steps(), self.epochs, epoch_tokens) {
            (Some(steps), _, _) => steps,
            (None, Some(epochs), Some(tokens)) => {
                (epochs * tokens as f64 / self.tokens_per_step().max(1) as f64).ceil() as u64
            }
            _ => {
                return Err(Error::usage("`epochs` needs a text whose size is known")
                    .hint("give the length of the run as `steps` or `tokens`"));
            }
        };
        if steps == 0 {
            return Err(
                Error::usage("`pretrain` would train for no step at all").hint("raise `steps`, `tokens` or `epochs`")
            );
        }
        Ok(steps)
    }

    /// Processes that train together when nobody says how many: one per GPU, or one.
    pub fn default_ranks(&self) -> u64 {
        match self.device {
            DeviceChoice::Cpu => 1,
            DeviceChoice::Auto | DeviceChoice::Cuda => tch::Cuda::device_count().max(1) as u64,
        }
    }

    /// Parts that walk through the blocks together in a run of `ranks` processes; 0 for all.
    pub fn together(&self, ranks: usize) -> usize {
        let all = ranks > 1 && self.activation_checkpointing.0 == Recompute::Full;
        self.together.map_or(usize::from(!all), |parts| parts as usize)
    }

    /// The device of the process that is number `local_rank` on its machine.
    ///
    /// # Errors
    /// When CUDA is asked for and there is none.
    pub fn device(&self, local_rank: usize) -> Result<Device> {
        let devices = tch::Cuda::device_count().max(0) as usize;
        match self.device {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Auto if devices == 0 => Ok(Device::Cpu),
            DeviceChoice::Cuda if devices == 0 => {
                Err(Error::usage("`device` is \"cuda\", but libtorch finds no CUDA device")
                    .hint("use `device: \"auto\"`, or install the CUDA libtorch with `PSANN_DEVICE=cuda ./psann`"))
            }
            DeviceChoice::Auto | DeviceChoice::Cuda if local_rank >= devices => {
                Err(Error::usage(format!("process {local_rank} of this machine finds no GPU: there are {devices}"))
                    .hint("lower `ranks`, or set `device: \"cpu\"`"))
            }
            DeviceChoice::Auto | DeviceChoice::Cuda => Ok(Device::Cuda(local_rank)),
        }
    }

    /// The kind of device that a plan speaks of: a GPU where one is asked for, found, or described by `device_memory`.
    pub fn planned_device(&self) -> Device {
        let gpu = self.device == DeviceChoice::Cuda
            || self.device == DeviceChoice::Auto && (self.device_memory.is_some() || tch::Cuda::is_available());
        if gpu { Device::Cuda(0) } else { Device::Cpu }
    }

    /// Where things are in this process, which trains with `ranks` on `device`.
    pub fn placement(&self, device: Device, ranks: Arc<dyn Collective>) -> Placement {
        let compute = match self.precision {
            Some(Precision::Fp32) => Kind::Float,
            None if device == Device::Cpu => Kind::Float,
            Some(Precision::Bf16) | None => Kind::BFloat16,
        };
        let master = match self.weights {
            Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        Placement { device, compute, master, ranks }
    }

    /// The sharder in a run of `ranks` processes.
    pub fn sharder(&self, ranks: usize) -> Component {
        let default = if ranks == 1 { "single" } else { "fsdp" };
        self.sharder.clone().unwrap_or_else(|| Component::new(PluginKind::Sharder, default))
    }

    /// Makes the three plugins of a run in this process alone.
    pub fn components(&self) -> Result<Components> {
        let device = self.device(0)?;
        self.components_on(self.placement(device, Arc::new(Alone { device })))
    }

    /// Makes the three plugins of the run; the model's options must be complete (a vocabulary instead of a tokenizer).
    ///
    /// # Errors
    /// When the batch cannot be spread over the ranks, or a plugin refuses its options.
    pub fn components_on(&self, placement: Placement) -> Result<Components> {
        let ranks = placement.ranks.size() as u64;
        if self.batch / ranks < self.accumulation {
            return Err(Error::usage(format!(
                "`accumulation` cuts a batch of {} sequences on {ranks} processes into {} parts each",
                self.batch, self.accumulation
            ))
            .hint("lower `accumulation` or `ranks`, or raise `batch`"));
        }
        let model = self.model()?;
        let sharder = self.sharder(placement.ranks.size());
        Ok(Components {
            model: registry::model(&model.name, &model.options)?,
            optimizer: registry::optimizer(&self.optimizer.name, &self.optimizer.options)?,
            sharder: registry::sharder(&sharder.name, &sharder.options, placement)?,
        })
    }
}

/// The plugins that a run works with.
pub struct Components {
    /// The network.
    pub model: Box<dyn Model>,
    /// What moves its weights.
    pub optimizer: Box<dyn Optimizer>,
    /// Where they live.
    pub sharder: Box<dyn Sharder>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Components are checked by the registry, which holds none of them in this crate's unit tests.
    fn parse(value: &Value) -> Result<PretrainOptions> {
        PretrainOptions::parse(value)
    }

    #[test]
    fn one_length_of_the_run_must_be_given() {
        assert_eq!(parse(&json!({ "steps": 3 })).unwrap().planned_steps(), Some(3));
        let tokens = parse(&json!({ "tokens": "1K", "batch": 4, "seq_len": 32 })).unwrap();
        assert_eq!(tokens.planned_steps(), Some(8), "1000 tokens at 128 a step, rounded up");
        let epochs = parse(&json!({ "epochs": 1.5, "batch": 4, "seq_len": 32 })).unwrap();
        assert_eq!(epochs.planned_steps(), None);
        assert_eq!(epochs.steps_of_run(Some(1000)).unwrap(), 12);
        assert!(epochs.steps_of_run(None).is_err());
        assert!(parse(&json!({})).unwrap_err().to_string().contains("how long"));
        assert!(parse(&json!({ "steps": 3, "epochs": 1 })).unwrap_err().to_string().contains("more than one way"));
        assert!(parse(&json!({ "steps": 0 })).unwrap().steps_of_run(None).is_err());
    }

    #[test]
    fn activation_checkpointing_takes_words_and_numbers() {
        for (value, expected) in
            [(json!("none"), Recompute::None), (json!("full"), Recompute::Full), (json!(2), Recompute::Every(2))]
        {
            let options = parse(&json!({ "steps": 1, "activation_checkpointing": value.clone() })).unwrap();
            assert_eq!(options.activation_checkpointing.0, expected);
            assert_eq!(serde_json::to_value(options.activation_checkpointing).unwrap(), value);
        }
        for wrong in [json!("some"), json!(0), json!(true)] {
            assert!(parse(&json!({ "steps": 1, "activation_checkpointing": wrong })).is_err());
        }
    }

    #[test]
    fn more_parts_than_sequences_are_refused() {
        let error = parse(&json!({ "steps": 1, "batch": 2, "accumulation": 3 })).unwrap_err();
        assert!(error.to_string().contains("3 parts"), "{error}");
    }
}
