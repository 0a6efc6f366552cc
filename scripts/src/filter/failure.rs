//! What went wrong in a closure, on which document, and the way out.

use psann_core::{Batch, Error};
use rhai::{Dynamic, EvalAltResult};

use super::code::Fault;
use super::document::{LONGEST, LONGEST_STRING, MOST_CALL_LEVELS, MOST_ELEMENTS};
use super::{ClosureOptions, origin};
use crate::engine::Overdue;
use crate::values::{describe, type_words};

/// As much of a text as a message shows.
const SHOWN: usize = 60;

/// Which filter, and which document.
pub(super) struct Place<'a> {
    pub(super) options: &'a ClosureOptions,
    pub(super) batch: &'a Batch,
    pub(super) row: usize,
}

/// Code that does not compile.
pub(super) fn of_code(text: &str, fault: &Fault) -> Error {
    let place = origin::describe(text, fault.position).map(|place| format!("{place}: ")).unwrap_or_default();
    let error = Error::usage(format!("{place}{}", fault.message));
    match &fault.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A closure that failed on a document.
pub(super) fn running(place: &Place, error: &EvalAltResult) -> Error {
    let mut error = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) = error {
        error = inner;
    }
    let (what, hint) = explain(place.options, error);
    let code = place.options.code.as_deref().unwrap_or_default();
    let at = origin::describe(code, error.position()).map(|at| format!("{at}: ")).unwrap_or_default();
    Error::new(format!("{at}{what} ({})", document(place))).hint(hint)
}

/// A closure that gave what no filter can give.
pub(super) fn result(place: &Place, said: &Dynamic) -> Error {
    let code = place.options.code.as_deref().unwrap_or_default();
    let at = origin::describe(code, rhai::Position::new(1, 1)).map(|at| format!("{at}: ")).unwrap_or_default();
    let found = match said.type_name() {
        "map" => format!("the map `{}`", shortened(&said.to_string())),
        _ => describe(said),
    };
    let hint = if said.is_unit() {
        "an `if` without `else` gives nothing: end it with `else { true }`"
    } else {
        "give `true` to keep it, `false` or a reason (a string) to drop it, or `#{ text: … }` to change its text"
    };
    Error::new(format!("{at}the closure gave {found} for a document ({})", document(place))).hint(hint)
}

/// What a run-time error says, and what to do.
fn explain(options: &ClosureOptions, error: &EvalAltResult) -> (String, String) {
    use EvalAltResult as E;
    match error {
        E::ErrorTooManyOperations(_) => (
            format!("the closure was stopped after {} operations", options.operations),
            "does a loop never end?  (`operations` sets the limit)".into(),
        ),
        E::ErrorTerminated(token, _) if token.is::<Overdue>() => (
            format!("the closure was stopped after {} seconds", LONGEST.as_secs()),
            "lists that grow item by item are slow; `split` and `filter` make them at once".into(),
        ),
        E::ErrorStackOverflow(_) => {
            (format!("calls go deeper than {MOST_CALL_LEVELS}"), "does a function call itself without end?".into())
        }
        E::ErrorDataTooLarge(what, _) => (
            format!("a value grew too large ({what})"),
            format!("a string holds up to {} MB, a list {MOST_ELEMENTS} elements", LONGEST_STRING / 1_000_000),
        ),
        E::ErrorFunctionNotFound(signature, _) => {
            let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
            let types: Vec<&str> = types.strip_suffix(')').unwrap_or(types).split(", ").map(type_words).collect();
            let types = if types.is_empty() { "nothing".into() } else { types.join(" and ") };
            (
                format!("`{name}` does not work on {types}"),
                "what a key of `doc.meta` holds may differ from document to document, and is `()` where there is none"
                    .into(),
            )
        }
        E::ErrorRuntime(value, _) => {
            (format!("the closure threw {}", describe(value)), "give a reason instead of throwing it".into())
        }
        other => {
            let mut text = other.to_string();
            if let Some(at) = text.rfind(" (line ") {
                text.truncate(at);
            }
            (text, "a filter has to give an answer for every document".into())
        }
    }
}

/// The document, in words.
fn document(place: &Place) -> String {
    let name = match place.batch.optional("id", place.row) {
        Some(id) => format!("document `{}`", shortened(id)),
        None => "document".into(),
    };
    format!("{name} {:?}", shortened(place.batch.text(place.row)))
}

/// The start of a text.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
