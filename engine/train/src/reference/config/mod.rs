//! Configurations of the reference, and the options of our model that mean the same.
//!
//! | file | reads or writes |
//! |---|---|
//! | `current` | the tagged mapping of 2.0.1, both ways |
//! | `older` | the flat record of the older repository |
//! | `shapes` | what the names and shapes of tensors tell, where a file has no configuration |

mod current;
mod older;
mod shapes;

use std::path::Path;

use psann_core::plan::Component;
use psann_core::registry::{self, Kind};
use psann_core::{Error, Model, Result};
use serde_json::{Map, Value, json};

use super::state_dict::StateDict;

pub use current::{from_options, to_options};
pub use older::to_options as of_older;
pub use shapes::to_options as of_shapes;

/// The model plugin that is the reference's network.
pub const MODEL: &str = "waveresnet";

/// The component for `options` of a file, or those of the user where it has none, and the model made with it.
///
/// # Errors
/// When the user contradicts the file, when sizes are absurd, or the model refuses them.
pub fn component(
    from_file: Value,
    given: &Map<String, Value>,
    state: &StateDict,
    path: &Path,
) -> Result<(Component, Box<dyn Model>)> {
    let within = |e: Error| e.within(format!("`{}`", path.display()));
    let mut options = from_file;
    merge(&mut options, given, "").map_err(within)?;
    check_sizes(&options, state).map_err(within)?;
    let model = registry::model(MODEL, &options).map_err(within)?;
    Ok((Component { kind: Kind::Model, name: MODEL.into(), options }, model))
}

/// Adds what the user gave to what the file says.
fn merge(options: &mut Value, given: &Map<String, Value>, place: &str) -> Result<()> {
    for (key, value) in given {
        let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match (options.get_mut(key), value) {
            (Some(inner @ Value::Object(_)), Value::Object(given)) => merge(inner, given, &place)?,
            (Some(known), value) if !same(known, value) => {
                return Err(
                    Error::usage(format!("its `{place}` is {known}, not {value}")).hint("leave it out: the file knows")
                );
            }
            _ => options[key.as_str()] = value.clone(),
        }
    }
    Ok(())
}

/// Whether two values are the same, whole numbers or not.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}

/// Refuses sizes that no file can mean before anything of such a size is made.
fn check_sizes(options: &Value, state: &StateDict) -> Result<()> {
    let number = |pointer: &str| options.pointer(pointer).and_then(Value::as_u64).unwrap_or(1);
    let limits = [
        ("/vocab", 1 << 31),
        ("/d_model", 1 << 20),
        ("/d_mlp", 1 << 20),
        ("/n_heads", 1 << 20),
        ("/wave/kernel", 1 << 16),
        ("/n_layers", state.names().len() as u64),
    ];
    for (pointer, most) in limits {
        let size = number(pointer);
        if size == 0 || size > most {
            let name = pointer[1..].replace('/', ".");
            return Err(Error::new(format!("its `{name}` is {size}, which cannot be right")));
        }
    }
    let layers = u32::try_from(number("/n_layers")).unwrap_or(u32::MAX);
    let reach = number("/wave/dilation_growth").checked_pow(layers);
    if reach.is_none_or(|reach| reach > 1 << 31) {
        return Err(Error::new("its wave blocks reach further than any text"));
    }
    Ok(())
}

/// The error for a part of the reference that this program does not have.
fn not_built(what: &str) -> Error {
    Error::usage(format!("{what} of the reference is not built here, so its file cannot be used"))
        .hint("models of the kinds `waveresnet` and `respsann` can be imported")
}

/// The options of the damped sine: initial values and spreads of amplitude, frequency, decay, and what learns.
fn sine(initial: [&Value; 3], spread: [&Value; 3], learnable: &Value) -> Value {
    let spread = spread.map(|value| if value.is_null() { json!(0.0) } else { value.clone() });
    json!({
        "amplitude": initial[0],
        "amplitude_std": spread[0],
        "frequency": initial[1],
        "frequency_std": spread[1],
        "decay": initial[2],
        "decay_std": spread[2],
        "learnable": learnable,
    })
}

#[cfg(test)]
mod tests;
