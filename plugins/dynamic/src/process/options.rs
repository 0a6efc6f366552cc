//! Options of a program: as its manifest declares them, as a JSON schema, and as the program gets them.

use std::collections::BTreeMap;

use psann_core::options::Schema;
use psann_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// An option that a manifest declares.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessOption {
    /// What it takes.
    #[serde(rename = "type")]
    pub kind: OptionType,
    /// Its value where a recipe gives none.
    #[serde(default)]
    pub default: Option<Value>,
    /// What it is, in a sentence.
    #[serde(default)]
    pub help: String,
    /// Whether it names inputs: relative paths start at the recipe's folder. Options called `path`, `paths` and `manifest`
    /// always do, as those of every source.
    #[serde(default)]
    pub path: bool,
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list of texts.
    Array,
}

impl OptionType {
    fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
        }
    }
}

impl ProcessOption {
    /// Checks what is declared under `name`.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(Error::usage(format!("`{name}` in `process.options` is no name of an option"))
                .hint("letters, digits, `-` and `_`"));
        }
        if self.path && !matches!(self.kind, OptionType::String | OptionType::Array) {
            return Err(Error::usage(format!("`process.options.{name}` is a path of type `{}`", self.kind.word()))
                .hint("a path has the type `string`, several have the type `array`"));
        }
        let Some(default) = &self.default else { return Ok(()) };
        let schema = json!({ "type": "object", "properties": { name: self.schema() } });
        match Schema::from_json(schema).check(&json!({ name: default })).first() {
            Some(problem) => Err(Error::usage(format!("`process.options.{name}.default`: {problem}"))
                .hint(format!("the type is `{}`; correct one of the two", self.kind.word()))),
            None => Ok(()),
        }
    }

    fn schema(&self) -> Value {
        let word = self.kind.word();
        let mut schema = Map::new();
        schema.insert("description".into(), self.help.clone().into());
        if let Some(default) = &self.default {
            schema.insert("type".into(), word.into());
            schema.insert("default".into(), default.clone());
        } else {
            // As an option of ours that has no default: nothing is a value, too.
            schema.insert("type".into(), json!([word, "null"]));
        }
        if self.kind == OptionType::Array {
            schema.insert("items".into(), json!({ "type": "string" }));
        }
        if self.path {
            schema.insert("x-path".into(), true.into());
        }
        schema.into()
    }
}

/// The JSON schema of all options.
pub(super) fn schema(options: &BTreeMap<String, ProcessOption>, description: &str) -> Value {
    let properties: Map<String, Value> = options.iter().map(|(name, option)| (name.clone(), option.schema())).collect();
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The options that the program gets for those that a recipe gave: sorted by name, defaults filled in, nothing left out
/// that has a value.
///
/// # Errors
/// One usage error that names every problem.
pub(super) fn complete(options: &BTreeMap<String, ProcessOption>, given: Value) -> Result<Value> {
    let problems = Schema::from_json(schema(options, "")).check(&given);
    if !problems.is_empty() {
        return Err(psann_core::options::error_of(&problems));
    }
    let mut given = match given {
        Value::Object(given) => given,
        _ => Map::new(),
    };
    let value = |(name, option): (&String, &ProcessOption)| {
        let given = given.remove(name).filter(|value| !value.is_null());
        Some((name.clone(), given.or_else(|| option.default.clone())?))
    };
    Ok(options.iter().filter_map(value).collect::<Map<_, _>>().into())
}
