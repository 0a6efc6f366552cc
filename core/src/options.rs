//! Typed options with one source of truth: a struct's fields, doc comments and defaults.
//!
//! From the struct's JSON schema come validation, `psann plugin info`, completion and the reference docs. The
//! checker reports *every* unknown and mistyped key at once, each with its path, so that a recipe can point at
//! each of them; serde alone would stop at the first and know no place.

use std::fmt;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::plan::Component;
use crate::{Error, Result, quantity, registry, suggest};

/// A struct of options: `#[serde(deny_unknown_fields, default)]`, a doc comment on it and on each field, and
/// defaults that are sensible. Fields without a sensible default are `Option`s that the constructor checks.
pub trait Options: Serialize + DeserializeOwned + JsonSchema + Default {}

impl<T: Serialize + DeserializeOwned + JsonSchema + Default> Options for T {}

/// The JSON schema of an options struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    root: Value,
}

/// One option, as `plugin info` and completion show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name, as recipes write it.
    pub name: String,
    /// What it accepts, in words: `integer`, `"rope" | "alibi"`, `count`, `optimizer`.
    pub accepts: String,
    /// Default as JSON; `null` when there is none.
    pub default: Value,
    /// The doc comment.
    pub help: String,
    /// Options within it, when it is a group.
    pub fields: Vec<Field>,
}

/// One part of the path to an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a map.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// Something wrong with the options given.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The way from the options' root to the offending key or value.
    pub path: Vec<Step>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a key or value.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// No option has this name.
    Unknown {
        /// The nearest name, if one is near.
        suggestion: Option<String>,
        /// All names there are.
        known: Vec<String>,
    },
    /// The value is not what the option takes.
    Mistyped {
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Anything else, in words.
    Invalid(String),
}

impl Problem {
    /// The path as `optimizer.betas[1]`; empty at the root.
    pub fn location(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            }
        }
        text
    }

    /// The hint that goes with it, if there is one.
    pub fn hint(&self) -> Option<String> {
        match &self.fault {
            Fault::Unknown { suggestion: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Fault::Unknown { known, .. } if known.is_empty() => Some("there are no options here".into()),
            Fault::Unknown { known, .. } => Some(format!("options: {}", quote(known))),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location();
        match &self.fault {
            Fault::Unknown { .. } => write!(f, "unknown option `{location}`"),
            Fault::Mistyped { expected, found } if location.is_empty() => {
                write!(f, "expected {expected}, found {found}")
            }
            Fault::Mistyped { expected, found } => write!(f, "option `{location}` takes {expected}, found {found}"),
            Fault::Invalid(message) if location.is_empty() => f.write_str(message),
            Fault::Invalid(message) => write!(f, "option `{location}`: {message}"),
        }
    }
}

/// The schema of an options struct.
pub fn schema<T: Options>() -> Schema {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    Schema { root: generator.into_root_schema_for::<T>().to_value() }
}

/// Checks `value` against the schema of `T` and reads it.
///
/// # Errors
/// One usage error that names every problem.
pub fn parse<T: Options>(value: &Value) -> Result<T> {
    let problems = schema::<T>().check(value);
    if !problems.is_empty() {
        return Err(error_of(&problems));
    }
    serde_json::from_value(value.clone()).map_err(|e| Error::usage(e.to_string()))
}

/// All problems in one error, a line each.
pub fn error_of(problems: &[Problem]) -> Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let error = Error::usage(lines.join("\n"));
    match problems.iter().find_map(Problem::hint) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

impl Schema {
    /// The schema of options that are not a struct of ours: a plugin of someone else brings it as JSON.
    pub fn from_json(root: Value) -> Self {
        Self { root }
    }

    /// The schema as JSON.
    pub fn json(&self) -> &Value {
        &self.root
    }

    /// The first paragraph of the struct's doc comment.
    pub fn summary(&self) -> String {
        let text = self.description();
        text.split("\n\n").next().unwrap_or_default().replace('\n', " ")
    }

    /// The whole doc comment of the struct.
    pub fn description(&self) -> String {
        text_of(&self.root, "description")
    }

    /// The options, in the order of the struct.
    pub fn fields(&self) -> Vec<Field> {
        fields_of(&self.root, self.root.get("default"))
    }

    /// Everything wrong with `value`, in the order of its keys.
    pub fn check(&self, value: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        check(&self.root, value, &mut Vec::new(), &mut problems);
        problems
    }
}

fn text_of(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn fields_of(schema: &Value, defaults: Option<&Value>) -> Vec<Field> {
    let Some(properties) = properties(schema) else { return Vec::new() };
    let fields = properties.iter().map(|(name, property)| {
        let default = property.get("default").or_else(|| defaults?.get(name)).cloned().unwrap_or(Value::Null);
        Field {
            name: name.clone(),
            accepts: accepts(property),
            help: text_of(property, "description"),
            fields: fields_of(non_null(property), Some(&default)),
            default,
        }
    });
    fields.collect()
}

/// An `Option<T>` of a struct is `anyOf [T, null]`: the part that is not null.
fn non_null(schema: &Value) -> &Value {
    match alternatives(schema) {
        Some(parts) => parts.iter().find(|part| part.get("type") != Some(&"null".into())).unwrap_or(schema),
        None => schema,
    }
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()
}

/// The `type` keyword as a list.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a schema accepts, in words.
fn accepts(schema: &Value) -> String {
    if let Some(kind) = schema.get("x-plugin").and_then(Value::as_str) {
        return format!("{} {kind}", article(kind));
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return choices.iter().filter(|c| !c.is_null()).map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && let Some(expected) = quantity::complaint(format, &Value::Null)
    {
        return expected.to_owned();
    }
    if let Some(parts) = alternatives(schema) {
        let words: Vec<String> = parts.iter().map(accepts).filter(|word| word != "nothing").collect();
        return words.join(" | ");
    }
    let words: Vec<String> = types(schema)
        .iter()
        .filter(|word| **word != "null")
        .map(|word| match *word {
            "array" => match schema.get("items") {
                Some(items) => format!("a list of {}", accepts(items)),
                None => "a list".into(),
            },
            "object" => "a map".into(),
            "integer" => "an integer".into(),
            "boolean" => "true or false".into(),
            "string" => "a string".into(),
            "number" => "a number".into(),
            other => other.to_owned(),
        })
        .collect();
    if words.is_empty() { "nothing".into() } else { words.join(" or ") }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// A value, in words for a message.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(object) if object.contains_key("plugin") => match Component::from_value(value) {
            Some(component) => format!("{} `{}`", component.kind, component.name),
            None => "a map".into(),
        },
        Value::Object(_) => "a map".into(),
        Value::String(text) => format!("the string `{text:?}`"),
        Value::Number(number) => format!("the number `{number}`"),
        Value::Bool(flag) => format!("`{flag}`"),
    }
}

fn matches_type(word: &str, value: &Value) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        // A whole float is an integer to JSON schema, but not to serde.
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn check(schema: &Value, value: &Value, path: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let mistyped = |path: &[Step]| Problem {
        path: path.to_vec(),
        fault: Fault::Mistyped { expected: accepts(schema), found: found(value) },
    };
    if let Some(kind) = schema.get("x-plugin").and_then(Value::as_str) {
        if !(value.is_null() && types(schema).contains(&"null")) {
            check_component(kind, value, path, problems);
        }
        return;
    }
    if let Some(parts) = alternatives(schema) {
        check_alternatives(parts, value, path, problems, &mistyped);
        return;
    }
    if let Some(constant) = schema.get("const") {
        if constant != value {
            problems.push(mistyped(path));
        }
        return;
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        if !choices.contains(value) {
            problems.push(mistyped(path));
        }
        return;
    }
    let types = types(schema);
    if value.is_null() && types.contains(&"null") {
        return;
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str)
        && quantity::complaint(format, value).is_some()
    {
        problems.push(mistyped(path));
        return;
    }
    if !types.is_empty() && !types.iter().any(|word| matches_type(word, value)) {
        problems.push(mistyped(path));
        return;
    }
    check_bounds(schema, value, path, problems);
    match value {
        Value::Object(object) => check_object(schema, object, path, problems),
        Value::Array(items) => {
            let (least, most) = (schema.get("minItems"), schema.get("maxItems"));
            let length = items.len() as u64;
            if least.and_then(Value::as_u64).is_some_and(|n| length < n)
                || most.and_then(Value::as_u64).is_some_and(|n| length > n)
            {
                let fault = Fault::Invalid(format!(
                    "takes {} elements, found {length}",
                    least.or(most).unwrap_or(&Value::Null)
                ));
                problems.push(Problem { path: path.clone(), fault });
            }
            let prefix = schema.get("prefixItems").and_then(Value::as_array);
            for (index, item) in items.iter().enumerate() {
                let of_item = prefix.and_then(|p| p.get(index)).or_else(|| schema.get("items"));
                if let Some(of_item) = of_item {
                    path.push(Step::Index(index));
                    check(of_item, item, path, problems);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

fn check_bounds(schema: &Value, value: &Value, path: &[Step], problems: &mut Vec<Problem>) {
    let Some(number) = value.as_f64() else { return };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let complaint = if let Some(least) = bound("minimum").filter(|least| number < *least) {
        format!("must be at least {least}, found {value}")
    } else if let Some(most) = bound("maximum").filter(|most| number > *most) {
        format!("must be at most {most}, found {value}")
    } else if let Some(limit) = bound("exclusiveMinimum").filter(|limit| number <= *limit) {
        format!("must be above {limit}, found {value}")
    } else {
        return;
    };
    problems.push(Problem { path: path.to_vec(), fault: Fault::Invalid(complaint) });
}

fn check_object(schema: &Value, object: &Map<String, Value>, path: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let Some(known) = properties(schema) else {
        // A struct without fields closes itself; a free map says what its values are, or nothing.
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            for key in object.keys() {
                let mut place = path.clone();
                place.push(Step::Key(key.clone()));
                problems.push(Problem { path: place, fault: Fault::Unknown { suggestion: None, known: Vec::new() } });
            }
        }
        return;
    };
    for (key, value) in object {
        path.push(Step::Key(key.clone()));
        match known.get(key) {
            Some(of_key) => check(of_key, value, path, problems),
            None => problems.push(Problem {
                path: path.clone(),
                fault: Fault::Unknown {
                    suggestion: suggest::nearest(key, known.keys().map(String::as_str)).map(str::to_owned),
                    known: known.keys().cloned().collect(),
                },
            }),
        }
        path.pop();
    }
}

/// A value fits when one alternative has nothing to say against it. Where none fits, the complaint of the only
/// alternative of the right shape is more useful than "none fits".
fn check_alternatives(
    parts: &[Value],
    value: &Value,
    path: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
    mistyped: &dyn Fn(&[Step]) -> Problem,
) {
    let mut of_shape = Vec::new();
    for part in parts {
        let mut complaints = Vec::new();
        check(part, value, path, &mut complaints);
        if complaints.is_empty() {
            return;
        }
        let shape_fits = complaints.iter().all(|problem| problem.path.len() > path.len());
        if shape_fits {
            of_shape.push(complaints);
        }
    }
    match of_shape.len() {
        1 => problems.append(&mut of_shape[0]),
        _ => problems.push(mistyped(path)),
    }
}

/// A plugin within options: of the right kind, known, and with good options itself.
fn check_component(kind: &str, value: &Value, path: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let Some(component) = Component::from_value(value).filter(|component| component.kind.word() == kind) else {
        let expected = format!("{} {kind}, such as `{kind}::NAME()`", article(kind));
        problems.push(Problem { path: path.clone(), fault: Fault::Mistyped { expected, found: found(value) } });
        return;
    };
    match registry::find(component.kind, &component.name) {
        // Recipes complain of a name that is missing where it is missing.
        Err(_) if component.name.is_empty() => {}
        Err(error) => problems.push(Problem { path: path.clone(), fault: Fault::Invalid(error.to_string()) }),
        Ok(plugin) => {
            path.push(Step::Key("options".into()));
            check(&(plugin.schema)().root, &component.options, path, problems);
            path.pop();
        }
    }
}

fn quote(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::quantity::{Count, Span};

    /// How the learning rate moves.
    ///
    /// More about it.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        /// Budget of the run.
        tokens: Count,
        /// Warm-up.
        warmup: Option<Span>,
        /// Shape of the decay.
        shape: Shape,
        /// Two numbers.
        betas: (f64, f64),
        /// Greatest norm of the gradient.
        #[schemars(range(min = 0.0))]
        clip: f64,
        /// A group.
        inner: Option<Inner>,
        /// How values move.
        #[schemars(extend("x-plugin" = "optimizer"))]
        optimizer: Option<Component>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Shape {
        Cosine,
        Linear,
    }

    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        /// Depth.
        depth: i64,
    }

    impl Default for Example {
        fn default() -> Self {
            Self {
                tokens: Count(1000),
                warmup: None,
                shape: Shape::Cosine,
                betas: (0.9, 0.95),
                clip: 1.0,
                inner: None,
                optimizer: None,
            }
        }
    }

    fn complaints(value: &Value) -> Vec<String> {
        schema::<Example>().check(value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_options_pass_and_are_read() {
        let value = json!({ "tokens": "4M tokens", "warmup": "1%", "shape": "linear", "betas": [0.9, 0.99], "inner": { "depth": 2 } });
        assert_eq!(complaints(&value), Vec::<String>::new());
        let read: Example = parse(&value).unwrap();
        assert_eq!((read.tokens, read.inner.unwrap().depth), (Count(4_000_000), 2));
    }

    #[test]
    fn every_problem_is_found_at_once_with_its_path() {
        let value = json!({ "tokns": 5, "tokens": "many", "shape": "round", "betas": [0.9, "x"], "clip": -1.0, "inner": { "deth": 1 } });
        let problems = schema::<Example>().check(&value);
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "unknown option `tokns`",
                "option `tokens` takes a count such as `200`, `\"4M\"` or `\"4M tokens\"`, found the string `\"many\"`",
                "option `shape` takes \"cosine\" | \"linear\", found the string `\"round\"`",
                "option `betas[1]` takes a number, found the string `\"x\"`",
                "option `clip`: must be at least 0, found -1.0",
                "unknown option `inner.deth`",
            ]
        );
        assert_eq!(problems[5].hint().as_deref(), Some("did you mean `depth`?"));
        assert!(parse::<Example>(&value).is_err());
    }

    #[test]
    fn a_component_of_the_wrong_kind_or_an_unknown_one_is_refused() {
        assert_eq!(
            complaints(&json!({ "optimizer": { "plugin": "model/nothing", "options": {} } })),
            ["option `optimizer` takes an optimizer, such as `optimizer::NAME()`, found model `nothing`"]
        );
        let unknown = complaints(&json!({ "optimizer": { "plugin": "optimizer/nothing", "options": {} } }));
        assert!(unknown[0].contains("no optimizer is called `nothing`"), "{unknown:?}");
    }

    #[test]
    fn fields_show_defaults_help_and_what_is_accepted() {
        let schema = schema::<Example>();
        assert_eq!(schema.summary(), "How the learning rate moves.");
        let fields = schema.fields();
        let clip = fields.iter().find(|field| field.name == "clip").unwrap();
        assert_eq!(
            (clip.accepts.as_str(), &clip.default, clip.help.as_str()),
            ("a number", &json!(1.0), "Greatest norm of the gradient.")
        );
        let inner = fields.iter().find(|field| field.name == "inner").unwrap();
        assert_eq!(inner.fields[0].name, "depth");
        assert_eq!(fields[0].name, "tokens");
    }
}
