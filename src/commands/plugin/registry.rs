//! The registry, as people read it.

use psann_core::options::Field;
use psann_core::registry::{self, Kind, Plugin};
use psann_core::{Error, suggest};
use psann_plugins_dynamic::Discovered;
use psann_plugins_dynamic::discover::{Found, State};
use serde_json::{Value, json};

/// All entries by kind, and what else was found.
pub fn list(discovered: &Discovered) -> String {
    let plugins = registry::all();
    let width = plugins.iter().map(|plugin| plugin.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for kind in Kind::ALL {
        let of_kind: Vec<_> = plugins.iter().filter(|plugin| plugin.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        text.push_str(&format!("{kind}s\n"));
        for plugin in of_kind {
            let origin = plugin.origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
            text.push_str(&format!("  {:width$}  {}{origin}\n", plugin.name, plugin.summary()));
        }
    }
    text.push_str(&others(discovered));
    text
}

/// The plugins of others, with what may be done with them; nothing where there are none.
pub fn others(discovered: &Discovered) -> String {
    if discovered.plugins.is_empty() {
        return String::new();
    }
    let mut text = String::from("plugins of others\n");
    for found in &discovered.plugins {
        let version = found.manifest.as_ref().map(|manifest| format!(" {}", manifest.version)).unwrap_or_default();
        let name = found.id().or(found.names.first().map(String::as_str)).unwrap_or("-");
        // Errors may have several lines.
        let state = state(found).replace('\n', "\n      ");
        text.push_str(&format!("  {name}{version} · {}\n      {state}\n", found.path.display()));
    }
    text
}

fn state(found: &Found) -> String {
    match &found.state {
        State::Trusted => "trusted".to_owned(),
        State::Untrusted if found.manifest.is_none() => "not trusted, never opened (`psann plugin scan`)".to_owned(),
        State::Untrusted => "not trusted (`psann plugin allow`)".to_owned(),
        State::Changed => "changed since it was trusted (`psann plugin allow`)".to_owned(),
        State::Unusable(why) => format!("cannot be used: {why}"),
        State::Hidden(first) => format!("hidden by `{}`", first.display()),
    }
}

/// The same as JSON.
pub fn list_json() -> String {
    let entries: Vec<Value> = registry::all()
        .iter()
        .map(|plugin| {
            json!({
                "kind": plugin.kind.word(),
                "name": plugin.name,
                "version": plugin.version,
                "summary": plugin.summary(),
                "origin": plugin.origin,
            })
        })
        .collect();
    format!("{:#}", Value::Array(entries))
}

/// All entries that `name` can mean: `adamw`, or `optimizer/adamw`.
///
/// # Errors
/// When there is none, or it may not be used.
pub fn named(name: &str) -> Result<Vec<&'static Plugin>, Error> {
    let plugins = registry::all();
    let mut found: Vec<_> = plugins.iter().filter(|plugin| plugin.name == name).copied().collect();
    if let Some((kind, name)) = name.split_once('/').or_else(|| name.split_once("::")).filter(|_| found.is_empty()) {
        found = plugins.iter().filter(|plugin| plugin.kind.word() == kind && plugin.name == name).copied().collect();
    }
    if found.is_empty() {
        for kind in [Kind::Source, Kind::Filter] {
            if let Err(error) = registry::find(kind, name)
                && registry::asked_in_vain().iter().any(|refused| refused == name)
            {
                return Err(error);
            }
        }
        let error = Error::usage(format!("no plugin is called `{name}`"));
        return Err(match suggest::nearest(name, plugins.iter().map(|plugin| plugin.name)) {
            Some(nearest) => error.hint(format!("did you mean `{nearest}`? (`psann plugin list` shows all)")),
            None => error.hint("`psann plugin list` shows all"),
        });
    }
    Ok(found)
}

/// One entry with all its options.
pub fn info(plugin: &Plugin) -> String {
    let schema = (plugin.schema)();
    let mut text = format!("{} {} · version {}\n", plugin.kind, plugin.name, plugin.version);
    if let Some(origin) = plugin.origin {
        text.push_str(&format!("  from {origin}\n"));
    }
    text.push('\n');
    for line in schema.description().lines() {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("\n  in a recipe: {}\n", usage(plugin)));
    let fields = schema.fields();
    if !fields.is_empty() {
        text.push_str("\noptions\n");
        write_fields(&fields, 1, &mut text);
    }
    text
}

fn usage(plugin: &Plugin) -> String {
    let name = plugin.name;
    match (plugin.kind, plugin.primary) {
        (Kind::Stage, _) if name == "tokenizer" => {
            "added before `pretrain` for a model whose `vocab` is a tokenizer".into()
        }
        (Kind::Stage, _) => format!("pipeline(name).{name}(…, #{{ option: value }})"),
        (kind, primary) if plugin.origin.is_some() => {
            let primary = primary.map(|primary| format!("{primary}, ")).unwrap_or_default();
            format!("{kind}::plugin(\"{name}\", {primary}#{{ option: value }})")
        }
        (kind, Some(primary)) => format!("{kind}::{name}(\"{primary}\", #{{ option: value }})"),
        (kind, None) => format!("{kind}::{name}(#{{ option: value }})"),
    }
}

fn write_fields(fields: &[Field], depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for field in fields {
        let value = match &field.default {
            Value::Null => String::new(),
            // The fields of a group show their own defaults.
            Value::Object(_) if !field.fields.is_empty() => String::new(),
            default => format!(" = {}", default_text(default)),
        };
        text.push_str(&format!("{indent}{}{value}\n", field.name));
        let accepts = if field.fields.is_empty() { field.accepts.as_str() } else { "a map of the options below" };
        text.push_str(&format!("{indent}    takes {accepts}\n"));
        for line in field.help.lines() {
            text.push_str(format!("{indent}    {line}").trim_end());
            text.push('\n');
        }
        write_fields(&field.fields, depth + 1, text);
    }
}

/// A default as a recipe would write it.
fn default_text(default: &Value) -> String {
    match psann_core::plan::Component::from_value(default) {
        Some(component) => format!("{}::{}()", component.kind, component.name),
        None => default.to_string(),
    }
}
