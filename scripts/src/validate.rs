//! Reports what is wrong with the options of one call, each at its own key.

use psann_core::options::{Fault, Problem, Step};
use psann_core::plan::Component;
use serde_json::Value;

use crate::arguments::Bindings;
use crate::host::{Host, Site};
use crate::locate::{self, Call, Part};

/// More lines than this between a key and its call, and showing the call as well would only tear the text apart.
const NEAR: usize = 6;

/// Names up to which all are listed where none is near.
const FEW: usize = 8;

/// Whose options are looked at.
#[derive(Debug)]
pub(crate) struct Owner<'a> {
    /// As the recipe writes it: `optimizer::adamw`, `pretrain`.
    pub(crate) label: &'a str,
    /// What `psann plugin info` takes.
    pub(crate) name: &'a str,
}

/// Notes each of `problems` found in `value`, the options of the call at `site`.
pub(crate) fn report(
    host: &Host,
    site: &Site,
    call: Option<&Call>,
    owner: &Owner,
    bindings: &Bindings,
    problems: &[Problem],
    value: &Value,
) {
    for problem in problems.iter().filter(|problem| !is_inside_component(value, &problem.path)) {
        let part = match problem.fault {
            Fault::Unknown { .. } => Part::Key,
            _ => Part::Value,
        };
        let place = call.and_then(|call| place(call, bindings, &problem.path, part)).unwrap_or(site.position);
        let label = match &problem.fault {
            Fault::Unknown { .. } => format!("not an option of `{}`", owner.label),
            Fault::Mistyped { found, .. } => format!("this is {found}"),
            Fault::Invalid(_) => "here".to_owned(),
        };
        let mut marks = vec![site.moved(place).label(label)];
        let distance = place.line().unwrap_or(0).abs_diff(site.position.line().unwrap_or(0));
        if place != site.position && distance <= NEAR {
            marks.push(site.clone().label("in this call"));
        }
        host.report(message(problem, owner.label), Some(help(problem, owner)), marks);
    }
}

/// The message of a problem, with whose option it is.
pub(crate) fn message(problem: &Problem, owner: &str) -> String {
    let location = problem.location();
    match &problem.fault {
        Fault::Unknown { .. } => format!("unknown option `{location}` of `{owner}`"),
        Fault::Mistyped { expected, found } => {
            format!("option `{location}` of `{owner}` takes {expected}, found {found}")
        }
        Fault::Invalid(message) => {
            let what =
                if location.is_empty() { format!("`{owner}`") } else { format!("option `{location}` of `{owner}`") };
            // A predicate goes on with the sentence; anything else stands by itself.
            let is_predicate = ["is ", "must ", "takes "].iter().any(|verb| message.starts_with(verb));
            format!("{what}{} {message}", if is_predicate { "" } else { ":" })
        }
    }
}

/// The way out.
fn help(problem: &Problem, owner: &Owner) -> String {
    let command = format!("`psann plugin info {}`", owner.name);
    match &problem.fault {
        Fault::Unknown { suggestion: Some(nearest), .. } => {
            format!("did you mean `{nearest}`?  ({command} lists every option)")
        }
        Fault::Unknown { known, .. } if known.is_empty() => format!("`{}` has no options", owner.label),
        Fault::Unknown { known, .. } if known.len() <= FEW => {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("options here: {}", names.join(", "))
        }
        Fault::Unknown { .. } => format!("{command} lists every option"),
        Fault::Mistyped { .. } | Fault::Invalid(_) => format!("{command} says what each option takes"),
    }
}

/// Where the option at `path` is written.
fn place(call: &Call, bindings: &Bindings, path: &[Step], part: Part) -> Option<rhai::Position> {
    if let Some(Step::Key(key)) = path.first()
        && let Some((_, argument)) = bindings.named.iter().find(|(name, _)| name == key)
    {
        return Some(locate::follow(call.arguments.get(*argument)?, &path[1..], part));
    }
    Some(locate::follow(call.arguments.get(bindings.map?)?, path, part))
}

/// Whether the path leads into a component, whose own call has reported its problems already.
fn is_inside_component(value: &Value, path: &[Step]) -> bool {
    let mut value = value;
    for step in path {
        if Component::from_value(value).is_some() {
            return true;
        }
        let inner = match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        };
        match inner {
            Some(inner) => value = inner,
            None => return false,
        }
    }
    false
}
