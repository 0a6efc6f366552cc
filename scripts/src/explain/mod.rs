//! Rhai's errors in psann's words: what is wrong, where, and the way out.
//!
//! Rhai tells what its parser or interpreter met; a reader wants to know what to write instead. The common mistakes
//! each have their own sentence here. The rest keep Rhai's wording, brought into the same form.

mod functions;
mod outline;
mod syntax;

use psann_core::suggest;
use rhai::{Engine, EvalAltResult, ParseError, Position};

use crate::engine::{LONGEST, MOST_CALL_LEVELS, MOST_OPERATIONS, Overdue};
use crate::host::{Host, Reported, Site};
use crate::values::type_words;

/// A message, what to say at its place, and the way out.
struct Explanation {
    message: String,
    label: String,
    help: Option<String>,
}

impl Explanation {
    fn new(message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { message: message.into(), label: label.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Notes why the script called `name` could not be compiled.
pub(crate) fn parsing(host: &Host, engine: &Engine, name: &str, error: &ParseError) {
    let text = host.state().scripts.get(name).map(|script| script.text.to_string()).unwrap_or_default();
    let explanation = syntax::explain(engine, &text, error.err_type(), error.position());
    let site = Site { script: name.to_owned(), position: error.position() };
    host.report(explanation.message, explanation.help, vec![site.label(explanation.label)]);
}

/// Notes why the script called `name` ended; nothing when that is noted already.
pub(crate) fn running(host: &Host, name: &str, error: &EvalAltResult) {
    let mut script = name.to_owned();
    let mut calls: Vec<(Site, String)> = Vec::new();
    let mut error = error;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(function, source, inner, position) => {
                let site = Site { script: script.clone(), position: *position };
                calls.push(site.label(format!("in this call of `{function}`")));
                if !source.is_empty() {
                    script.clone_from(source);
                }
                error = inner;
            }
            EvalAltResult::ErrorInModule(_, inner, _) => error = inner,
            _ => break,
        }
    }
    let Some(explanation) = explain(host, error) else { return };
    let site = Site { script, position: error.position() };
    let mut marks = vec![site.label(explanation.label)];
    // The innermost calls tell most; a deep recursion would fill the screen.
    marks.extend(calls.into_iter().rev().take(2));
    host.report(explanation.message, explanation.help, marks);
}

fn explain(host: &Host, error: &EvalAltResult) -> Option<Explanation> {
    use EvalAltResult as E;
    Some(match error {
        E::ErrorTerminated(token, _) if token.is::<Reported>() => return None,
        E::ErrorTerminated(token, _) if token.is::<Overdue>() => Explanation::new(
            format!("the recipe was stopped: it takes more than {} seconds to evaluate", LONGEST.as_secs()),
            "it was here",
        )
        .help("a recipe only describes a run; leave the work to stages"),
        E::ErrorTooManyOperations(_) => Explanation::new(
            format!("the recipe was stopped after {} million operations", MOST_OPERATIONS / 1_000_000),
            "it was here",
        )
        .help("a recipe only describes a run; does a loop never end?"),
        E::ErrorStackOverflow(_) => {
            Explanation::new(format!("functions call each other more than {MOST_CALL_LEVELS} levels deep"), "this call")
                .help("does a function call itself without an end?")
        }
        E::ErrorDataTooLarge(what, _) => {
            Explanation::new(format!("too large for a recipe: {}", lower(what)), "made here")
        }
        E::ErrorParsing(kind, position) => {
            let engine = crate::engine::bare();
            syntax::explain(&engine, "", kind, *position)
        }
        E::ErrorFunctionNotFound(signature, _) => functions::explain(host, signature),
        E::ErrorVariableNotFound(name, _) => match name.strip_prefix("global::") {
            Some(constant) => Explanation::new(format!("no constant is called `{constant}`"), "not a constant")
                .help(format!("`global::` reaches `const {constant} = …` at the top of the script")),
            None => Explanation::new(format!("unknown variable `{name}`"), "not defined"),
        },
        E::ErrorPropertyNotFound(name, _) => {
            Explanation::new(format!("the map has no entry `{name}`"), "not in the map")
        }
        E::ErrorRuntime(value, _) => Explanation::new(value.to_string(), "thrown here"),
        E::ErrorMismatchDataType(expected, actual, _) | E::ErrorMismatchOutputType(expected, actual, _) => {
            let (expected, actual) = (type_words(expected), type_words(actual));
            let expected = if expected.is_empty() { "another type" } else { expected };
            Explanation::new(format!("expected {expected}, found {actual}"), format!("this is {actual}"))
        }
        E::ErrorDotExpr(message, _) => property(message),
        E::ErrorAssignmentToConstant(name, _) => {
            Explanation::new(format!("`{name}` is a constant and cannot change"), "changed here")
        }
        E::ErrorArrayBounds(length, index, _) => {
            Explanation::new(format!("the list has {length} elements, and `{index}` is none of them"), "this index")
        }
        E::ErrorFor(_) => Explanation::new("`for` goes through lists, ranges and maps only", "this is none"),
        other => {
            let text = other.to_string();
            Explanation::new(lower(text.rsplit_once(" (line ").map_or(text.as_str(), |(message, _)| message)), "here")
        }
    })
}

/// `Unknown property 'x' - a getter is not registered for type 'y'`.
fn property(message: &str) -> Explanation {
    let mut quoted = message.split('\'').skip(1).step_by(2);
    match (quoted.next(), quoted.next().map(type_words)) {
        (Some(name), Some("a pipeline")) => {
            Explanation::new(format!("a pipeline has no property `{name}`"), "not a property")
                .help("stages are called, as in `.prepare(text)`")
        }
        (Some(name), Some(what)) => Explanation::new(format!("{what} has no property `{name}`"), "not a property"),
        _ => Explanation::new(lower(message), "here"),
    }
}

/// Rhai's wording in psann's form: no capital, literals in backticks.
fn lower(message: &str) -> String {
    let mut characters = message.chars();
    let text: String = characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect();
    let mut open = false;
    let quoted: Vec<char> = text.chars().collect();
    let is_letter = |index: Option<usize>| index.and_then(|i| quoted.get(i)).is_some_and(|c| c.is_alphanumeric());
    let mut out = String::new();
    for (index, c) in quoted.iter().enumerate() {
        // An apostrophe stands between letters; a quote does not.
        let apostrophe = is_letter(index.checked_sub(1)) && is_letter(Some(index + 1));
        if *c == '\'' && (open || !apostrophe) {
            open = !open;
            out.push('`');
        } else {
            out.push(*c);
        }
    }
    out.replace("expecting", "expected")
}

/// "did you mean `x`?", if one of `names` is near.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    suggest::nearest(word, names).map(|name| format!("did you mean `{name}`?"))
}

/// Whether a place lies in a range of places.
fn within(position: Position, (start, end): (Position, Position)) -> bool {
    start <= position && position <= end
}

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn rhais_wording_takes_our_form() {
        assert_eq!(lower("Expecting ';' to end it"), "expected `;` to end it");
        assert_eq!(lower("Unknown property 'len' - don't"), "unknown property `len` - don't");
    }
}
