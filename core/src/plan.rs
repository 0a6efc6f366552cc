//! [`Plan`]: what a recipe evaluates to, and all that the engine runs.
//!
//! Plain data, so that one thing can be printed, overridden, fingerprinted, stored beside the results and
//! compared later. Building a plan does no work and touches no file.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::options::Problem;
use crate::registry::{self, Kind};
use crate::{Error, Result, suggest};

/// Version of the layout of a stored plan.
pub const VERSION: u32 = 1;

/// A plugin and the options it is to be made with. In JSON: `{"plugin": "optimizer/adamw", "options": {…}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// What it is.
    pub kind: Kind,
    /// Its name in the registry.
    pub name: String,
    /// The options the user gave; defaults are not filled in.
    pub options: Value,
}

impl Component {
    /// The plugin with default options.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self { kind, name: name.to_owned(), options: json!({}) }
    }

    /// Reads the JSON form; `None` when the value is something else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let (kind, name) = value.get("plugin")?.as_str()?.split_once('/')?;
        let options = value.get("options").cloned().unwrap_or_else(|| json!({}));
        Some(Self { kind: Kind::from_word(kind)?, name: name.to_owned(), options })
    }

    /// The JSON form.
    pub fn to_value(&self) -> Value {
        json!({ "plugin": format!("{}/{}", self.kind, self.name), "options": self.options })
    }
}

impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).ok_or_else(|| D::Error::custom("expected a plugin, such as `optimizer::adamw()`"))
    }
}

impl JsonSchema for Component {
    fn schema_name() -> Cow<'static, str> {
        "component".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// The field that holds it says which kind: `#[schemars(extend("x-plugin" = "optimizer"))]`.
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({ "type": "object" })
    }
}

/// Documents and what happens to them: a source and, in order, filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Where the documents come from.
    #[schemars(extend("x-plugin" = "source"))]
    pub source: Component,
    /// What is done to them, in order.
    pub filters: Vec<FilterComponent>,
}

/// A [`Component`] that is a filter; a type of its own so that schemas of lists can say so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterComponent(pub Component);

impl JsonSchema for FilterComponent {
    fn schema_name() -> Cow<'static, str> {
        "filter".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({ "type": "object", "x-plugin": "filter" })
    }
}

/// One value a user may set with `--set name=value`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What the recipe says when nobody sets it.
    pub default: Value,
    /// What it is in this plan.
    pub value: Value,
    /// One line of help.
    pub help: String,
}

/// One step of the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Name of the stage in the registry, e.g. `pretrain`.
    pub kind: String,
    /// What addresses it within this plan: its kind, or `evaluate-2` when the kind occurs again.
    pub name: String,
    /// Its options, components included; defaults are not filled in.
    pub options: Value,
}

/// What a recipe evaluates to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the run and of its directory.
    pub name: String,
    /// The parameters that the recipe declares, in its order.
    pub parameters: Vec<Parameter>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// A plan without stages.
    pub fn new(name: &str) -> Self {
        Self { version: VERSION, name: name.to_owned(), parameters: Vec::new(), stages: Vec::new() }
    }

    /// Adds a stage under the next free name and returns that name.
    pub fn push(&mut self, kind: &str, options: Value) -> &str {
        let count = self.stages.iter().filter(|stage| stage.kind == kind).count();
        let name = if count == 0 { kind.to_owned() } else { format!("{kind}-{}", count + 1) };
        self.stages.push(Stage { kind: kind.to_owned(), name, options });
        &self.stages[self.stages.len() - 1].name
    }

    /// The stage called `name`.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Everything wrong with the stages' options, with the index of the stage.
    pub fn check(&self) -> Vec<(usize, Problem)> {
        let mut problems = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            match registry::find(Kind::Stage, &stage.kind) {
                Ok(plugin) => {
                    problems
                        .extend((plugin.schema)().check(&stage.options).into_iter().map(|problem| (index, problem)));
                }
                Err(error) => {
                    let fault = crate::options::Fault::Invalid(error.to_string());
                    problems.push((index, Problem { path: Vec::new(), fault }));
                }
            }
        }
        problems
    }

    /// Sets one option of the finished plan: `pretrain.steps`, `pretrain.optimizer.lr`.
    ///
    /// A component's options are addressed through it, without the word `options`. Groups that the recipe left
    /// out are created.
    ///
    /// # Errors
    /// When the path leads nowhere, with the nearest name.
    pub fn set(&mut self, path: &str, value: Value) -> Result<()> {
        let mut parts = path.split('.');
        let first = parts.next().unwrap_or_default();
        let names: Vec<String> = self.stages.iter().map(|stage| stage.name.clone()).collect();
        let Some(stage) = self.stages.iter_mut().find(|stage| stage.name == first) else {
            return Err(unknown(path, first, "stage", names.iter().map(String::as_str)));
        };
        let rest: Vec<&str> = parts.collect();
        if rest.is_empty() {
            return Err(Error::usage(format!("`{path}` names a whole stage"))
                .hint(format!("name one of its options, as in `{path}.NAME=VALUE`")));
        }
        let schema = (registry::find(Kind::Stage, &stage.kind)?.schema)();
        set_within(schema.json(), &mut stage.options, &rest, path, value)
    }

    /// Name and version of every plugin that the stage uses, itself included, sorted.
    pub fn plugins(stage: &Stage) -> BTreeSet<(String, u32)> {
        let mut found = BTreeSet::new();
        let mut note = |kind: Kind, name: &str| {
            if let Ok(plugin) = registry::find(kind, name) {
                found.insert((format!("{kind}/{name}"), plugin.version));
            }
        };
        note(Kind::Stage, &stage.kind);
        let mut pending = vec![&stage.options];
        while let Some(value) = pending.pop() {
            if let Some(component) = Component::from_value(value) {
                note(component.kind, &component.name);
            }
            match value {
                Value::Object(object) => pending.extend(object.values()),
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
        found
    }
}

fn unknown<'a>(path: &str, word: &str, what: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let hint = match suggest::nearest(word, known.clone()) {
        Some(nearest) => format!("did you mean `{}`?", path.replacen(word, nearest, 1)),
        None => format!("known here: {}", known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    Error::usage(format!("`{path}` cannot be set: no {what} is called `{word}`")).hint(hint)
}

fn set_within(schema: &Value, target: &mut Value, rest: &[&str], path: &str, value: Value) -> Result<()> {
    if let Some(component) = Component::from_value(target) {
        let schema = (registry::find(component.kind, &component.name)?.schema)();
        let options = target.as_object_mut().and_then(|object| object.get_mut("options"));
        return match options {
            Some(options) => set_within(schema.json(), options, rest, path, value),
            None => Err(Error::usage(format!("`{path}` cannot be set: the plugin there has no options"))),
        };
    }
    let (word, deeper) = (rest[0], &rest[1..]);
    let empty = Map::new();
    // `Option<Group>` hides its properties one level down.
    let of_group = ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array()?.iter().find(|part| part.get("properties").is_some()));
    let known = of_group.unwrap_or(schema).get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let Some(of_word) = known.get(word) else {
        return Err(unknown(path, word, "option", known.keys().map(String::as_str)));
    };
    if target.is_null() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else {
        return Err(Error::usage(format!("`{path}` cannot be set: `{word}` would be inside a plain value")));
    };
    if deeper.is_empty() {
        object.insert(word.to_owned(), value);
        return Ok(());
    }
    let default = of_word.get("default").cloned().unwrap_or(Value::Null);
    let inner = object.entry(word).or_insert(default);
    set_within(of_word, inner, deeper, path, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trains nothing.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Train {
        /// Steps.
        steps: u64,
        /// Optimizer.
        #[schemars(extend("x-plugin" = "optimizer"))]
        optimizer: Option<Component>,
    }

    /// Moves nothing.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Still {
        /// Rate.
        lr: f64,
    }

    crate::register!(Stage, "test_train", Train);
    crate::register!(Optimizer, "test_still", Still);

    fn plan() -> Plan {
        let mut plan = Plan::new("test");
        let optimizer = Component::new(Kind::Optimizer, "test_still").to_value();
        plan.push("test_train", json!({ "steps": 3, "optimizer": optimizer }));
        plan
    }

    #[test]
    fn paths_reach_through_components_and_wrong_ones_get_a_suggestion() {
        let mut plan = plan();
        plan.set("test_train.optimizer.lr", json!(0.5)).unwrap();
        plan.set("test_train.steps", json!(9)).unwrap();
        assert_eq!(plan.stages[0].options["optimizer"]["options"]["lr"], json!(0.5));
        assert_eq!(plan.stages[0].options["steps"], json!(9));
        let error = plan.set("test_train.step", json!(1)).unwrap_err();
        assert_eq!(error.hint_text(), Some("did you mean `test_train.steps`?"));
        assert!(plan.set("test_trian.steps", json!(1)).is_err());
        assert!(plan.set("test_train", json!(1)).is_err());
        assert_eq!(plan.check(), Vec::new());
    }

    #[test]
    fn a_repeated_stage_gets_a_name_of_its_own() {
        let mut plan = plan();
        assert_eq!(plan.push("test_train", json!({})), "test_train-2");
    }

    #[test]
    fn the_plugins_of_a_stage_are_found_however_deep() {
        let plan = plan();
        let names: Vec<_> = Plan::plugins(&plan.stages[0]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["optimizer/test_still", "stage/test_train"]);
    }
}
