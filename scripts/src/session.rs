//! [`Session`]: the recipe language at a prompt.
//!
//! A session is the list of what was entered, because evaluating has no effects: to set a parameter, everything is
//! evaluated again with it. No mistake ends a session or changes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use psann_core::plan::{Parameter, Plan};
use rhai::{LexError, ParseErrorType};

use crate::completion::{self, Completion};
use crate::diagnostics::{Diagnostics, Finding};
use crate::evaluator::{Evaluator, Outcome};
use crate::recipe::Recipe;
use crate::values::Pipeline;
use crate::{engine, finish, show};

/// What messages call the text of a session.
const PROMPT: &str = "prompt";

/// The variable that holds the last result.
const LAST: &str = "it";

/// A conversation in the recipe language.
pub struct Session {
    evaluator: Evaluator,
    entries: Vec<Entry>,
    sets: Vec<(String, String)>,
    plan: Option<Plan>,
}

/// Something that was entered and evaluated without a mistake.
#[derive(Debug, Clone)]
enum Entry {
    Recipe(Recipe),
    Line(String),
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// Nothing entered yet.
    pub fn new() -> Self {
        let evaluator = Evaluator::new(PathBuf::new(), &[]);
        Self { evaluator, entries: Vec::new(), sets: Vec::new(), plan: None }
    }

    /// Starts over with a recipe. Returns what to print.
    ///
    /// # Errors
    /// When the recipe does not evaluate to a pipeline; the session is then as before.
    pub fn load(&mut self, recipe: &Recipe) -> Result<String, Diagnostics> {
        let loaded = Self::replay(&[Entry::Recipe(recipe.clone())], &[])?;
        *self = loaded;
        let mut names: Vec<&str> =
            self.evaluator.scope.iter_raw().map(|(name, ..)| name).filter(|name| *name != LAST).collect();
        names.sort_unstable();
        names.dedup();
        Ok(format!("loaded {}: {}", recipe.name(), names.join(", ")))
    }

    /// Evaluates what was entered, keeps its value in `it`, and returns what to print: what it printed, and its value.
    ///
    /// # Errors
    /// Everything that is wrong with it; the session is then as before.
    pub fn evaluate(&mut self, input: &str) -> Result<String, Diagnostics> {
        guarded(|| self.enter(Entry::Line(input.to_owned())))
    }

    /// Sets a parameter, or an option of the plan by its path, and evaluates everything again. Returns what to print.
    ///
    /// # Errors
    /// When there is no such parameter or path, or the value does not fit; the session is then as before.
    pub fn set(&mut self, name: &str, value: &str) -> Result<String, Diagnostics> {
        let mut sets: Vec<_> = self.sets.iter().filter(|(set, _)| set != name).cloned().collect();
        sets.push((name.to_owned(), value.to_owned()));
        let replayed = Self::replay(&self.entries, &sets)?;
        if replayed.plan.is_none() && !replayed.parameters().iter().any(|parameter| parameter.name == name) {
            let help =
                "parameters are declared by `param(name, default, help)`; options of a plan need a pipeline first";
            return Err(mistake(format!("no parameter is called `{name}`"), help));
        }
        *self = replayed;
        Ok(format!("{name} = {value}"))
    }

    /// The parameters declared so far, with their values.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.evaluator.host.parameters()
    }

    /// The plan of the last pipeline that was entered.
    pub fn plan(&self) -> Option<Plan> {
        self.plan.clone()
    }

    /// What can stand at the end of `before`, the text in front of the cursor.
    pub fn completions(&self, before: &str) -> Vec<Completion> {
        completion::of(before, self.evaluator.scope.iter_raw().map(|(name, ..)| name))
    }

    /// Whether `input` can be evaluated, rightly or wrongly; if not, more lines are to follow.
    pub fn is_complete(input: &str) -> bool {
        let Err(error) = engine::bare().compile(input) else { return true };
        let open = match error.err_type() {
            ParseErrorType::UnexpectedEOF => true,
            // A text in backticks may go on over lines; one in quotes may not.
            ParseErrorType::BadInput(LexError::UnterminatedString) => {
                input[crate::text::offset(input, error.position())..].starts_with('`')
            }
            _ => input[crate::text::offset(input, error.position())..].trim().is_empty(),
        };
        !open
    }

    /// A session in which all `entries` were entered with `sets`.
    fn replay(entries: &[Entry], sets: &[(String, String)]) -> Result<Self, Diagnostics> {
        guarded(|| {
            let folder = entries.iter().rev().find_map(|entry| match entry {
                Entry::Recipe(recipe) => Some(recipe.folder().to_owned()),
                Entry::Line(_) => None,
            });
            let evaluator = Evaluator::new(folder.unwrap_or_default(), sets);
            let mut session = Self { evaluator, entries: Vec::new(), sets: sets.to_vec(), plan: None };
            for entry in entries {
                session.enter(entry.clone())?;
            }
            Ok(session)
        })
    }

    fn enter(&mut self, entry: Entry) -> Result<String, Diagnostics> {
        let scope = self.evaluator.scope.clone();
        let (name, outcome) = match &entry {
            Entry::Recipe(recipe) => (recipe.name(), self.evaluator.evaluate(recipe.name(), recipe.source())),
            Entry::Line(line) => (PROMPT, self.evaluator.evaluate(PROMPT, line)),
        };
        let mut lines = self.evaluator.host.take_printed();
        let outcome = outcome?;
        let plan = match self.plan_of(&entry, &outcome) {
            Ok(plan) => plan,
            Err(diagnostics) => {
                self.evaluator.scope = scope;
                return Err(diagnostics);
            }
        };
        self.evaluator.keep(name);
        if plan.is_some() {
            self.plan = plan;
        }
        if !outcome.value.is_unit() {
            lines.push(show::value(&outcome.value));
            self.evaluator.scope.set_or_push(LAST, outcome.value.clone());
        }
        self.entries.push(entry);
        Ok(lines.join("\n"))
    }

    /// The finished plan, when the value is a pipeline; a recipe has to end with one.
    fn plan_of(&self, entry: &Entry, outcome: &Outcome) -> Result<Option<Plan>, Diagnostics> {
        let pipeline = match entry {
            Entry::Recipe(_) => self.evaluator.pipeline(outcome)?,
            Entry::Line(_) => match outcome.value.read_lock::<Pipeline>() {
                // `pipeline("x")` alone is a beginning at the prompt, not a mistake.
                Some(pipeline) if !pipeline.plan.stages.is_empty() => pipeline.clone(),
                _ => return Ok(None),
            },
        };
        let plan = finish::plan(&self.evaluator.host, &pipeline);
        let findings = self.evaluator.host.take_findings();
        if findings.is_empty() { Ok(Some(plan)) } else { Err(Diagnostics::new(findings)) }
    }
}

/// A panic in between is a bug of ours, but the session lives on.
fn guarded<T>(work: impl FnOnce() -> Result<T, Diagnostics>) -> Result<T, Diagnostics> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(mistake(format!("psann made a mistake: {message}"), "please report it together with what you entered"))
    })
}

fn mistake(message: String, help: &str) -> Diagnostics {
    Diagnostics::new(vec![Finding { message, help: Some(help.to_owned()), script: None, labels: Vec::new() }])
}
