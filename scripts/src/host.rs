//! [`Host`]: what the functions that a recipe calls share.
//!
//! Rhai's native functions are closures without a receiver, so what one evaluation gathers (its parameters, its
//! mistakes, what it prints, the scripts it read) lies here, behind a lock that only that evaluation takes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use miette::{LabeledSpan, NamedSource};
use psann_core::plan::Parameter;
use rhai::{AST, EvalAltResult, NativeCallContext, Position};

use crate::diagnostics::Finding;
use crate::text;

/// A recipe that prints in a loop must not fill the memory.
const MOST_PRINTED_LINES: usize = 1000;

/// What one evaluation, or one session, shares with the functions it calls.
#[derive(Debug)]
pub(crate) struct Host {
    /// `--set name=value`, in order.
    pub(crate) sets: Vec<(String, String)>,
    /// The recipe's folder: relative inputs and imports start there.
    pub(crate) folder: PathBuf,
    state: Mutex<State>,
}

/// What changes while a recipe is evaluated.
#[derive(Debug)]
pub(crate) struct State {
    /// Every text that was read, by name.
    pub(crate) scripts: BTreeMap<String, Script>,
    /// The parameters declared so far.
    pub(crate) parameters: Vec<Declared>,
    /// Number of the text being evaluated: a session evaluates many, and a later one may declare a parameter again.
    pub(crate) round: usize,
    /// When the evaluation of that text began.
    pub(crate) started: Instant,
    findings: Vec<Finding>,
    printed: Vec<String>,
}

/// A text and what it was compiled to.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) text: Arc<str>,
    /// A session compiles its text piece by piece.
    pub(crate) asts: Vec<AST>,
}

/// A parameter and the round it was declared in.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) parameter: Parameter,
    pub(crate) round: usize,
}

/// Where in which script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Site {
    pub(crate) script: String,
    pub(crate) position: Position,
}

impl Site {
    /// Where the running function was called.
    pub(crate) fn of(context: &NativeCallContext) -> Self {
        Self { script: context.call_source().unwrap_or_default().to_owned(), position: context.call_position() }
    }

    /// Another place in the same script.
    pub(crate) fn moved(&self, position: Position) -> Self {
        Self { script: self.script.clone(), position }
    }

    /// With what to say there.
    pub(crate) fn label(self, label: impl Into<String>) -> (Self, String) {
        (self, label.into())
    }
}

/// Marks an evaluation that ends because its mistake is already reported.
#[derive(Debug, Clone)]
pub(crate) struct Reported;

/// Ends the evaluation; the mistake is already reported.
pub(crate) fn stop() -> EvalAltResult {
    EvalAltResult::ErrorTerminated(rhai::Dynamic::from(Reported), Position::NONE)
}

impl Host {
    /// Nothing gathered yet.
    pub(crate) fn new(folder: PathBuf, sets: Vec<(String, String)>) -> Self {
        let state = State {
            scripts: BTreeMap::new(),
            parameters: Vec::new(),
            round: 0,
            started: Instant::now(),
            findings: Vec::new(),
            printed: Vec::new(),
        };
        Self { sets, folder, state: Mutex::new(state) }
    }

    /// The state. A panic in between leaves whole values behind, so a poisoned lock is as good as another.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a mistake. The first mark is where it is; marks in other scripts are told in words.
    pub(crate) fn report(&self, message: impl Into<String>, help: Option<String>, marks: Vec<(Site, String)>) {
        let (mut state, message) = (self.state(), message.into());
        // What is wrong with a plugin was said where it is named; every stage that takes it would say so again.
        if state.findings.iter().any(|said| message.ends_with(&format!(": {}", said.message))) {
            return;
        }
        let mut help = help;
        let first = marks.first().map(|(site, _)| site.script.clone());
        let script = first.as_ref().and_then(|name| Some((name, state.scripts.get(name)?.text.clone())));
        let mut labels = Vec::new();
        for (site, label) in marks {
            match &script {
                Some((name, text)) if **name == site.script => {
                    let start = text::offset(text, site.position);
                    let span = start..start + text::extent(text, start);
                    let new =
                        if labels.is_empty() { LabeledSpan::new_primary_with_span } else { LabeledSpan::new_with_span };
                    labels.push(new(Some(label), span));
                }
                _ if site.script.is_empty() => {}
                _ => {
                    let line = site.position.line().map(|line| format!(":{line}")).unwrap_or_default();
                    let place = format!("{label}: {}{line}", site.script);
                    help = Some(help.map_or_else(|| place.clone(), |help| format!("{help}\n{place}")));
                }
            }
        }
        let script = script.map(|(name, text)| NamedSource::new(name, text));
        state.findings.push(Finding { message, help, script, labels });
    }

    /// The mistakes noted since the last call.
    pub(crate) fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.state().findings)
    }

    /// Whether a mistake has been noted.
    pub(crate) fn failed(&self) -> bool {
        !self.state().findings.is_empty()
    }

    /// Notes a printed line.
    pub(crate) fn print(&self, line: &str) {
        let mut state = self.state();
        match state.printed.len() {
            0..MOST_PRINTED_LINES => state.printed.push(line.to_owned()),
            MOST_PRINTED_LINES => state.printed.push("(more was printed than is kept)".into()),
            _ => {}
        }
    }

    /// What was printed since the last call.
    pub(crate) fn take_printed(&self) -> Vec<String> {
        std::mem::take(&mut self.state().printed)
    }

    /// The compiled pieces of a script.
    pub(crate) fn asts(&self, script: &str) -> Vec<AST> {
        self.state().scripts.get(script).map(|script| script.asts.clone()).unwrap_or_default()
    }

    /// The parameters declared so far.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        self.state().parameters.iter().map(|declared| declared.parameter.clone()).collect()
    }
}
