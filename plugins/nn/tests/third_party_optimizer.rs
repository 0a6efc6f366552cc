//! An optimizer that psann does not know, and the guide that shows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

// guide: begin
use std::collections::BTreeMap;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::{Part, StateTensor, Step};
use psann_core::{Error, Optimizer, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

psann_core::register!(Optimizer, "momentum", MomentumOptions, Momentum::new);

/// Gradient descent with momentum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MomentumOptions {
    /// Learning rate at the top of the schedule.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Share of the last move that goes on.
    pub momentum: f64,
}

impl Default for MomentumOptions {
    fn default() -> Self {
        Self { lr: 0.1, momentum: 0.9 }
    }
}

/// The optimizer and its state.
pub struct Momentum {
    options: MomentumOptions,
    /// Last moves, by shard.
    velocity: BTreeMap<usize, Tensor>,
}

impl Momentum {
    /// Refuses a momentum that would grow without bound.
    pub fn new(options: MomentumOptions) -> Result<Self> {
        if !(0.0..1.0).contains(&options.momentum) {
            return Err(Error::usage("`momentum` must be at least 0 and below 1"));
        }
        Ok(Self { options, velocity: BTreeMap::new() })
    }
}

impl Optimizer for Momentum {
    fn peak_learning_rate(&self) -> f64 {
        self.options.lr
    }

    fn step(
        &mut self,
        index: usize,
        _: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        step: Step,
    ) -> Result<()> {
        let velocity = self.velocity.entry(index).or_insert_with(|| value.zeros_like());
        *velocity *= self.options.momentum;
        *velocity += gradient * step.gradient_scale;
        *value -= &*velocity * (self.options.lr * step.rate);
        Ok(())
    }

    fn state(&self, index: usize) -> Vec<StateTensor> {
        let velocity = self.velocity.get(&index).map(Tensor::shallow_clone);
        let state = |tensor| StateTensor { name: "velocity".into(), tensor, part: Part::Rows };
        velocity.map(state).into_iter().collect()
    }

    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()> {
        self.velocity.remove(&index);
        for (name, tensor) in state {
            if name != "velocity" {
                return Err(Error::new(format!("momentum has no state called `{name}`")));
            }
            self.velocity.insert(index, tensor);
        }
        Ok(())
    }

    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64 {
        4 * spec.elements_of(rows)
    }
}
// guide: end

#[test]
fn a_foreign_optimizer_is_found_steps_and_goes_on_from_its_state() {
    let spec = ParameterSpec { name: "w".into(), shape: vec![2], decays: true, trainable: true };
    let make = || psann_core::registry::optimizer("momentum", &serde_json::json!({ "lr": 0.5 })).unwrap();
    let mut optimizer = make();
    let mut value = Tensor::from_slice(&[1.0_f32, 2.0]);
    let gradient = Tensor::from_slice(&[1.0_f32, -1.0]);
    for number in 1..=2 {
        if number == 2 {
            let saved = optimizer.state(0).into_iter().map(|state| (state.name, state.tensor));
            let mut resumed = make();
            resumed.load_state(0, saved.collect()).unwrap();
            optimizer = resumed;
        }
        let step = Step { number, rate: 1.0, gradient_scale: 1.0 };
        optimizer.step(0, &spec, &mut value, &gradient, step).unwrap();
    }
    assert_eq!(value, Tensor::from_slice(&[1.0_f32 - 0.5 - 0.95, 2.0 + 0.5 + 0.95]));
    let refused = psann_core::registry::optimizer("momentum", &serde_json::json!({ "momentum": 1.0 }));
    assert!(refused.err().unwrap().to_string().contains("momentum"));
}

#[test]
fn the_guide_shows_this_optimizer() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(here.join(path)).unwrap();
    let (guide, source) = (read("../../docs/optimizers.md"), read("tests/third_party_optimizer.rs"));
    let between = |text: &str, from: &str, to: &str| {
        let (_, rest) = text.split_once(from).unwrap();
        rest.split_once(to).unwrap().0.trim().to_owned()
    };
    assert_eq!(between(&guide, "```rust\n", "```"), between(&source, "// guide: begin\n", "// guide: end"));
}
