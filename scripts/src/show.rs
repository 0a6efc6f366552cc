//! Values as a recipe would write them, for the prompt.

use psann_core::plan::{Component, Flow};
use psann_core::registry;
use rhai::Dynamic;
use serde_json::Value;

use crate::plugins::BY_ID;
use crate::values::{Item, Pipeline};
use crate::{convert, mixture, reserved};

/// A value as the prompt prints it; nothing for `()`.
pub(crate) fn value(value: &Dynamic) -> String {
    if value.is_unit() {
        return String::new();
    }
    if let Some(pipeline) = value.read_lock::<Pipeline>() {
        return self::pipeline(&pipeline);
    }
    if let Some(shown) = value.read_lock::<Item>() {
        return item(&shown);
    }
    if value.is_fnptr() {
        // Rhai names closures by a hash that changes from run to run.
        return "a function".into();
    }
    let converted = convert::to_json(value);
    if converted.problems.is_empty() { json(&converted.value) } else { value.to_string() }
}

/// A component, or a flow.
pub(crate) fn item(item: &Item) -> String {
    match item {
        Item::Flow(flow) => self::flow(flow),
        Item::Filters(filters) => filters.iter().map(|filter| component(&filter.0)).collect::<Vec<_>>().join(" | "),
        Item::Model { component: model, tokenizer } => {
            let mut model = model.clone();
            if let (Some(tokenizer), Some(options)) = (tokenizer, model.options.as_object_mut()) {
                options.insert("vocab".into(), tokenizer.to_value());
            }
            component(&model)
        }
        Item::Other(other) => component(other),
    }
}

/// A pipeline, a line per stage.
pub(crate) fn pipeline(pipeline: &Pipeline) -> String {
    let stages = pipeline.plan.stages.iter().map(|stage| format!("    .{}({})", stage.kind, options(&stage.options)));
    let lines: Vec<String> = std::iter::once(format!("pipeline({:?})", pipeline.plan.name)).chain(stages).collect();
    lines.join("\n")
}

fn flow(flow: &Flow) -> String {
    let mut text = component(&flow.source);
    if !flow.filters.is_empty() && mixture::show(&flow.source, component).is_some() {
        text = format!("({text})");
    }
    for filter in &flow.filters {
        text.push_str(" | ");
        text.push_str(&component(&filter.0));
    }
    text
}

fn component(shown: &Component) -> String {
    mixture::show(shown, component).unwrap_or_else(|| call(shown))
}

fn call(shown: &Component) -> String {
    let Component { kind, name, options: given } = shown;
    let given = options(given);
    if !registry::find(*kind, name).is_ok_and(|plugin| plugin.origin.is_some()) {
        return format!("{kind}::{name}({given})");
    }
    // A plugin of someone else is named by its id.
    let given = if given.is_empty() { given } else { format!(", {given}") };
    format!("{kind}::{BY_ID}(\"{name}\"{given})")
}

/// Options as an argument: nothing when there are none.
fn options(options: &Value) -> String {
    match options.as_object() {
        Some(object) if object.is_empty() => String::new(),
        _ => json(options),
    }
}

/// JSON as a Rhai literal.
fn json(value: &Value) -> String {
    if let Some(part) = Component::from_value(value) {
        return component(&part);
    }
    if let Ok(documents) = serde_json::from_value::<Flow>(value.clone()) {
        return flow(&documents);
    }
    match value {
        Value::Null => "()".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(", ")),
        Value::Object(object) if object.is_empty() => "#{}".into(),
        Value::Object(object) => {
            let fields: Vec<String> =
                object.iter().map(|(name, value)| format!("{}: {}", key(name), json(value))).collect();
            format!("#{{ {} }}", fields.join(", "))
        }
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn key(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !reserved::WORDS.contains(&name);
    if plain { name.to_owned() } else { format!("{name:?}") }
}
