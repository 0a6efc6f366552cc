//! Small models with weights to compute with.

use psann_core::initialise::initialise;
use psann_core::model::{ForwardContext, hidden_states, logits, project};
use psann_core::pass::Pass;
use psann_core::{Model, registry};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
// Linking the crate registers its plugins.
use psann_plugins_nn as _;

/// A plugin with options that make it small, and ways in which they may differ.
#[derive(Clone, Copy)]
pub struct Family {
    name: &'static str,
    base: fn() -> Value,
    variants: fn() -> Vec<Value>,
}

pub const LLAMA: Family = Family {
    name: "llama",
    base: || json!({ "vocab": 23, "d_model": 24, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_mlp": 20 }),
    variants: || {
        vec![
            json!({}),
            json!({ "n_kv_heads": 4, "rope_theta": 500.0 }),
            json!({ "n_kv_heads": 1, "head_dim": 10, "norm_eps": 0.01 }),
            json!({ "tie_embeddings": true }),
            json!({ "attention_bias": true, "mlp_bias": true }),
            json!({ "attention_bias": true, "rope_scaling": { "rope_type": "linear", "factor": 2.0 } }),
        ]
    },
};

pub const WAVERESNET: Family = Family {
    name: "waveresnet",
    base: || json!({ "vocab": 23, "d_model": 24, "n_layers": 3, "n_heads": 4, "d_mlp": 20 }),
    variants: || {
        vec![
            json!({}),
            json!({ "positional_encoding": "alibi" }),
            json!({ "positional_encoding": "sinusoidal", "activation": "gelu", "norm": "layer" }),
            json!({ "wave": { "mode": "interleave", "kernel": 3, "dilation_growth": 2 } }),
            json!({ "wave": { "mode": "interleave", "kernel": 4 }, "norm": "none" }),
            json!({ "wave": { "mode": "replace" } }),
            json!({ "wave": { "mode": "attention_only" } }),
        ]
    },
};

impl Family {
    pub fn options(&self, changes: &Value) -> Value {
        let mut options = (self.base)();
        for (key, value) in changes.as_object().unwrap() {
            options[key] = value.clone();
        }
        options
    }

    pub fn model(&self, changes: &Value) -> Box<dyn Model> {
        registry::model(self.name, &self.options(changes)).unwrap()
    }

    pub fn variants(&self) -> Vec<Value> {
        (self.variants)()
    }
}

/// Every variant of every family, by name.
pub fn all() -> Vec<(String, Box<dyn Model>)> {
    let of = |family: Family| {
        let named = move |changes: Value| (format!("{} {changes}", family.name), family.model(&changes));
        family.variants().into_iter().map(named).collect::<Vec<_>>()
    };
    [LLAMA, WAVERESNET].into_iter().flat_map(of).collect()
}

/// Initial weights with every parameter moved away from its initial value, so that nothing is zero or one.
pub fn weights(model: &dyn Model) -> Vec<Vec<Tensor>> {
    let moved = |value: &Tensor| value + value.randn_like() * 0.1;
    initialise(model, 11).unwrap().iter().map(|segment| segment.iter().map(moved).collect()).collect()
}

pub fn ids(batch: i64, time: i64) -> Tensor {
    Tensor::randint(23, [batch, time], (Kind::Int64, Device::Cpu))
}

pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Logits of a whole text, as training computes them.
pub fn full(model: &dyn Model, weights: &[Vec<Tensor>], ids: &Tensor) -> Tensor {
    logits(model, weights, ids, &mut ForwardContext::default()).unwrap()
}

/// Logits of the runs of a pass; each run's ids come one behind the other.
pub fn passed(model: &dyn Model, weights: &[Vec<Tensor>], ids: &[Tensor], pass: &mut Pass) -> Tensor {
    let mut context = ForwardContext { pass: Some(pass), ..ForwardContext::default() };
    let states = hidden_states(model, weights, &Tensor::cat(ids, 1), &mut context).unwrap();
    let (hidden, weight) = project(model, weights, &states).unwrap();
    psann_torch::inference::linear(&hidden, weight, None).unwrap()
}
