//! Calls that fit no function: a misspelt name, or arguments of another number or kind.

use psann_core::registry::{self, Kind, Plugin};

use super::{Explanation, nearest};
use crate::host::Host;
use crate::plugins;
use crate::values::type_words;

/// The functions that are no plugin, and how they are called.
const OURS: [(&str, &str); 2] = [("param", "param(name, default, help)"), ("pipeline", "pipeline(name)")];

/// `signature` is Rhai's: `source::jsnl (string, map)`.
pub(super) fn explain(host: &Host, signature: &str) -> Explanation {
    let (name, arguments) = signature.split_once(" (").unwrap_or((signature, ")"));
    let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
    let types: Vec<&str> = if arguments.is_empty() { Vec::new() } else { arguments.split(", ").collect() };
    if let Some((space, name)) = name.rsplit_once("::") {
        return match Kind::from_word(space) {
            Some(kind) => plugin(kind, name, types.len()),
            None => imported(host, space, name),
        };
    }
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        return operator(name, &types);
    }
    if let Some((_, usage)) = OURS.iter().find(|(ours, _)| *ours == name) {
        let given = types.iter().map(|word| type_words(word)).collect::<Vec<_>>().join(", ");
        let given = if given.is_empty() { "nothing".into() } else { given };
        return Explanation::new(format!("`{name}` was given {given}"), "in this call")
            .help(format!("write `{usage}`"));
    }
    let stages = registry::of_kind(Kind::Stage);
    let is_stage = stages.iter().any(|stage| stage.name == name);
    let on_pipeline = types.first().is_some_and(|word| type_words(word) == "a pipeline");
    if on_pipeline && is_stage {
        return Explanation::new(format!("`{name}` was given too many arguments"), "in this call")
            .help(format!("a stage takes its components and one map of options  (`psann plugin info {name}`)"));
    }
    if on_pipeline {
        let explanation = Explanation::new(format!("no stage is called `{name}`"), "not a stage");
        return explanation.help(help_with_list(nearest(name, names(&stages)), names(&stages), "stages"));
    }
    if is_stage {
        return Explanation::new(format!("`{name}` is a stage of a pipeline"), "not called on a pipeline")
            .help(format!("write `pipeline(name).{name}(…)`"));
    }
    plain(host, name, &types)
}

/// `kind::name` that does not exist, or not with so many arguments.
fn plugin(kind: Kind, name: &str, given: usize) -> Explanation {
    let plugins = registry::of_kind(kind);
    if let Some(plugin) = plugins.iter().find(|plugin| plugin.name == name) {
        let takes = match plugin.primary {
            Some(primary) => format!("`{kind}::{name}({primary}, #{{ … }})`"),
            None => format!("`{kind}::{name}(#{{ … }})`"),
        };
        return Explanation::new(format!("`{kind}::{name}` was given {given} arguments"), "in this call")
            .help(format!("write {takes}  (`psann plugin info {name}` lists every option)"));
    }
    let explanation = Explanation::new(format!("no {kind} is called `{name}`"), format!("not a {kind}"));
    if let Some(help) = nearest(name, names(&plugins)) {
        return explanation.help(format!("{help}  (`psann plugin list` shows all)"));
    }
    let elsewhere = plugins::kinds().find(|other| names(&registry::of_kind(*other)).any(|known| known == name));
    match elsewhere {
        Some(other) => explanation.help(format!("did you mean `{other}::{name}`?")),
        None => explanation.help(help_with_list(None, names(&plugins), &format!("{kind}s"))),
    }
}

fn imported(host: &Host, space: &str, name: &str) -> Explanation {
    let explanation = Explanation::new(format!("`{space}` has no function `{name}` for these arguments"), "not found");
    let functions = functions(host);
    match nearest(name, functions.iter().map(String::as_str)) {
        Some(help) => explanation.help(help),
        None => explanation,
    }
}

fn operator(symbol: &str, types: &[&str]) -> Explanation {
    let sides: Vec<&str> = types.iter().map(|word| type_words(word)).collect();
    let explanation = Explanation::new(format!("`{symbol}` does not work on {}", sides.join(" and ")), "this operator");
    match symbol {
        "|" => explanation.help("`|` puts filters behind a source: `source::NAME(…) | filter::NAME(…)`"),
        "+" | "*" if sides.contains(&"a component") => {
            explanation.help("`+` and `*` mix sources: `0.8 * source::NAME(…) + 0.2 * source::NAME(…)`")
        }
        _ => explanation,
    }
}

/// A function without a path.
fn plain(host: &Host, name: &str, types: &[&str]) -> Explanation {
    let functions = functions(host);
    if functions.iter().any(|known| known == name) {
        return Explanation::new(
            format!("`{name}` takes another number of arguments than {}", types.len()),
            "in this call",
        );
    }
    let explanation = Explanation::new(format!("unknown function `{name}`"), "not a function");
    let kind = plugins::kinds().find(|kind| names(&registry::of_kind(*kind)).any(|known| known == name));
    if let Some(kind) = kind {
        return explanation.help(format!("did you mean `{kind}::{name}`?"));
    }
    let ours = OURS.iter().map(|(ours, _)| *ours);
    if let Some(help) = nearest(name, ours.chain(functions.iter().map(String::as_str))) {
        return explanation.help(help);
    }
    if types.is_empty() {
        return explanation;
    }
    let given: Vec<&str> = types.iter().map(|word| type_words(word)).collect();
    explanation.help(format!("no function of this name takes {}", given.join(", ")))
}

fn names<'a>(plugins: &'a [&'static Plugin]) -> impl Iterator<Item = &'a str> {
    plugins.iter().map(|plugin| plugin.name)
}

/// The suggestion, or all there is.
fn help_with_list<'a>(suggestion: Option<String>, names: impl Iterator<Item = &'a str>, what: &str) -> String {
    suggestion.unwrap_or_else(|| {
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        if names.is_empty() { format!("there are no {what}") } else { format!("{what}: {}", names.join(", ")) }
    })
}

/// The functions that the scripts read so far define, sorted.
fn functions(host: &Host) -> Vec<String> {
    let state = host.state();
    let asts = state.scripts.values().flat_map(|script| &script.asts);
    let mut names: Vec<String> = asts
        .flat_map(rhai::AST::iter_functions)
        .map(|function| function.name.to_owned())
        .filter(|name| !name.starts_with("anon$"))
        .collect();
    names.sort();
    names.dedup();
    names
}
