//! Tasks: what is asked of a document, which answer is right, and what is measured.
//!
//! A task turns a row into a [`Question`]; everything else (few-shot examples, chat markup, tokens, metrics, files) is the
//! same for all tasks and stands elsewhere. The five built-in tasks are those of lm-evaluation-harness 0.4.13, string for
//! string; a user's tasks come from TOML ([`user`]).

use std::fmt;
use std::sync::Arc;

use psann_core::{Error, Result};
use serde_json::{Map, Value};

mod hellaswag;
mod lambada;
mod piqa;
mod settings;
mod template;
pub mod user;
mod wikitext;
mod winogrande;

pub use hellaswag::{Hellaswag, clean};
pub use lambada::{Lambada, split_last_word};
pub use piqa::Piqa;
pub use settings::{Generation, Output, Settings, Source};
pub use wikitext::{Wikitext, detokenize};
pub use winogrande::{Winogrande, fill_gap};

/// The fields of a row, in the order of its data set.
pub type Fields = Map<String, Value>;

/// A row of a split and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The fields, in the order of the data set.
    pub fields: Fields,
    /// The file it was read from.
    pub file: Arc<str>,
    /// Its line there, counted from 1.
    pub line: usize,
}

/// A task.
pub trait Task: Send + Sync + fmt::Debug {
    /// Names, splits, delimiters, metrics.
    fn settings(&self) -> &Settings;

    /// What the task adds to a row before anything is asked of it. Documents are logged and hashed with it.
    ///
    /// # Errors
    /// Names a column that is missing or of the wrong type.
    fn prepare(&self, fields: Fields) -> Result<Fields> {
        Ok(fields)
    }

    /// What is asked of a prepared document.
    ///
    /// # Errors
    /// Names a column that is missing or of the wrong type.
    fn question(&self, document: &Fields) -> Result<Question>;

    /// Text before the first example. It may depend on the document.
    ///
    /// # Errors
    /// When it cannot be made from the document.
    fn description(&self, _document: &Fields) -> Result<String> {
        Ok(String::new())
    }

    /// How an answer begins, the examples' answers too.
    ///
    /// # Errors
    /// When it cannot be made from the document.
    fn answer_prefix(&self, _document: &Fields) -> Result<String> {
        Ok(String::new())
    }

    /// The task as result files describe it, in the schema of lm-evaluation-harness, for this number of examples.
    fn config(&self, shots: usize) -> Map<String, Value>;
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which of several endings follows a context.
    Choices {
        /// What stands before each ending.
        context: String,
        /// The endings.
        choices: Vec<String>,
        /// Which is right.
        gold: usize,
    },
    /// Behind which of several contexts an ending is likeliest.
    Contexts {
        /// The contexts.
        contexts: Vec<String>,
        /// What stands behind each of them.
        ending: String,
        /// Which context is right.
        gold: usize,
    },
    /// How likely a continuation is.
    Continuation {
        /// What stands before.
        context: String,
        /// What is scored.
        target: String,
    },
    /// How likely a whole text is.
    Rolling {
        /// What is scored.
        text: String,
        /// Words it counts for.
        words: u64,
        /// Bytes it counts for.
        bytes: u64,
    },
    /// What a model writes behind a context.
    Open {
        /// What stands before.
        context: String,
        /// The right answer.
        target: String,
    },
}

impl Question {
    /// The texts whose continuations are scored or written; empty for a whole text.
    pub fn contexts(&self) -> &[String] {
        match self {
            Self::Choices { context, .. } | Self::Continuation { context, .. } | Self::Open { context, .. } => {
                std::slice::from_ref(context)
            }
            Self::Contexts { contexts, .. } => contexts,
            Self::Rolling { .. } => &[],
        }
    }

    /// The question and the answer that this document gives as an example; no answer where the text of it is empty.
    pub fn example(&self) -> (&str, Option<&str>) {
        let some = |text: &'_ str| !text.is_empty();
        match self {
            // An index names the answer, so even an empty one is an answer.
            Self::Choices { context, choices, gold } => (context, choices.get(*gold).map(String::as_str)),
            Self::Contexts { contexts, ending, gold } => {
                let context = contexts.get(*gold).map_or("", String::as_str);
                (context, Some(ending.as_str()).filter(|ending| some(ending)))
            }
            Self::Continuation { context, target } | Self::Open { context, target } => {
                (context, Some(target.as_str()).filter(|target| some(target)))
            }
            Self::Rolling { text, .. } => ("", Some(text.as_str()).filter(|text| some(text))),
        }
    }

    /// The right answer as sample files name it: the number of a choice, or a text.
    pub fn target(&self) -> String {
        match self {
            Self::Choices { gold, .. } => gold.to_string(),
            Self::Contexts { ending, .. } => ending.clone(),
            Self::Continuation { target, .. } | Self::Open { target, .. } => target.clone(),
            Self::Rolling { text, .. } => text.clone(),
        }
    }
}

/// Names of the built-in tasks.
pub const BUILT_IN: [&str; 5] = ["wikitext", "lambada_openai", "hellaswag", "piqa", "winogrande"];

/// The built-in task of this name.
///
/// # Errors
/// When there is none; the message lists them.
pub fn built_in(name: &str) -> Result<Box<dyn Task>> {
    Ok(match name {
        "wikitext" => Box::new(Wikitext::default()),
        "lambada_openai" => Box::new(Lambada::default()),
        "hellaswag" => Box::new(Hellaswag::default()),
        "piqa" => Box::new(Piqa::default()),
        "winogrande" => Box::new(Winogrande::default()),
        _ => {
            return Err(Error::usage(format!("there is no task `{name}`"))
                .hint(format!("built in are `{}`; a task of your own is a TOML file", BUILT_IN.join("`, `"))));
        }
    })
}

/// A column that must be text.
fn text<'a>(document: &'a Fields, column: &str) -> Result<&'a str> {
    match document.get(column) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(column, "a text", other)),
        None => Err(missing(column, document)),
    }
}

/// A column that must be a list of texts.
fn texts(document: &Fields, column: &str) -> Result<Vec<String>> {
    let Some(value) = document.get(column) else { return Err(missing(column, document)) };
    let list = value.as_array().ok_or_else(|| wrong(column, "a list of texts", value))?;
    list.iter()
        .map(|one| one.as_str().map(str::to_owned).ok_or_else(|| wrong(column, "a list of texts", value)))
        .collect()
}

/// A column that numbers the right one of `count` answers, the first of them being `first`; digits in a text count as a
/// number, as Python's `int` has it.
fn label(document: &Fields, column: &str, first: usize, count: usize) -> Result<usize> {
    let Some(value) = document.get(column) else { return Err(missing(column, document)) };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    };
    let unlabelled = matches!(value, Value::Null) || value.as_str().is_some_and(|text| text.trim().is_empty());
    if unlabelled {
        return Err(Error::new(format!("has no right answer: `{column}` is empty"))
            .hint("the test splits of many data sets are published without answers; take the validation split"));
    }
    number
        .and_then(|number: u64| usize::try_from(number).ok()?.checked_sub(first))
        .filter(|index| *index < count)
        .ok_or_else(|| {
            let last = first + count.saturating_sub(1);
            wrong(column, &format!("a whole number from {first} to {last}"), value)
        })
}

fn missing(column: &str, document: &Fields) -> Error {
    let columns = document.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
    Error::new(format!("has no column `{column}`")).hint(format!("its columns are `{columns}`"))
}

fn wrong(column: &str, expected: &str, found: &Value) -> Error {
    let printed: String = found.to_string().chars().take(60).collect();
    Error::new(format!("column `{column}` must be {expected}, found {printed}"))
}
