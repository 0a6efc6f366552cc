//! The configuration of psannlm 2.0.1: a mapping in which every part is there, or null where it does not apply.

use psann_core::plan::Component;
use psann_core::registry::{self, Kind};
use psann_core::{Error, Model, Result};
use serde_json::{Value, json};

use super::{MODEL, not_built, same, sine};

/// A configuration with every key that there is. Keys that our networks do not use keep these values.
fn template() -> Value {
    json!({
        "kind": "lm",
        "architecture": {
            "kind": "wave",
            "activation": {
                "kind": "psann",
                "amplitude_init": 1.0,
                "frequency_init": 1.0,
                "decay_init": 0.01,
                "learnable": ["amplitude", "frequency", "decay"],
                "decay_mode": "abs",
                "bounds": null,
                "slope_init": 1.0,
                "slope_trainable": true,
                "clip_max": 1.0,
                "activation_types": null,
                "activation_ratios": null,
                "phase_init": 0.0,
                "phase_trainable": true,
                "ratio_sum_tol": 0.001,
                "mix_layout": "random",
                "mix_seed": null,
                "feature_dim": -1,
            },
            "activation_initialization": null,
            "residual": {
                "norm": "rms",
                "alpha_init": 1.0,
                "drop_path": 0.0,
                "first_w0": 12.0,
                "hidden_w0": 1.0,
            },
            "spectral": null,
            "temporal": { "mode": "disabled", "kernel_size": 3, "dilation_growth": 1, "dropout": 0.0 },
            "geometry": null,
            "geometry_execution": null,
        },
        "d_model": 512,
        "n_layers": 8,
        "n_heads": 8,
        "d_mlp": null,
        "vocab_size": null,
        "dropout": 0.0,
        "positional_encoding": "rope",
        "attention_implementation": "math",
    })
}

/// The options of our model for `config`.
///
/// # Errors
/// When it has a key that is not known, or asks for what is not built; both are named.
pub fn to_options(config: &Value) -> Result<Value> {
    check_keys(config, &template(), "config")?;
    let at = |pointer: &str| config.pointer(pointer).unwrap_or(&Value::Null);
    if at("/kind") != "lm" {
        return Err(Error::usage(format!("its `config.kind` is {}, expected \"lm\"", at("/kind"))));
    }
    match at("/architecture/kind").as_str() {
        Some("wave" | "residual") => {}
        Some("geometric-sparse") => return Err(not_built("the architecture `geometric-sparse` (geosparse)")),
        kind => return Err(not_built(&format!("the architecture `{}`", kind.unwrap_or("none")))),
    }
    if !at("/architecture/spectral").is_null() {
        return Err(not_built("the spectral gate (sgrpsann)"));
    }
    if !at("/architecture/geometry").is_null() {
        return Err(not_built("sparse geometry"));
    }
    if at("/architecture/residual/drop_path").as_f64().unwrap_or(0.0) != 0.0 {
        return Err(not_built("stochastic depth (`drop_path`)"));
    }
    let mut options = json!({
        "vocab": at("/vocab_size"),
        "d_model": at("/d_model"),
        "n_layers": at("/n_layers"),
        "n_heads": at("/n_heads"),
        "positional_encoding": at("/positional_encoding"),
        "dropout": at("/dropout"),
        "norm": at("/architecture/residual/norm").as_str().unwrap_or("rms"),
        "alpha": at("/architecture/residual/alpha_init").as_f64().unwrap_or(1.0),
    });
    if at("/d_mlp").is_number() {
        options["d_mlp"] = at("/d_mlp").clone();
    }
    let activation = at("/architecture/activation");
    match activation["kind"].as_str() {
        Some("psann") => {
            let spread = at("/architecture/activation_initialization");
            let mut of = sine(
                ["amplitude_init", "frequency_init", "decay_init"].map(|key| &activation[key]),
                ["amplitude_std", "frequency_std", "decay_std"].map(|key| &spread[key]),
                &activation["learnable"],
            );
            of["decay_mode"] = activation["decay_mode"].clone();
            for name in ["amplitude", "frequency", "decay"] {
                let limits = &activation["bounds"][name];
                if !limits.is_null() {
                    of[format!("{name}_bounds")] = limits.clone();
                }
            }
            options["sine"] = of;
        }
        Some("gelu") => options["activation"] = json!("gelu"),
        kind => return Err(not_built(&format!("the activation `{}`", kind.unwrap_or("none")))),
    }
    let temporal = at("/architecture/temporal");
    if let Some(mode) = temporal["mode"].as_str().filter(|mode| *mode != "disabled") {
        options["wave"] = json!({
            "mode": mode.replace('-', "_"),
            "kernel": temporal["kernel_size"],
            "dilation_growth": temporal["dilation_growth"],
            "dropout": temporal["dropout"],
            // The reference pads on both sides.
            "padding": "same",
        });
    }
    Ok(options)
}

/// Parts that are null in the template and whose keys their own rules check.
const FREE: [&str; 5] = ["bounds", "activation_initialization", "spectral", "geometry", "geometry_execution"];

fn check_keys(config: &Value, template: &Value, place: &str) -> Result<()> {
    let (Value::Object(config), Value::Object(template)) = (config, template) else { return Ok(()) };
    for (key, value) in config {
        let known = template.get(key).ok_or_else(|| {
            Error::usage(format!("its `{place}.{key}` is not known"))
                .hint("it was written by a version of psannlm that this program does not know")
        })?;
        if !FREE.contains(&key.as_str()) {
            check_keys(value, known, &format!("{place}.{key}"))?;
        }
    }
    Ok(())
}

/// Presets of our model, with their heads: the one size that no shape tells.
const PRESETS: [(&str, i64); 2] = [("3b", 24), ("3b-lean", 24)];
const DEFAULT_HEADS: i64 = 8;

/// The configuration of 2.0.1 for `component`, of which `model` was made.
///
/// # Errors
/// When the reference has no such network; the option is named.
pub fn from_options(component: &Component, model: &dyn Model) -> Result<Value> {
    if component.name != MODEL {
        return Err(Error::usage(format!("the reference has no model like `{}`", component.name)));
    }
    let mut options = component.options.clone();
    let defaults: serde_json::Map<String, Value> = (registry::find(Kind::Model, MODEL)?.schema)()
        .fields()
        .into_iter()
        .map(|field| (field.name, field.default))
        .collect();
    fill(&mut options, &Value::Object(defaults));
    let at = |pointer: &str| options.pointer(pointer).cloned().unwrap_or(Value::Null);
    if !same(&at("/rope_theta"), &json!(10_000.0)) {
        return Err(foreign("rope_theta", &at("/rope_theta"), "10000"));
    }
    let shape = |name: &str, axis: usize| {
        let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
        specs.into_iter().find(|spec| spec.name == name).and_then(|spec| spec.shape.get(axis).copied())
    };
    let width = shape("embed.weight", 1).ok_or_else(|| Error::new("the model has no `embed.weight`"))?;
    let preset = PRESETS.iter().find(|(name, _)| at("/preset") == *name).map_or(DEFAULT_HEADS, |(_, heads)| *heads);

    let mut config = template();
    config["d_model"] = width.into();
    config["vocab_size"] = model.vocabulary().into();
    config["n_layers"] = (model.segments().len() as u64 - 2).into();
    config["n_heads"] = at("/n_heads").as_i64().unwrap_or(preset).into();
    config["d_mlp"] = shape("blocks.0.mlp.fc1.weight", 0).or(at("/d_mlp").as_i64()).unwrap_or(4 * width).into();
    config["dropout"] = float(&at("/dropout"));
    config["positional_encoding"] = at("/positional_encoding");
    let architecture = &mut config["architecture"];
    architecture["residual"]["norm"] = at("/norm");
    architecture["residual"]["alpha_init"] = float(&at("/alpha"));
    let activation = &mut architecture["activation"];
    if at("/activation") == "gelu" {
        activation["kind"] = json!("gelu");
        // The reference refuses a sine's values beside another activation, unless they are its own defaults.
        activation["decay_init"] = json!(0.1);
    } else {
        activation["decay_mode"] = at("/sine/decay_mode");
        activation["learnable"] = at("/sine/learnable");
        let (mut bounds, mut spread, mut is_spread) = (json!({}), json!({}), false);
        for name in ["amplitude", "frequency", "decay"] {
            activation[format!("{name}_init")] = float(&at(&format!("/sine/{name}")));
            let std = float(&at(&format!("/sine/{name}_std")));
            is_spread |= std != json!(0.0);
            spread[format!("{name}_std")] = std;
            spread[format!("{name}_range")] = Value::Null;
            let limits = at(&format!("/sine/{name}_bounds"));
            if let Some(limits) = limits.as_array() {
                bounds[name] = limits.iter().map(float).collect();
            }
        }
        if bounds != json!({}) {
            activation["bounds"] = bounds;
        }
        if is_spread {
            architecture["activation_initialization"] = spread;
        }
    }
    if at("/wave/mode") != "off" {
        if at("/wave/padding") != "same" && at("/wave/mode") != "attention_only" {
            return Err(foreign("wave.padding", &at("/wave/padding"), "\"same\""));
        }
        let mode = at("/wave/mode").as_str().unwrap_or_default().replace('_', "-");
        architecture["temporal"] = json!({
            "mode": mode,
            "kernel_size": at("/wave/kernel"),
            "dilation_growth": at("/wave/dilation_growth"),
            "dropout": float(&at("/wave/dropout")),
        });
    }
    Ok(config)
}

fn foreign(option: &str, value: &Value, only: &str) -> Error {
    Error::usage(format!("the reference has no network with `{option}` {value}, so it could not read the model"))
        .hint(format!("it knows {only} only"))
}

/// The same number as a float: the reference takes no whole numbers for real ones.
fn float(value: &Value) -> Value {
    value.as_f64().map_or(Value::Null, |number| json!(number))
}

/// Adds what is missing or null.
fn fill(options: &mut Value, defaults: &Value) {
    let Value::Object(defaults) = defaults else { return };
    for (key, default) in defaults {
        match options.get_mut(key) {
            Some(inner @ Value::Object(_)) => fill(inner, default),
            Some(value) if !value.is_null() => {}
            _ => options[key.as_str()] = default.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use psann_plugins_nn::models::vocabulary::Vocabulary;
    use psann_plugins_nn::models::waveresnet::options::WaveResNetOptions;

    use super::*;

    #[test]
    fn heads_of_presets_are_the_models_own() {
        let heads = |preset: Value| {
            let options = json!({ "preset": preset, "vocab": 10 });
            let options: WaveResNetOptions = serde_json::from_value(options).unwrap();
            assert_eq!(options.vocab, Vocabulary::Size(10));
            options.sizes().unwrap().heads
        };
        assert_eq!(heads(Value::Null), DEFAULT_HEADS);
        for (preset, expected) in PRESETS {
            assert_eq!(heads(json!(preset)), expected);
        }
    }

    #[test]
    fn every_key_of_ours_that_the_reference_lacks_is_named() {
        let export = |options: Value| {
            let model = registry::model(MODEL, &options).unwrap();
            from_options(&Component { kind: Kind::Model, name: MODEL.into(), options }, model.as_ref())
        };
        let sizes = json!({ "vocab": 10, "d_model": 8, "n_layers": 1, "n_heads": 2 });
        assert_eq!(export(sizes.clone()).unwrap()["d_mlp"], 32);
        let with = |key: &str, value: Value| {
            let mut options = sizes.clone();
            options[key] = value;
            options
        };
        let message = |options| export(options).unwrap_err().to_string();
        assert!(message(with("rope_theta", json!(500.0))).contains("`rope_theta` 500"));
        assert!(message(with("wave", json!({ "mode": "interleave" }))).contains("`wave.padding` \"causal\""));
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_path() {
        let mut config = template();
        config["architecture"]["activation"]["softness"] = json!(2);
        let error = to_options(&config).unwrap_err().to_string();
        assert!(error.contains("`config.architecture.activation.softness` is not known"), "{error}");
    }
}
