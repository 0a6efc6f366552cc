//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), in PyTorch's order of operations.

use std::collections::BTreeMap;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::{Part, StateTensor, Step};
use psann_core::{Error, Optimizer, Result};
use psann_torch::optimizer::{AdamW as Settings, adamw_step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Groups, check_betas};

psann_core::register!(Optimizer, "adamw", AdamWOptions, AdamW::new);

/// Adam with decoupled weight decay, in fp32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWOptions {
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
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { lr: 3e-4, betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1, groups: Groups::Matrices }
    }
}

/// The optimizer and its state.
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    /// Running means of gradient and squared gradient, by shard.
    moments: BTreeMap<usize, [Tensor; 2]>,
}

const NAMES: [&str; 2] = ["exp_avg", "exp_avg_sq"];

impl AdamW {
    /// Refuses betas outside of [0, 1).
    pub fn new(options: AdamWOptions) -> Result<Self> {
        check_betas(options.betas)?;
        Ok(Self { options, moments: BTreeMap::new() })
    }
}

impl Optimizer for AdamW {
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
            step: step.number,
            gradient_scale: step.gradient_scale,
        };
        let [first, second] = self.moments.entry(index).or_insert_with(|| [value.zeros_like(), value.zeros_like()]);
        adamw_step(value, gradient, first, second, settings)
    }

    fn state(&self, index: usize) -> Vec<StateTensor> {
        let Some(moments) = self.moments.get(&index) else { return Vec::new() };
        let tensors = NAMES.iter().zip(moments);
        tensors
            .map(|(name, moment)| StateTensor {
                name: (*name).to_owned(),
                tensor: moment.shallow_clone(),
                part: Part::Rows,
            })
            .collect()
    }

    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()> {
        let mut found = [None, None];
        for (name, tensor) in state {
            let Some(place) = NAMES.iter().position(|known| *known == name) else {
                return Err(Error::new(format!("AdamW has no state called `{name}`")));
            };
            if tensor.kind() != Kind::Float {
                return Err(Error::new(format!("AdamW's `{name}` must be fp32, not {:?}", tensor.kind())));
            }
            found[place] = Some(tensor);
        }
        match found {
            [Some(first), Some(second)] => {
                self.moments.insert(index, [first, second]);
                Ok(())
            }
            [None, None] => {
                self.moments.remove(&index);
                Ok(())
            }
            _ => Err(Error::new("AdamW's state is incomplete: it needs `exp_avg` and `exp_avg_sq`")),
        }
    }

    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64 {
        8 * spec.elements_of(rows)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn spec(decays: bool) -> ParameterSpec {
        ParameterSpec { name: "w".into(), shape: vec![2], decays, trainable: true }
    }

    #[test]
    fn decay_spares_what_the_model_says_unless_all_decay() {
        let moved = |groups, decays| {
            let mut optimizer =
                AdamW::new(AdamWOptions { groups, weight_decay: 0.5, lr: 0.1, ..AdamWOptions::default() }).unwrap();
            let mut value = Tensor::ones([2], (Kind::Float, Device::Cpu));
            let step = Step { number: 1, rate: 1.0, gradient_scale: 1.0 };
            optimizer
                .step(0, &spec(decays), &mut value, &Tensor::zeros([2], (Kind::Float, Device::Cpu)), step)
                .unwrap();
            value.double_value(&[0])
        };
        assert!((moved(Groups::Matrices, true) - 0.95).abs() < 1e-6);
        assert_eq!(moved(Groups::Matrices, false), 1.0);
        assert!((moved(Groups::All, false) - 0.95).abs() < 1e-6);
    }

    #[test]
    fn state_survives_and_half_of_it_is_refused() {
        let mut optimizer = AdamW::new(AdamWOptions::default()).unwrap();
        assert!(optimizer.state(3).is_empty());
        let mut value = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let gradient = Tensor::ones([2], (Kind::Float, Device::Cpu));
        optimizer
            .step(3, &spec(true), &mut value, &gradient, Step { number: 1, rate: 1.0, gradient_scale: 1.0 })
            .unwrap();
        let saved = || optimizer.state(3).into_iter().map(|state| (state.name, state.tensor));
        let mut other = AdamW::new(AdamWOptions::default()).unwrap();
        other.load_state(3, saved().collect()).unwrap();
        assert!(other.state(3)[1].tensor.equal(&optimizer.state(3)[1].tensor));
        assert!(other.load_state(3, saved().take(1).collect()).is_err());
        assert!(other.load_state(3, vec![("momentum".into(), gradient)]).is_err());
    }

    #[test]
    fn impossible_betas_are_refused() {
        assert!(AdamW::new(AdamWOptions { betas: (0.9, 1.0), ..AdamWOptions::default() }).is_err());
    }
}
