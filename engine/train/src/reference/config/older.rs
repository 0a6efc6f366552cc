//! The flat record that the older repository (package versions before 2) puts into a model's file.

use psann_core::{Error, Result};
use serde_json::{Value, json};

use super::{not_built, sine};
use crate::reference::state_dict::StateDict;

/// Keys of the record. Of `overrides` only two ever reached the network.
const KEYS: [&str; 10] = [
    "base",
    "d_model",
    "n_layers",
    "n_heads",
    "d_mlp",
    "vocab_size",
    "rope",
    "positional_encoding",
    "sine",
    "overrides",
];

/// The options of our model for `config`, whose tensors are `state`.
pub fn to_options(config: &Value, state: &StateDict) -> Result<Value> {
    let map = config.as_object().ok_or_else(|| Error::usage("its `config` is no mapping"))?;
    if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Error::usage(format!("its `config.{key}` is not known")));
    }
    match config["base"].as_str().unwrap_or("waveresnet") {
        "waveresnet" | "respsann" => {}
        "sgrpsann" => return Err(not_built("the spectral gate (sgrpsann)")),
        base => return Err(not_built(&format!("the architecture `{base}`"))),
    }
    let positions = match (&config["positional_encoding"], &config["rope"]) {
        (Value::String(name), _) => json!(name),
        (_, Value::Bool(false)) => json!("sinusoidal"),
        _ => json!("rope"),
    };
    let vocabulary = match &config["vocab_size"] {
        Value::Null => json!(state.size("embed.weight", 0)?),
        size => size.clone(),
    };
    let mut options = json!({
        "vocab": vocabulary,
        "d_model": config["d_model"],
        "n_layers": config["n_layers"],
        "n_heads": config["n_heads"],
        "positional_encoding": positions,
    });
    if config["d_mlp"].is_number() {
        options["d_mlp"] = config["d_mlp"].clone();
    }
    let overrides = &config["overrides"];
    if overrides["dropout"].is_number() {
        options["dropout"] = overrides["dropout"].clone();
    }
    if overrides["mlp_activation"] == "gelu" {
        options["activation"] = json!("gelu");
    } else if config["sine"].is_object() {
        let record = &config["sine"];
        let learnable =
            if record["trainable"] == false { json!([]) } else { json!(["amplitude", "frequency", "decay"]) };
        options["sine"] = sine(
            ["amp_init", "freq_init", "damp_init"].map(|key| &record[key]),
            ["amp_init_std", "freq_init_std", "damp_init_std"].map(|key| &record[key]),
            &learnable,
        );
    }
    Ok(options)
}
