//! From a pipeline to the plan that runs: what was set by path, a last check, and where inputs lie.
//!
//! Relative paths of inputs start at the recipe's folder, so that a recipe and its data can be moved and run from
//! anywhere; those that a user gives with `--set` start where the user stands, at the working directory. That is decided
//! on the text of the path alone: a plan must not depend on which files happen to exist.

use std::collections::BTreeMap;
use std::path::{Component as Part, Path, PathBuf};

use psann_core::plan::{Component, Plan};
use psann_core::registry::{self, Kind};
use psann_core::suggest;
use serde_json::Value;

use crate::host::Host;
use crate::validate;
use crate::values::Pipeline;

/// Options of sources and tokenizers that name inputs, besides those whose schema says `x-path`.
const PATH_OPTIONS: [&str; 4] = ["path", "paths", "manifest", "special_tokens_map"];

/// The finished plan. Mistakes are noted in `host`; the plan is then of no use.
pub(crate) fn plan(host: &Host, pipeline: &Pipeline) -> Plan {
    let mut plan = pipeline.plan.clone();
    plan.parameters = host.parameters();
    if plan.stages.is_empty() {
        let help = "add stages, as in `pipeline(name).prepare(…).pretrain(…)`";
        host.report(format!("pipeline `{}` has no stages", plan.name), Some(help.into()), Vec::new());
    }
    if !host.failed() {
        for (index, problem) in plan.check() {
            let stage = &plan.stages[index];
            let marks = vec![pipeline.sites[index].clone().label("in this stage")];
            host.report(validate::message(&problem, &stage.kind), problem.hint(), marks);
        }
    }
    let clean = !host.failed();
    set_paths(host, &mut plan);
    if clean && !host.failed() {
        for (index, problem) in plan.check() {
            let stage = &plan.stages[index];
            let help = format!("it was set by `--set`; `psann plugin info {}` says what each option takes", stage.kind);
            host.report(validate::message(&problem, &stage.name), Some(help), Vec::new());
        }
    }
    for stage in &mut plan.stages {
        place_options(host, Kind::Stage, &stage.kind, &mut stage.options);
        place_inputs(host, &mut stage.options);
    }
    plan
}

/// Applies what was set and is no parameter.
fn set_paths(host: &Host, plan: &mut Plan) {
    let parameters: Vec<String> = plan.parameters.iter().map(|parameter| parameter.name.clone()).collect();
    for (name, text) in &host.sets {
        if parameters.contains(name) {
            continue;
        }
        if name.contains('.') || plan.stage(name).is_some() {
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
            if let Err(error) = plan.set(name, value) {
                host.report(error.message(), error.hint_text().map(str::to_owned), Vec::new());
            }
            continue;
        }
        let help = match suggest::nearest(name, parameters.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if parameters.is_empty() => "the recipe declares no parameters".into(),
            None => {
                let all: Vec<String> = parameters.iter().map(|name| format!("`{name}`")).collect();
                format!("parameters: {}", all.join(", "))
            }
        };
        let help = format!("{help}  (options of the plan are set by their path, as in `pretrain.steps=50`)");
        host.report(format!("no parameter is called `{name}`"), Some(help), Vec::new());
    }
}

/// Puts the recipe's folder in front of relative inputs of every component in `value`.
fn place_inputs(host: &Host, value: &mut Value) {
    if let Some(component) = Component::from_value(value)
        && let Some(options) = value.get_mut("options")
    {
        place_options(host, component.kind, &component.name, options);
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(|inner| place_inputs(host, inner)),
        Value::Array(items) => items.iter_mut().for_each(|inner| place_inputs(host, inner)),
        _ => {}
    }
}

/// The same for those of one plugin's own options that name inputs.
fn place_options(host: &Host, kind: Kind, name: &str, options: &mut Value) {
    let inputs = inputs(kind, name);
    for (name, option) in options.as_object_mut().into_iter().flatten() {
        match inputs.get(name) {
            Some(Input::Always) => place(host, option, ""),
            Some(Input::EndingIn(end)) => place(host, option, end),
            None => {}
        }
    }
}

/// Which values of an option are paths.
enum Input {
    Always,
    /// Others are names, as those of built-in tasks among the files of a user's own.
    EndingIn(String),
}

/// The options of a plugin that name inputs, by what its schema says in `x-path`: `true`, or how the values end.
fn inputs(kind: Kind, name: &str) -> BTreeMap<String, Input> {
    let mut inputs = BTreeMap::new();
    if matches!(kind, Kind::Source | Kind::Tokenizer) {
        inputs.extend(PATH_OPTIONS.map(|name| (name.to_owned(), Input::Always)));
    }
    if let Ok(plugin) = registry::find(kind, name) {
        let schema = (plugin.schema)();
        for (name, property) in schema.json().get("properties").and_then(Value::as_object).into_iter().flatten() {
            let input = match property.get("x-path") {
                Some(Value::String(end)) => Input::EndingIn(end.clone()),
                Some(_) => Input::Always,
                None => continue,
            };
            inputs.insert(name.clone(), input);
        }
    }
    inputs
}

/// Places one path, or each of several, unless they end in another way than `end` or the user gave them.
fn place(host: &Host, value: &mut Value, end: &str) {
    match value {
        Value::String(path) if !path.ends_with(end) || is_set(host, path) => {}
        Value::String(path) => *path = within(&host.folder, path),
        Value::Array(items) => items.iter_mut().for_each(|item| place(host, item, end)),
        _ => {}
    }
}

/// Whether the user gave this path, alone or among others.
fn is_set(host: &Host, path: &str) -> bool {
    fn holds(value: &Value, path: &str) -> bool {
        match value {
            Value::String(text) => text == path,
            Value::Array(items) => items.iter().any(|item| holds(item, path)),
            Value::Object(object) => object.values().any(|item| holds(item, path)),
            _ => false,
        }
    }
    let given = |set: &str| serde_json::from_str(set).is_ok_and(|value| holds(&value, path));
    host.sets.iter().any(|(_, set)| set == path || given(set))
}

/// `path` seen from the working directory. Absolute paths, addresses (`https://…`) and `-` stay as they are.
fn within(folder: &Path, path: &str) -> String {
    if path.is_empty() || path == "-" || path.contains("://") || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    let joined: PathBuf = folder.join(path).components().filter(|part| *part != Part::CurDir).collect();
    joined.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_inputs_start_at_the_recipes_folder() {
        let seen = |path: &str| within(Path::new("recipes"), path);
        assert_eq!(seen("corpus/*.jsonl.zst"), "recipes/corpus/*.jsonl.zst");
        assert_eq!(seen("./a.txt"), "recipes/a.txt");
        assert_eq!(seen("../data/a.txt"), "recipes/../data/a.txt");
        for stays in ["/data/a.txt", "-", "https://example.org/a.txt", ""] {
            assert_eq!(seen(stays), stays);
        }
        assert_eq!(within(Path::new(""), "a.txt"), "a.txt");
    }
}
