//! From a pipeline to the plan that runs: what was set by path, a last check, and where inputs lie.
//!
//! Relative paths of inputs start at the recipe's folder, so that a recipe and its data can be moved and run from
//! anywhere; those that a user gives with `--set` start where the user stands, at the working directory. That is decided
//! on the text of the path alone: a plan must not depend on which files happen to exist.

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
    if let Some(component) = Component::from_value(value) {
        let names = path_options(&component);
        let options = value.get_mut("options").and_then(Value::as_object_mut);
        for (name, option) in options.into_iter().flatten() {
            if names.contains(name) {
                place(host, option);
            }
        }
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(|inner| place_inputs(host, inner)),
        Value::Array(items) => items.iter_mut().for_each(|inner| place_inputs(host, inner)),
        _ => {}
    }
}

fn path_options(component: &Component) -> Vec<String> {
    let mut names = Vec::new();
    if matches!(component.kind, Kind::Source | Kind::Tokenizer) {
        names.extend(PATH_OPTIONS.map(str::to_owned));
    }
    if let Ok(plugin) = registry::find(component.kind, &component.name) {
        let schema = (plugin.schema)();
        let properties = schema.json().get("properties").and_then(Value::as_object);
        let marked = properties.into_iter().flatten().filter(|(_, property)| property.get("x-path").is_some());
        names.extend(marked.map(|(name, _)| name.clone()));
    }
    names
}

fn place(host: &Host, value: &mut Value) {
    match value {
        Value::String(path) if host.sets.iter().any(|(_, set)| set == path) => {}
        Value::String(path) => *path = within(&host.folder, path),
        Value::Array(items) => items.iter_mut().for_each(|item| place(host, item)),
        _ => {}
    }
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
