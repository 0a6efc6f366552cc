//! `psann plugin list` and `psann plugin info`: the registry, as people read it.

use psann_core::options::Field;
use psann_core::registry::{self, Kind, Plugin};
use psann_core::{Error, suggest};
use serde_json::{Value, json};

use crate::cli::PluginCommand;
use crate::display::{self, Failure};

/// Lists the registry or shows one entry.
pub fn execute(command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::List { json: false } => display::result(&list()),
        PluginCommand::List { json: true } => display::result(&list_json()),
        PluginCommand::Info { name, json } => {
            let plugins = named(name)?;
            for plugin in plugins {
                if *json {
                    display::result(&format!("{:#}", (plugin.schema)().json()));
                } else {
                    display::result(&info(plugin));
                }
            }
        }
    }
    Ok(())
}

fn list() -> String {
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
            text.push_str(&format!("  {:width$}  {}\n", plugin.name, plugin.summary()));
        }
    }
    text
}

fn list_json() -> String {
    let entries: Vec<Value> = registry::all()
        .iter()
        .map(|plugin| {
            json!({ "kind": plugin.kind.word(), "name": plugin.name, "version": plugin.version, "summary": plugin.summary() })
        })
        .collect();
    format!("{:#}", Value::Array(entries))
}

/// All entries that `name` can mean: `adamw`, or `optimizer/adamw`.
fn named(name: &str) -> Result<Vec<&'static Plugin>, Error> {
    let plugins = registry::all();
    let found: Vec<_> = match name.split_once('/').or_else(|| name.split_once("::")) {
        Some((kind, name)) => {
            let of_word = |plugin: &&&Plugin| plugin.kind.word() == kind && plugin.name == name;
            plugins.iter().filter(of_word).copied().collect()
        }
        None => plugins.iter().filter(|plugin| plugin.name == name).copied().collect(),
    };
    if found.is_empty() {
        let error = Error::usage(format!("no plugin is called `{name}`"));
        return Err(match suggest::nearest(name, plugins.iter().map(|plugin| plugin.name)) {
            Some(nearest) => error.hint(format!("did you mean `{nearest}`? (`psann plugin list` shows all)")),
            None => error.hint("`psann plugin list` shows all"),
        });
    }
    Ok(found)
}

fn info(plugin: &Plugin) -> String {
    let schema = (plugin.schema)();
    let mut text = format!("{} {} · version {}\n\n", plugin.kind, plugin.name, plugin.version);
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
