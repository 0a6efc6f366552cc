//! AdamW with moments of 8 bits (Dettmers et al. 2022): a quarter of AdamW's state, at its speed.
//!
//! Blocks of 256 elements share a scale. Sharders cut parameters between blocks, so codes and scales move between world
//! sizes as they are, and the weights do not depend on the number of ranks.

use std::collections::BTreeMap;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::{BLOCK, Part, StateTensor, Step};
use psann_core::{Error, Optimizer, Result};
use psann_torch::optimizer::adamw8bit::{Blocks, Decay, Moments8bit, adamw8bit_step};
use psann_torch::optimizer::codes::Rounding;
use psann_torch::optimizer::{AdamW as Settings, adamw_step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Groups, check_betas};

psann_core::register!(Optimizer, "adamw8bit", AdamW8bitOptions, AdamW8bit::new);

/// AdamW that keeps its two moments in 8 bits each, in blocks of 256 elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW8bitOptions {
    /// Learning rate at the top of the schedule.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Decay of the running means of gradient and squared gradient.
    pub betas: (f64, f64),
    /// Added to the root of the mean squared gradient.
    pub eps: f64,
    /// Weight decay per unit of learning rate.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// What decays.
    pub groups: Groups,
    /// Whether a weight decays before or after its move; bitsandbytes' CUDA kernels do it after.
    pub decay: DecayOrder,
    /// Parameters with fewer elements, and those with one dimension, keep fp32 moments.
    pub min_8bit_size: u64,
}

impl Default for AdamW8bitOptions {
    fn default() -> Self {
        Self {
            lr: 3e-4,
            betas: (0.9, 0.95),
            eps: 1e-8,
            weight_decay: 0.1,
            groups: Groups::Matrices,
            decay: DecayOrder::Before,
            min_8bit_size: 4096,
        }
    }
}

/// When a weight decays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecayOrder {
    /// Before its move, as AdamW is defined.
    Before,
    /// After its move.
    After,
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct AdamW8bit {
    options: AdamW8bitOptions,
    rounding: Rounding,
    /// Whether parameters with one dimension are held in 8 bits too.
    vectors: bool,
    /// By shard.
    moments: BTreeMap<usize, Moments>,
}

#[derive(Debug)]
enum Moments {
    Small([Tensor; 2]),
    Large(Moments8bit),
}

const NAMES: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const SCALES: [&str; 2] = ["exp_avg_scale", "exp_avg_sq_scale"];

impl AdamW8bit {
    /// Refuses betas outside of [0, 1).
    pub fn new(options: AdamW8bitOptions) -> Result<Self> {
        check_betas(options.betas)?;
        Ok(Self { options, rounding: Rounding::Nearest, vectors: false, moments: BTreeMap::new() })
    }

    /// As other packages do it: 8 bits for vectors too, and with their rounding. For comparisons with them.
    pub fn like_others(options: AdamW8bitOptions, rounding: Rounding) -> Result<Self> {
        Ok(Self { rounding, vectors: true, ..Self::new(options)? })
    }

    /// By the size of the whole parameter: the choice must not depend on the number of ranks.
    fn is_large(&self, spec: &ParameterSpec) -> bool {
        (self.vectors || spec.shape.len() > 1) && spec.elements().unsigned_abs() >= self.options.min_8bit_size
    }
}

impl Optimizer for AdamW8bit {
    fn peak_learning_rate(&self) -> f64 {
        self.options.lr
    }

    fn step(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        step: Step,
    ) -> Result<()> {
        let decays = spec.decays || self.options.groups == Groups::All;
        let settings = Settings {
            lr: self.options.lr * step.rate,
            beta1: self.options.betas.0,
            beta2: self.options.betas.1,
            eps: self.options.eps,
            weight_decay: if decays { self.options.weight_decay } else { 0.0 },
            gradient_scale: step.gradient_scale,
            step: step.number,
        };
        let large = self.is_large(spec);
        let moments = self.moments.entry(index).or_insert_with(|| {
            if large {
                Moments::Large(Moments8bit::zeros(value))
            } else {
                Moments::Small([value.zeros_like(), value.zeros_like()])
            }
        });
        match (moments, self.options.decay) {
            (Moments::Large(moments), order) => {
                let decay = if order == DecayOrder::Before { Decay::Before } else { Decay::After };
                adamw8bit_step(value, gradient, moments, settings, decay, self.rounding)
            }
            (Moments::Small([first, second]), DecayOrder::Before) => {
                adamw_step(value, gradient, first, second, settings)
            }
            (Moments::Small([first, second]), DecayOrder::After) => {
                adamw_step(value, gradient, first, second, Settings { weight_decay: 0.0, ..settings })?;
                *value *= 1.0 - settings.lr * settings.weight_decay;
                Ok(())
            }
        }
    }

    fn state(&self, index: usize) -> Vec<StateTensor> {
        let tensor = |name: &str, tensor: &Tensor, part: Part| StateTensor {
            name: name.to_owned(),
            tensor: tensor.shallow_clone(),
            part,
        };
        match self.moments.get(&index) {
            None => Vec::new(),
            Some(Moments::Small(moments)) => {
                NAMES.iter().zip(moments).map(|(name, moment)| tensor(name, moment, Part::Rows)).collect()
            }
            Some(Moments::Large(moments)) => [&moments.first, &moments.second]
                .into_iter()
                .zip(NAMES.iter().zip(SCALES))
                .flat_map(|(blocks, (codes, scales))| {
                    [tensor(codes, &blocks.codes, Part::Rows), tensor(scales, &blocks.scales, Part::Blocks(BLOCK))]
                })
                .collect(),
        }
    }

    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()> {
        if state.is_empty() {
            self.moments.remove(&index);
            return Ok(());
        }
        let mut found: BTreeMap<String, Tensor> = state.into_iter().collect();
        let mut take = |name: &str, kind: Kind| match found.remove(name) {
            Some(tensor) if tensor.kind() == kind => Ok(tensor),
            Some(tensor) => {
                Err(Error::new(format!("8-bit AdamW's `{name}` must be {kind:?}, not {:?}", tensor.kind())))
            }
            None => Err(Error::new(format!("8-bit AdamW's state is incomplete: it needs `{name}`"))),
        };
        let moments = match take(SCALES[0], Kind::Float) {
            Ok(scales) => {
                let first = Blocks { codes: take(NAMES[0], Kind::Uint8)?, scales };
                let second = Blocks { codes: take(NAMES[1], Kind::Uint8)?, scales: take(SCALES[1], Kind::Float)? };
                let moments = Moments8bit { first, second };
                if !moments.fits(&moments.first.codes) {
                    return Err(Error::new("8-bit AdamW's codes and scales do not belong together"));
                }
                Moments::Large(moments)
            }
            Err(_) => Moments::Small([take(NAMES[0], Kind::Float)?, take(NAMES[1], Kind::Float)?]),
        };
        if let Some(name) = found.keys().next() {
            return Err(Error::new(format!("8-bit AdamW has no state called `{name}`")));
        }
        self.moments.insert(index, moments);
        Ok(())
    }

    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64 {
        let elements = spec.elements_of(rows);
        let scale = size_of::<f32>() as u64;
        2 * if self.is_large(spec) {
            elements + scale * elements.div_ceil(BLOCK.unsigned_abs())
        } else {
            scale * elements
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn stepped(options: AdamW8bitOptions, shape: &[i64]) -> (AdamW8bit, ParameterSpec) {
        let spec = ParameterSpec { name: "w".into(), shape: shape.to_vec(), decays: true, trainable: true };
        let mut optimizer = AdamW8bit::new(options).unwrap();
        let mut value = Tensor::ones(shape, (Kind::Float, Device::Cpu));
        let gradient = value.copy();
        let step = Step { number: 1, rate: 1.0, gradient_scale: 1.0 };
        optimizer.step(0, &spec, &mut value, &gradient, step).unwrap();
        (optimizer, spec)
    }

    fn saved(optimizer: &AdamW8bit) -> Vec<(String, Tensor)> {
        optimizer.state(0).into_iter().map(|state| (state.name, state.tensor)).collect()
    }

    #[test]
    fn small_parameters_and_vectors_keep_full_moments() {
        for (shape, large) in [(vec![64, 64], true), (vec![64, 63], false), (vec![5000], false)] {
            let (optimizer, spec) = stepped(AdamW8bitOptions::default(), &shape);
            let state = optimizer.state(0);
            assert_eq!(state[0].tensor.kind() == Kind::Uint8, large, "{shape:?}");
            let bytes: usize = state.iter().map(|s| s.tensor.numel() * s.tensor.kind().elt_size_in_bytes()).sum();
            assert_eq!(optimizer.state_bytes(&spec, shape[0]), bytes as u64);
        }
    }

    #[test]
    fn decay_after_the_move_shrinks_moved_weights() {
        for shape in [[64, 64], [2, 2]] {
            let moved = |decay| {
                let options = AdamW8bitOptions { lr: 0.1, weight_decay: 1.0, decay, ..AdamW8bitOptions::default() };
                let (mut optimizer, spec) = stepped(options, &shape);
                let mut value = Tensor::ones(shape, (Kind::Float, Device::Cpu));
                let step = Step { number: 1, rate: 1.0, gradient_scale: 1.0 };
                let gradient = value.copy();
                optimizer.step(1, &spec, &mut value, &gradient, step).unwrap();
                value.double_value(&[0, 0])
            };
            assert!((moved(DecayOrder::Before) - (0.9 - 0.1)).abs() < 1e-6);
            assert!((moved(DecayOrder::After) - (1.0 - 0.1) * 0.9).abs() < 1e-6);
        }
    }

    #[test]
    fn incomplete_and_foreign_state_is_refused() {
        let (mut optimizer, _) = stepped(AdamW8bitOptions::default(), &[64, 64]);
        for missing in 0..4 {
            let mut state = saved(&optimizer);
            drop(state.remove(missing));
            assert!(optimizer.load_state(1, state).is_err(), "{missing}");
        }
        let mut state = saved(&optimizer);
        state.push(("momentum".into(), Tensor::from(0.0)));
        assert!(optimizer.load_state(1, state).unwrap_err().to_string().contains("momentum"));
        let mut state = saved(&optimizer);
        state[1].1 = state[1].1.narrow(0, 0, 3);
        assert!(optimizer.load_state(1, state).is_err());
    }
}
