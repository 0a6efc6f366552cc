//! `config.json` of a Llama model as options of `model/llama`, and back.
//!
//! Two spellings are in use: transformers 5 has `rope_parameters` and `dtype`, earlier ones `rope_theta`, `rope_scaling`
//! and `torch_dtype`. Both are read; the older one is written, which every version reads.

use std::fs;
use std::path::Path;

use psann_core::plan::Component;
use psann_core::registry::Kind as PluginKind;
use psann_core::{Error, Model, Result, registry};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tch::Kind;

use super::write::TokenizerFolder;
use crate::export::CONFIG;

/// The model that these folders hold.
pub const MODEL: &str = "llama";

/// What is read of `config.json`. What is missing has the value that transformers gives it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
struct LlamaConfig {
    vocab_size: i64,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: i64,
    num_attention_heads: i64,
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    hidden_act: String,
    max_position_embeddings: i64,
    initializer_range: f64,
    rms_norm_eps: f64,
    tie_word_embeddings: bool,
    attention_bias: bool,
    attention_dropout: Option<f64>,
    mlp_bias: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<Map<String, Value>>,
    rope_parameters: Option<Map<String, Value>>,
    original_max_position_embeddings: Option<i64>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Value>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".into(),
            max_position_embeddings: 2048,
            initializer_range: 0.02,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            attention_bias: false,
            attention_dropout: None,
            mlp_bias: false,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            original_max_position_embeddings: None,
            partial_rotary_factor: None,
            quantization_config: None,
        }
    }
}

/// The rules for long texts that `model/llama` knows, with the keys that each of them uses.
const RULES: [(&str, &[&str]); 4] = [
    ("default", &[]),
    ("linear", &["factor"]),
    ("llama3", &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]),
    (
        "yarn",
        &[
            "factor",
            "original_max_position_embeddings",
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ],
    ),
];

/// Length of the first training, for rules that count from it.
const ORIGINAL: &str = "original_max_position_embeddings";

/// `config.json` in `folder` as JSON; `None` where there is none or it is none.
pub fn read_json(folder: &Path) -> Option<Map<String, Value>> {
    serde_json::from_str(&fs::read_to_string(folder.join(CONFIG)).ok()?).ok()
}

/// Reads `config.json` in `folder`.
///
/// # Errors
/// When it is of another kind of model, or asks for something that `model/llama` does not do.
pub fn read(folder: &Path) -> Result<Component> {
    let path = folder.join(CONFIG);
    let within = |error: Error| error.within(format!("`{}`", path.display()));
    let all = read_json(folder).ok_or_else(|| within(Error::new("it is no JSON object")))?;
    match all.get("model_type").and_then(Value::as_str) {
        Some(MODEL) => {}
        other => {
            let other = other.unwrap_or("none");
            return Err(within(
                Error::usage(format!("models of type `{other}` are not supported"))
                    .hint("models of type `llama` are; many others were converted to it"),
            ));
        }
    }
    let config: LlamaConfig = serde_json::from_value(all.into())
        .map_err(|e| within(Error::new("it does not describe a llama model").because(e)))?;
    let options = config.options().map_err(within)?;
    let mut component = Component::new(PluginKind::Model, MODEL);
    component.options = options;
    Ok(component)
}

impl LlamaConfig {
    fn options(&self) -> Result<Value> {
        let unsupported = |what: String| Err(Error::usage(format!("{what} is not supported")));
        if self.hidden_act != "silu" {
            return unsupported(format!("`hidden_act` `{}`", self.hidden_act));
        }
        if let Some(rate) = self.attention_dropout.filter(|rate| *rate != 0.0) {
            return unsupported(format!("`attention_dropout` {rate}"));
        }
        if let Some(share) = self.partial_rotary_factor.filter(|share| *share != 1.0) {
            return unsupported(format!("`partial_rotary_factor` {share}"));
        }
        if self.quantization_config.is_some() {
            return unsupported("a model with quantised weights (`quantization_config`)".into());
        }
        let (theta, scaling) = self.rope()?;
        let mut options = json!({
            "vocab": self.vocab_size,
            "d_model": self.hidden_size,
            "n_layers": self.num_hidden_layers,
            "n_heads": self.num_attention_heads,
            "n_kv_heads": self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            "d_mlp": self.intermediate_size,
            "rope_theta": theta,
            "max_position_embeddings": self.max_position_embeddings,
            "norm_eps": self.rms_norm_eps,
            "tie_embeddings": self.tie_word_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "initializer_range": self.initializer_range,
        });
        if let Some(head) = self.head_dim {
            options["head_dim"] = head.into();
        }
        if let Some(scaling) = scaling {
            options["rope_scaling"] = scaling.into();
        }
        Ok(options)
    }

    /// Base of the frequencies, and the rule that changes them.
    fn rope(&self) -> Result<(f64, Option<Map<String, Value>>)> {
        const DEFAULT_THETA: f64 = 10_000.0;
        let given = self.rope_scaling.as_ref().or(self.rope_parameters.as_ref());
        let value = |key: &str| given.and_then(|given| given.get(key)).filter(|value| !value.is_null());
        let theta = value("rope_theta").and_then(Value::as_f64).or(self.rope_theta).unwrap_or(DEFAULT_THETA);
        let name = value("rope_type").or_else(|| value("type")).and_then(Value::as_str).unwrap_or("default");
        let Some((_, keys)) = RULES.iter().find(|(rule, _)| *rule == name) else {
            let error = Error::usage(format!("rotary positions of type `{name}` are not supported"));
            return Err(match name {
                "dynamic" => error.hint("its frequencies change while a text grows, so cached keys would be wrong"),
                _ => error.hint("`default`, `linear`, `llama3` and `yarn` are"),
            });
        };
        if let Some(share) = value("partial_rotary_factor").and_then(Value::as_f64).filter(|share| *share != 1.0) {
            return Err(Error::usage(format!("`partial_rotary_factor` {share} is not supported")));
        }
        if name == "default" {
            return Ok((theta, None));
        }
        let mut scaling = Map::from_iter([("rope_type".to_owned(), json!(name))]);
        for key in *keys {
            if let Some(value) = value(key) {
                scaling.insert((*key).to_owned(), value.clone());
            }
        }
        if let Some(original) = self.original_max_position_embeddings.filter(|_| keys.contains(&ORIGINAL)) {
            scaling.insert(ORIGINAL.to_owned(), original.into());
        }
        Ok((theta, Some(scaling)))
    }
}

/// The `config.json` of `model`, which `component` makes and whose weights are written as `kind`.
///
/// # Errors
/// When it is no Llama.
pub fn write(component: &Component, model: &dyn Model, kind: Kind, tokens: &TokenizerFolder) -> Result<Value> {
    if component.name != MODEL {
        return Err(Error::usage(format!("`model/{}` has no counterpart among Hugging Face's models", component.name))
            .hint("`model/llama` has; save others as `safetensors` or `psannlm`"));
    }
    let schema = (registry::find(PluginKind::Model, MODEL)?.schema)();
    let option = |name: &str| -> Value {
        let given = component.options.get(name).filter(|value| !value.is_null());
        given.unwrap_or(&schema.json()["properties"][name]["default"]).clone()
    };
    // Sizes that options may leave out are those of the weights.
    let heads = option("n_heads");
    let head = rows(model, "self_attn.q_proj.weight")? / heads.as_i64().unwrap_or(1).max(1);
    let tied = model.tied_vocabulary().is_some();
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": MODEL,
        "attention_bias": rows(model, "self_attn.q_proj.bias").is_ok(),
        "attention_dropout": 0.0,
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
        "head_dim": head,
        "hidden_act": "silu",
        "hidden_size": rows(model, "input_layernorm.weight")?,
        "initializer_range": option("initializer_range"),
        "intermediate_size": rows(model, "mlp.gate_proj.weight")?,
        "max_position_embeddings": option("max_position_embeddings"),
        "mlp_bias": rows(model, "mlp.gate_proj.bias").is_ok(),
        "num_attention_heads": heads,
        "num_hidden_layers": model.segments().len() - 2,
        "num_key_value_heads": rows(model, "self_attn.k_proj.weight")? / head.max(1),
        "rms_norm_eps": option("norm_eps"),
        "rope_scaling": null,
        "rope_theta": option("rope_theta"),
        "tie_word_embeddings": tied,
        "torch_dtype": if kind == Kind::BFloat16 { "bfloat16" } else { "float32" },
        "use_cache": true,
        "vocab_size": model.vocabulary(),
    });
    let scaling = option("rope_scaling");
    let of_scaling = |key: &str| {
        let given = scaling.get(key).filter(|value| !value.is_null());
        given.unwrap_or(&schema.json()["properties"]["rope_scaling"]["default"][key]).clone()
    };
    let rule = of_scaling("rope_type");
    let keys = RULES.iter().find(|(name, _)| rule == *name).map_or(&[][..], |(_, keys)| keys);
    if !keys.is_empty() {
        let values = keys.iter().map(|key| ((*key).to_owned(), of_scaling(key))).filter(|(_, value)| !value.is_null());
        let mut written: Map<String, Value> = values.collect();
        written.insert("rope_type".into(), rule);
        if keys.contains(&ORIGINAL) && !written.contains_key(ORIGINAL) {
            written.insert(ORIGINAL.into(), option("max_position_embeddings"));
        }
        config["rope_scaling"] = written.into();
    }
    Ok(config)
}

/// Rows of a parameter of the first block.
fn rows(model: &dyn Model, name: &str) -> Result<i64> {
    let specs = model.segments().get(1).map(|segment| segment.parameters.as_slice()).unwrap_or_default();
    let spec = specs.iter().find(|spec| spec.name.strip_suffix(name).is_some_and(|before| before.ends_with('.')));
    spec.map(|spec| spec.shape[0]).ok_or_else(|| Error::new(format!("the model's first block has no `{name}`")))
}
