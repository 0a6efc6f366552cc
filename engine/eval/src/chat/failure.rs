//! What went wrong in a chat template.
//!
//! A template that calls `raise_exception` refuses a conversation on purpose, for example because it knows no system
//! messages. The reference evaluates again without them, so callers must be able to tell a refusal from a mistake.

use std::error::Error as StdError;
use std::fmt;

use minijinja::ErrorKind;
use psann_core::Error;

/// A template's failure, found beneath the error of [`render`](super::ChatTemplate::render).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFailure {
    /// Of which kind it is.
    pub kind: FailureKind,
    /// The text of `raise_exception`, or what the engine says.
    pub message: String,
    /// The line of the template, counted from 1.
    pub line: Option<usize>,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The template called `raise_exception`.
    Raised,
    /// It used something that is not there: a variable, a key, a method, a filter.
    Undefined,
    /// It took more work or nesting than a template may.
    Limit,
    /// Anything else, such as adding a number to a text.
    Operation,
}

impl TemplateFailure {
    /// The failure beneath `error`, if a template caused it.
    pub fn of(error: &Error) -> Option<&Self> {
        let mut cause = StdError::source(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref() {
                return Some(failure);
            }
            cause = error.source();
        }
        None
    }

    /// Whether Python's jinja2 would call this a `TemplateError`: refusals and undefined things are, operations between
    /// values that do not fit (Python's own `TypeError`) are not.
    pub fn is_template_error(&self) -> bool {
        matches!(self.kind, FailureKind::Raised | FailureKind::Undefined)
    }
}

impl fmt::Display for TemplateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TemplateFailure {}

/// What `raise_exception` puts beneath the engine's error.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Raised {}

/// The engine's error for `raise_exception(message)`.
pub(super) fn raise(message: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message))
}

/// The engine's error for work or nesting without end.
pub(super) fn too_deep() -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, RECURSION)
}

/// How the engine says that nesting went too far.
const RECURSION: &str = "recursion limit exceeded";

/// The error of a template that cannot be compiled.
pub(super) fn compiling(error: &minijinja::Error) -> Error {
    let failure = describe(error);
    Error::new(format!("the chat template has a mistake{}: {}", place(&failure), failure.message)).because(failure)
}

/// The error of a template that failed.
pub(super) fn rendering(error: &minijinja::Error) -> Error {
    let failure = describe(error);
    let (place, message) = (place(&failure), &failure.message);
    let said = match failure.kind {
        FailureKind::Raised => format!("the chat template refuses this conversation: {message}"),
        FailureKind::Limit => format!("the chat template was stopped{place}: {message}"),
        FailureKind::Undefined | FailureKind::Operation => format!("the chat template fails{place}: {message}"),
    };
    let error = Error::new(said);
    match failure.kind {
        FailureKind::Limit => {
            error.hint("a template may not loop or nest without end; correct it, or shorten the chat")
        }
        _ => error,
    }
    .because(failure)
}

fn place(failure: &TemplateFailure) -> String {
    failure.line.map_or(String::new(), |line| format!(" in line {line}"))
}

fn describe(error: &minijinja::Error) -> TemplateFailure {
    let line = error.line();
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(error) = cause {
        if let Some(raised) = error.downcast_ref::<Raised>() {
            return TemplateFailure { kind: FailureKind::Raised, message: raised.0.clone(), line };
        }
        cause = error.source();
    }
    let detail = error.detail().unwrap_or_default();
    let kind = match error.kind() {
        ErrorKind::OutOfFuel => FailureKind::Limit,
        ErrorKind::UndefinedError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod
        | ErrorKind::UnknownTest => FailureKind::Undefined,
        _ if detail.contains(RECURSION) => FailureKind::Limit,
        // `"text" + nothing`: an operation to the engine, an undefined value to Jinja.
        _ if detail.starts_with("tried to use") && detail.contains("undefined") => FailureKind::Undefined,
        _ => FailureKind::Operation,
    };
    let message = match (kind, error.kind()) {
        (FailureKind::Limit, ErrorKind::OutOfFuel) => "it takes more work than a template may".to_owned(),
        (_, ErrorKind::InvalidOperation) if !detail.is_empty() => detail.to_owned(),
        (_, kind) if detail.is_empty() => kind.to_string(),
        (_, kind) => format!("{kind}: {detail}"),
    };
    TemplateFailure { kind, message, line }
}
