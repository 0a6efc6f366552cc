//! `rhai`: a filter that a recipe writes as a closure.
//!
//! A rule that one corpus needs and no other is not worth a plugin: `filter::rhai(|doc| doc.words >= 50)` is enough. A
//! plan is plain data, so what it stores is the closure's own text and the values it captured; the run compiles the
//! text again. Names that Rhai gives to closures change from run to run and appear nowhere.
//!
//! [`closure`] is the side of the recipe, [`code`] compiles and checks, [`document`] is what the closure sees, and
//! [`failure`] says what went wrong on which document.

pub(crate) mod closure;
mod code;
mod document;
mod failure;
mod origin;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use psann_core::{Batch, Error, Filter, Result, Verdicts};
use rhai::{AST, Dynamic, Engine, ImmutableString, Map, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::document::View;

psann_core::register!(Filter, "rhai", ClosureOptions, Closure::new, primary = "code");

/// The filter's name in recipes.
pub(crate) const NAME: &str = "rhai";

/// Judges each document by a closure of the recipe: `filter::rhai(|doc| doc.words >= 50)`.
///
/// The closure gets a document with `text`, `id`, `url`, `source` (strings, empty where there is none), `meta` (a map),
/// `chars`, `bytes`, `words`, `lines` (numbers) and `contains(text)`. It gives `true` to keep it, `false` or a reason
/// (a string) to drop it, or `#{ text: "…" }` to keep it with another text. It can neither read files nor keep anything
/// from one document to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClosureOptions {
    /// The closure, or its body as a string in which the document is called `doc`.
    pub code: Option<String>,
    /// What messages call the filter, and the reason for which `false` drops a document; "rejected" without one.
    pub name: Option<String>,
    /// Reasons that the closure puts together or keeps in variables. Those it gives as plain strings are known; any other
    /// counts as `false`.
    pub reasons: Vec<String>,
    /// Values of the variables that the closure uses from outside; the recipe fills them in.
    pub captures: BTreeMap<String, Value>,
    /// Most operations for one document, so that an endless loop ends.
    #[schemars(range(min = 1))]
    pub operations: u64,
}

impl Default for ClosureOptions {
    fn default() -> Self {
        Self { code: None, name: None, reasons: Vec::new(), captures: BTreeMap::new(), operations: 10_000_000 }
    }
}

/// The reason for which `false` drops a document when the filter has no name.
const REJECTED: &str = "rejected";
/// The code of that reason.
const FALSE: u16 = 0;
/// More reasons than this are no reasons, and longer ones no words: both are kept for as long as the program runs.
const MOST_REASONS: usize = 256;
const LONGEST_REASON: usize = 200;

/// The filter.
#[derive(Debug)]
pub struct Closure {
    options: ClosureOptions,
    engine: Engine,
    ast: AST,
    /// The captured values; each document gets a copy, so that none sees what another left behind.
    scope: Scope<'static>,
    /// What the closure calls the document.
    parameter: String,
    column: Option<&'static str>,
    reasons: Vec<&'static str>,
}

impl Closure {
    /// Compiles the code.
    ///
    /// # Errors
    /// When it is missing, does not compile, or uses what is not there when it runs; with line and column.
    pub fn new(options: ClosureOptions) -> Result<Self> {
        let text = options.code.as_deref().unwrap_or_default();
        let Compiled { engine, code, scope } = compile(&options).map_err(|fault| failure::of_code(text, &fault))?;
        let reasons = reasons(&options, &code.reasons)?;
        let code::Code { ast, parameter, column, .. } = code;
        Ok(Self { options, engine, ast, scope, parameter, column, reasons })
    }

    fn judge(&self, batch: &Arc<Batch>, row: usize) -> Result<Dynamic, Box<rhai::EvalAltResult>> {
        let mut scope = self.scope.clone();
        scope.push(self.parameter.as_str(), View::new(batch, row));
        self.engine.eval_ast_with_scope::<Dynamic>(&mut scope, &self.ast)
    }

    /// Does what the closure said of the document; gives the value back when it says nothing that can be done.
    fn follow(&self, said: Dynamic, batch: &Batch, row: usize, verdicts: &mut Verdicts) -> Result<(), Dynamic> {
        if let Ok(keep) = said.as_bool() {
            verdicts.dropped[row] = (!keep).then_some(FALSE);
            return Ok(());
        }
        if let Some(reason) = said.read_lock::<ImmutableString>() {
            let known = self.reasons.iter().position(|known| *known == reason.as_str());
            if known.is_none() {
                verdicts.count("reasons that are not in `reasons`", 1);
            }
            verdicts.dropped[row] = Some(known.and_then(|index| u16::try_from(index).ok()).unwrap_or(FALSE));
            return Ok(());
        }
        if let Some(map) = said.read_lock::<Map>()
            && let [(key, value)] = map.iter().collect::<Vec<_>>().as_slice()
            && key.as_str() == "text"
            && let Some(text) = value.read_lock::<ImmutableString>()
        {
            if text.as_str() != batch.text(row) {
                verdicts.rewrite(row, text.to_string());
                verdicts.count("documents changed", 1);
            }
            return Ok(());
        }
        Err(said)
    }
}

impl Filter for Closure {
    fn reasons(&self) -> &[&'static str] {
        &self.reasons
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let shared = Arc::new(batch.clone());
        for row in 0..batch.len() {
            let place = failure::Place { options: &self.options, batch, row };
            let said = self.judge(&shared, row).map_err(|error| failure::running(&place, &error))?;
            self.follow(said, batch, row, &mut verdicts).map_err(|said| failure::result(&place, &said))?;
        }
        Ok(verdicts)
    }

    fn column(&self) -> Option<&'static str> {
        self.column
    }
}

/// What options compile to.
struct Compiled {
    engine: Engine,
    code: code::Code,
    scope: Scope<'static>,
}

fn compile(options: &ClosureOptions) -> Result<Compiled, code::Fault> {
    let engine = document::engine(options.operations);
    let mut scope = Scope::new();
    for (name, value) in &options.captures {
        scope.push_constant_dynamic(name.as_str(), crate::convert::from_json(value));
    }
    let code = code::compile(&engine, &scope, options.code.as_deref().unwrap_or_default())?;
    Ok(Compiled { engine, code, scope })
}

/// All reasons, the one of `false` first.
fn reasons(options: &ClosureOptions, literals: &BTreeSet<String>) -> Result<Vec<&'static str>> {
    let first = options.name.as_deref().unwrap_or(REJECTED);
    let mut all = vec![first];
    for reason in options.reasons.iter().chain(literals).map(String::as_str) {
        if !all.contains(&reason) {
            all.push(reason);
        }
    }
    if all.len() > MOST_REASONS {
        return Err(Error::usage(format!("{} reasons are more than {MOST_REASONS}", all.len())));
    }
    if let Some(reason) = all.iter().find(|reason| reason.is_empty() || reason.len() > LONGEST_REASON) {
        let what = if reason.is_empty() { "is empty" } else { "is longer than 200 bytes" };
        return Err(Error::usage(format!("a reason {what}: {:?}", failure::shortened(reason)))
            .hint("a reason is a few words, such as \"too short\""));
    }
    Ok(all.into_iter().map(interned).collect())
}

/// The same text for as long as the program runs: reports hold on to reasons, and there are few.
fn interned(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.get(text) {
        return same;
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(text);
    text
}

#[cfg(test)]
mod tests;
