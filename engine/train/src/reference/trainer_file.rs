//! Checkpoints of the reference's trainers: `psannlm.trainer` of 2.0.1, which knows its configuration, and the older
//! one, which does not.
//!
//! Both hold the state of PyTorch's AdamW by the index of a parameter, which is its place in the state dict.

use std::path::Path;

use psann_core::{Error, Model, Result};
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::archive::Archive;
use super::config;
use super::model_file::{Described, required};
use super::pickle::{Document, Value as Pickled};
use super::state_dict::StateDict;
use super::tensors;

/// What AdamW knows beside the weights.
#[derive(Debug)]
pub struct OptimizerState {
    /// Steps it has taken.
    pub step: u64,
    /// Options of `optimizer/adamw` that mean the same: `lr` (the peak), `betas`, `eps`, `weight_decay`, `groups`.
    pub options: Value,
    /// Running means under `NAME.exp_avg` and `NAME.exp_avg_sq`, fp32, as checkpoints of ours call them; parameters
    /// that were not trained have none.
    pub tensors: Vec<(String, Tensor)>,
}

/// Where the training stood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Optimizer steps.
    pub step: u64,
    /// Tokens that one process saw, where the file tells.
    pub tokens: u64,
}

/// Reads tensors and configuration.
pub fn read(document: &Document, path: &Path, given: &Map<String, Value>) -> Result<Described> {
    let root = document.root();
    let tensors = required(document, root, "model", path)?;
    let state = StateDict::new(document, tensors, path, "model")?;
    let within = |e: Error| e.within(format!("`{}`", path.display()));
    let options = match document.get(root, "config") {
        None | Some(Pickled::None) => config::of_shapes(&state, given),
        Some(stored) => document.json(stored, "config").and_then(|stored| config::to_options(&stored)),
    };
    Ok(Described { state, options: options.map_err(within)? })
}

/// Reads how far the training came.
pub fn progress(document: &Document) -> Progress {
    let number = |part: &str, key: &str| {
        let part = document.get(document.root(), part)?;
        match document.get(part, key)? {
            Pickled::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    };
    let step = number("state", "step").unwrap_or(0);
    Progress { step, tokens: number("data_state", "tokens_per_step").unwrap_or(0).saturating_mul(step) }
}

/// Reads the optimizer's state.
///
/// # Errors
/// When it is not AdamW's, or does not fit the parameters; the entry is named.
pub fn optimizer(
    document: &Document,
    state: &StateDict,
    model: &dyn Model,
    archive: &mut Archive,
) -> Result<OptimizerState> {
    let path = archive.path().to_owned();
    let wrong = |what: String| Error::new(format!("`{}`: `optim` {what}", path.display()));
    let optim = required(document, document.root(), "optim", &path)?;
    let groups = document.get(optim, "param_groups").and_then(|groups| document.items(groups));
    let Some([group]) = groups else {
        return Err(wrong("has several groups of parameters, of which the reference's trainers make one".into()));
    };
    let of_group = |key: &str| {
        let value = document.get(group, key).ok_or_else(|| wrong(format!("has no `{key}`")))?;
        document.json(value, &format!("optim.param_groups.0.{key}"))
    };
    let expected: Vec<Value> = (0..state.names().len()).map(Value::from).collect();
    if of_group("params")? != Value::from(expected) {
        return Err(wrong(format!("is not of the {} parameters of its model", state.names().len())));
    }
    // The schedule moves `lr`; where it started is kept beside it.
    let peak = of_group("initial_lr").or_else(|_| of_group("lr"))?;
    let options = json!({
        "lr": peak,
        "betas": of_group("betas")?,
        "eps": of_group("eps")?,
        "weight_decay": of_group("weight_decay")?,
        "groups": "all",
    });
    let entries = document.get(optim, "state").and_then(|state| document.entries(state));
    let entries = entries.ok_or_else(|| wrong("has no `state`".into()))?;
    let (mut moments, mut step) = (Vec::new(), None);
    for (index, entry) in entries {
        let name = match index {
            Pickled::Int(index) => usize::try_from(*index).ok().and_then(|index| state.names().get(index)),
            _ => None,
        };
        let name = name.ok_or_else(|| wrong(format!("has state for {index:?}, which is no parameter")))?;
        let place = format!("has for `{name}`");
        for (key, value) in document.entries(entry).ok_or_else(|| wrong(format!("{place} no state")))? {
            match (key.text(), value) {
                (Some("step"), value) => {
                    let steps =
                        steps(archive, value).map_err(|e| e.within(wrong(format!("{place} a wrong `step`"))))?;
                    if step.is_some_and(|step| step != steps) {
                        return Err(wrong(format!("{place} {steps} steps, for others another number")));
                    }
                    step = Some(steps);
                }
                (Some(key @ ("exp_avg" | "exp_avg_sq")), Pickled::Tensor(tensor)) => {
                    if state.shape(name) != Some(&tensor.shape) {
                        return Err(wrong(format!("{place} a `{key}` of shape {:?}", tensor.shape))
                            .hint("one process of several saved only its own part; import the weights alone"));
                    }
                    let name = format!("{name}.{key}");
                    let values = tensors::read(archive, tensor, &name)?;
                    moments.push((name, values));
                }
                (key, _) => {
                    return Err(wrong(format!("{place} `{}`, which AdamW does not have", key.unwrap_or("?")))
                        .hint("it is another optimizer's state; import the weights alone"));
                }
            }
        }
    }
    // In the order of our model, as checkpoints of ours have them.
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    let order: std::collections::BTreeMap<&str, usize> =
        specs.enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
    moments.sort_by_key(|(name, _)| {
        let parameter = name.rsplit_once('.').map_or(name.as_str(), |(parameter, _)| parameter);
        (order.get(parameter).copied(), name.clone())
    });
    Ok(OptimizerState { step: step.unwrap_or(0), options, tensors: moments })
}

/// A count of steps: a number, or a tensor of one.
fn steps(archive: &mut Archive, value: &Pickled) -> Result<u64> {
    let count = match value {
        Pickled::Int(count) => *count as f64,
        Pickled::Float(count) => *count,
        Pickled::Tensor(tensor) if tensors::elements(&tensor.shape) == Some(1) => {
            tensors::read(archive, tensor, "step")?.double_value(&[])
        }
        other => return Err(Error::new(format!("it is {}", other.describe()))),
    };
    if count < 0.0 || count.fract() != 0.0 || count > 1e15 || count.is_nan() {
        return Err(Error::new(format!("it is {count}")));
    }
    Ok(count as u64)
}
