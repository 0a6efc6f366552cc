//! What recipes hold in variables: components, flows of documents, pipelines.
//!
//! All are plain data about what is to be done; nothing is opened or built. Methods return new values, so nothing
//! changes behind a recipe's back.

use psann_core::plan::{Component, FilterComponent, Flow, Plan};
use psann_core::registry::Kind;
use rhai::{Dynamic, ImmutableString};

use crate::host::Site;

/// What `kind::name(…)` makes, and what `|` makes of it.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// A source and the filters after it.
    Flow(Flow),
    /// Filters without a source, to be put behind one.
    Filters(Vec<FilterComponent>),
    /// A model, and the tokenizer that its vocabulary comes from.
    Model { component: Component, tokenizer: Option<Component> },
    /// Any other plugin.
    Other(Component),
}

impl Item {
    /// In words: "a model `waveresnet`".
    pub(crate) fn label(&self) -> String {
        let of = |component: &Component| {
            let article = if component.kind == Kind::Optimizer { "an" } else { "a" };
            format!("{article} {} `{}`", component.kind, component.name)
        };
        match self {
            Self::Flow(flow) if flow.filters.is_empty() => of(&flow.source),
            Self::Flow(flow) => format!("{} with filters", of(&flow.source)),
            Self::Filters(filters) => match filters.as_slice() {
                [one] => of(&one.0),
                _ => "a chain of filters".into(),
            },
            Self::Model { component, .. } | Self::Other(component) => of(component),
        }
    }
}

/// Stages in order, with the place of each.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) plan: Plan,
    /// Where each stage of the plan was added.
    pub(crate) sites: Vec<Site>,
}

/// A value, in words for a message: "the integer `3`".
pub(crate) fn describe(value: &Dynamic) -> String {
    if let Some(item) = value.read_lock::<Item>() {
        return item.label();
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return format!("the string `{:?}`", text.as_str());
    }
    match value.type_name() {
        "i64" => format!("the integer `{value}`"),
        "f64" => format!("the number `{value}`"),
        "bool" => format!("`{value}`"),
        other => type_words(other).to_owned(),
    }
}

/// A type, as Rhai calls it, in words.
pub(crate) fn type_words(name: &str) -> &str {
    match name {
        "i64" => "an integer",
        "f64" => "a number",
        "bool" => "`true` or `false`",
        "char" => "a character",
        "string" | "&str | ImmutableString | String" | "ImmutableString" => "a string",
        "map" => "a map",
        "array" => "a list",
        "()" => "nothing",
        "Fn" => "a function",
        "range" | "range=" => "a range",
        "component" => "a component",
        name if name.ends_with("::Item") => "a component",
        name if name.ends_with("::Pipeline") => "a pipeline",
        "pipeline" => "a pipeline",
        other => other,
    }
}
