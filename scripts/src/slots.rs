//! Which option of a stage a component belongs to, read off the schema.
//!
//! An option asks for a plugin by `x-plugin`, and for documents by the shape of [`Flow`]: a group of a source and
//! filters. `Option<…>` of either hides it one level down.

use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::registry::Kind;
use serde_json::{Map, Value, json};

use crate::convert;
use crate::values::Item;

/// The option that a component fills, and what is to stand there.
#[derive(Debug, PartialEq)]
pub(crate) struct Slot {
    pub(crate) option: String,
    pub(crate) value: Value,
}

/// What an option wants to be filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// A source with its filters.
    Documents,
    /// One plugin of a kind.
    One(Kind),
    /// A list of plugins of a kind.
    Many(Kind),
}

/// The option for `item`, if the stage has one.
pub(crate) fn of_item(schema: &Value, item: &Item) -> Option<Slot> {
    let find = |wanted: Wants| {
        let mut options = properties(schema).into_iter().flatten();
        options.find(|(_, property)| wants(property) == Some(wanted)).map(|(name, _)| name.clone())
    };
    let slot = |option: String, value: Value| Some(Slot { option, value });
    match item {
        Item::Flow(flow) => {
            if let Some(option) = find(Wants::Documents) {
                return slot(option, documents(flow));
            }
            let option = find(Wants::One(Kind::Source)).filter(|_| flow.filters.is_empty())?;
            slot(option, flow.source.to_value())
        }
        Item::Filters(filters) => {
            if let Some(option) = find(Wants::Many(Kind::Filter)) {
                return slot(option, list(filters));
            }
            let option = find(Wants::One(Kind::Filter)).filter(|_| filters.len() == 1)?;
            slot(option, filters[0].0.to_value())
        }
        Item::Model { component, .. } | Item::Other(component) => {
            slot(find(Wants::One(component.kind))?, convert::item_to_json(item))
        }
    }
}

/// Gives components among named options the shape that their option has: a source alone becomes documents without
/// filters, a filter alone becomes a list of one.
pub(crate) fn fit(schema: &Value, options: &mut Map<String, Value>) {
    for (name, property) in properties(schema).into_iter().flatten() {
        let Some(value) = options.get_mut(name) else { continue };
        let Some(component) = Component::from_value(value) else { continue };
        match wants(property) {
            Some(Wants::Documents) if component.kind == Kind::Source => {
                *value = documents(&Flow { source: component, filters: Vec::new() });
            }
            Some(Wants::Many(kind)) if component.kind == kind => *value = json!([component.to_value()]),
            _ => {}
        }
    }
}

/// What a stage can be given, in words: "a source with filters and one map of options".
pub(crate) fn takes(schema: &Value, primary: Option<&str>) -> String {
    let mut words: Vec<String> = properties(schema)
        .into_iter()
        .flatten()
        .filter_map(|(_, property)| wants(property))
        .map(|wants| match wants {
            Wants::Documents => "a source with filters".to_owned(),
            Wants::One(Kind::Optimizer) => "an optimizer".to_owned(),
            Wants::One(kind) => format!("a {kind}"),
            Wants::Many(kind) => format!("{kind}s"),
        })
        .collect();
    words.dedup();
    words.extend(primary.map(|option| format!("its `{option}`")));
    words.push("one map of options".into());
    match words.as_slice() {
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
        [] => String::new(),
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn wants(property: &Value) -> Option<Wants> {
    let kind = |schema: &Value| Kind::from_word(schema.get("x-plugin")?.as_str()?);
    if let Some(kind) = kind(property) {
        return Some(Wants::One(kind));
    }
    if let Some(kind) = property.get("items").and_then(kind) {
        return Some(Wants::Many(kind));
    }
    if properties(property).is_some_and(|fields| fields.contains_key("source") && fields.contains_key("filters")) {
        return Some(Wants::Documents);
    }
    let parts = property.get("anyOf").or_else(|| property.get("oneOf"))?.as_array()?;
    parts.iter().find_map(wants)
}

fn documents(flow: &Flow) -> Value {
    json!({ "source": flow.source.to_value(), "filters": list(&flow.filters) })
}

fn list(filters: &[FilterComponent]) -> Value {
    filters.iter().map(|filter| filter.0.to_value()).collect()
}
