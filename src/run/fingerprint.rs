//! What makes a stage's result: its kind and options, the versions of its plugins, the data it reads, and the
//! stages it builds on. Two equal fingerprints mean equal results, so finished work can be skipped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use psann_core::plan::{Component, Flow, Plan};
use psann_core::registry::{self, Kind};
use psann_core::{Error, Result, canonical, options};
use psann_eval::EvaluateOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Hexadecimal BLAKE3 over everything that decides a stage's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The first eight digits, for folder names.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

/// The kinds of stages whose results a stage of this kind uses: the latest one before it counts.
fn inputs_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "tokenizer" => &["prepare"],
        "pretrain" => &["prepare", "tokenizer"],
        "evaluate" | "sample" | "save" => &["prepare", "tokenizer", "pretrain"],
        _ => &[],
    }
}

/// The fingerprints of all stages, in order.
///
/// # Errors
/// When data that a stage reads cannot be found: its identity is part of the fingerprint.
pub fn of_plan(plan: &Plan) -> Result<Vec<Fingerprint>> {
    let mut fingerprints: Vec<Fingerprint> = Vec::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let mut inputs = BTreeMap::new();
        for kind in inputs_of(&stage.kind) {
            if let Some((earlier, _)) = super::earlier(plan, index, kind) {
                inputs.insert(*kind, fingerprints[earlier].0.clone());
            }
        }
        let schema = (registry::find(Kind::Stage, &stage.kind)?.schema)();
        let options = without_effect_free(schema.json(), &stage.options);
        let value = json!({
            "kind": stage.kind,
            "options": options,
            "plugins": Plan::plugins(stage),
            "inputs": inputs,
            "data": identity(plan, index).map_err(|e| e.within(format!("stage `{}`", stage.name)))?,
        });
        fingerprints.push(Fingerprint(canonical::hash(&value)));
    }
    Ok(fingerprints)
}

/// Eight digits for the plan as a whole: its last stage builds on all that matters.
pub fn short_plan(fingerprints: &[Fingerprint]) -> String {
    let all: Vec<&str> = fingerprints.iter().map(|fingerprint| fingerprint.0.as_str()).collect();
    canonical::hash(&json!(all))[..8].to_owned()
}

/// Drops the options that cannot change a result (`x-effect-free` in the schema), such as how often to log.
fn without_effect_free(schema: &Value, options: &Value) -> Value {
    let (Some(object), Some(known)) = (options.as_object(), schema.get("properties").and_then(Value::as_object)) else {
        return options.clone();
    };
    let kept = object.iter().filter_map(|(key, value)| {
        let of_key = known.get(key).unwrap_or(&Value::Null);
        let effect_free = of_key.get("x-effect-free").and_then(Value::as_bool).unwrap_or(false);
        (!effect_free).then(|| (key.clone(), without_effect_free(of_key, value)))
    });
    Value::Object(kept.collect())
}

/// What the data of a stage are, when it reads some.
fn identity(plan: &Plan, index: usize) -> Result<Option<String>> {
    let stage = &plan.stages[index];
    if super::evaluate::is_shared(stage) {
        let options: EvaluateOptions = options::parse(&stage.options)?;
        let data: Vec<PathBuf> = options.data.iter().map(PathBuf::from).collect();
        let shots = options.fewshot.map(|shots| shots as usize);
        return crate::evaluation::digest(&options.tasks, &data, shots).map(Some);
    }
    if stage.kind == "evaluate" {
        return Ok(None);
    }
    if let Some(data) = stage.options.get("data") {
        let flow: Flow =
            serde_json::from_value(data.clone()).map_err(|e| Error::usage("`data` is no flow").because(e))?;
        return psann_data::prepare::identity(&flow).map(Some);
    }
    // A tokenizer that is loaded is an input like any other.
    if let Some(tokenizer) = stage.options.get("tokenizer").and_then(Component::from_value)
        && tokenizer.name == "load"
    {
        return psann_data::tokenizer::identity(&tokenizer.options).map(Some);
    }
    // A tokenizer that is trained on a source which nothing is prepared from.
    match super::data::source(plan, index)? {
        Some(source) if stage.kind == "tokenizer" => {
            registry::source(&source.name, &source.options)?.identity().map(Some)
        }
        _ => Ok(None),
    }
}
