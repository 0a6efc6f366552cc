//! What names and shapes of tensors tell of a network: all but what leaves no trace in them. That has to be given;
//! guessing would give a model that runs and says nonsense.

use psann_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::not_built;
use crate::reference::state_dict::StateDict;

/// The options of our model for the tensors of `state`; `given` are the user's.
///
/// # Errors
/// Names what the user has to give, or what is not built.
pub fn to_options(state: &StateDict, given: &Map<String, Value>) -> Result<Value> {
    let has = |name: &str| state.shape(&format!("blocks.0.{name}")).is_some();
    for (name, what) in [
        ("spectral.mask", "the spectral gate (sgrpsann)"),
        ("mlp.fc_in.weight", "the architecture `geometric-sparse` (geosparse)"),
        ("mlp.0.weight", "the architecture `transformer`"),
    ] {
        if has(name) {
            return Err(not_built(what));
        }
    }
    if !given.contains_key("n_heads") || !given.contains_key("positional_encoding") {
        return Err(Error::usage("it holds weights without a configuration: they fit any number of attention heads")
            .hint(
                "say how the model was built: its number of heads (`--heads 12`) and how it knows positions \
                 (`--positions rope`, `alibi` or `sinusoidal`)",
            ));
    }
    let is_block = |block: &usize| state.shape(&format!("blocks.{block}.attn.q_proj.weight")).is_some();
    let blocks = (0..state.names().len()).take_while(is_block).count();
    let mut options = json!({
        "vocab": state.size("embed.weight", 0)?,
        "d_model": state.size("embed.weight", 1)?,
        "n_layers": blocks,
        "norm": if has("norm1.scale") { "rms" } else if has("norm1.weight") { "layer" } else { "none" },
    });
    let (has_mlp, has_wave) = (has("mlp.fc1.weight"), has("wave.dw.weight"));
    if has_mlp {
        options["d_mlp"] = json!(state.size("blocks.0.mlp.fc1.weight", 0)?);
    }
    if (has_mlp && !has("mlp.act._A")) || (has_wave && !has("wave.act._A")) {
        options["activation"] = json!("gelu");
    }
    if has_wave {
        if given.get("wave").and_then(|wave| wave.get("dilation_growth")).is_none() {
            return Err(Error::usage("it has wave blocks, whose dilation no tensor tells")
                .hint("say it: `--set wave.dilation_growth=1`"));
        }
        options["wave"] = json!({
            "mode": if has_mlp { "interleave" } else { "replace" },
            "kernel": state.size("blocks.0.wave.dw.weight", 2)?,
            "padding": "same",
        });
    } else if !has_mlp {
        options["wave"] = json!({ "mode": "attention_only", "padding": "same" });
    }
    Ok(options)
}
