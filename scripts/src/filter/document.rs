//! What a closure sees of a document, and the engine it runs in.
//!
//! The engine is bare: what it has is arithmetic, strings, lists and maps. It has no way to read, to print, to import, to
//! look at the clock or to draw lots, so a verdict depends on the document alone.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use psann_core::Batch;
use rhai::{Dynamic, Engine, INT, Map};

use crate::convert;
use crate::engine::Overdue;

/// Calls within each other.
pub(super) const MOST_CALL_LEVELS: usize = 32;
/// Longest string: somewhat longer than sources let documents be.
pub(super) const LONGEST_STRING: usize = 300_000_000;
/// Most elements of a list or a map.
pub(super) const MOST_ELEMENTS: usize = 4_000_000;

/// Time for one document. Rhai measures lists whenever they grow, so that a long one takes few operations and minutes.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

/// Words of the language that reach beyond the document; `eval` is missing because no engine of psann has it.
pub(super) const FORBIDDEN: [&str; 3] = ["import", "print", "debug"];

/// The properties of a document, for checks and suggestions.
pub(super) const PROPERTIES: [&str; 9] = ["text", "id", "url", "source", "meta", "chars", "bytes", "words", "lines"];

/// One row of a batch, in the hands of a closure.
#[derive(Debug, Clone)]
pub(super) struct View {
    batch: Arc<Batch>,
    row: usize,
}

impl View {
    pub(super) fn new(batch: &Arc<Batch>, row: usize) -> Self {
        Self { batch: Arc::clone(batch), row }
    }

    fn text(&self) -> &str {
        self.batch.text(self.row)
    }

    fn column(&self, name: &str) -> Dynamic {
        self.batch.optional(name, self.row).unwrap_or_default().into()
    }

    /// Empty where there is none, and where it is no JSON object.
    fn meta(&self) -> Dynamic {
        let parsed = self.batch.optional("meta", self.row).and_then(|meta| serde_json::from_str(meta).ok());
        parsed.map(|meta| convert::from_json(&meta)).filter(Dynamic::is_map).unwrap_or_else(|| Map::new().into())
    }
}

/// Counts fit: a text has less than 2⁶³ bytes.
fn count(number: usize) -> INT {
    INT::try_from(number).unwrap_or(INT::MAX)
}

/// Words are what lies between white space.
fn words(text: &str) -> usize {
    if !text.is_ascii() {
        return text.split_whitespace().count();
    }
    // Four times as fast, and most of English is ASCII.
    let (count, _) = text.bytes().fold((0, true), |(count, was_space), byte| {
        let is_space = matches!(byte, b'\t'..=b'\r' | b' ');
        (count + usize::from(was_space && !is_space), is_space)
    });
    count
}

/// Whether the document at which this thread is takes too long. A closure that is done soon never asks for the time.
fn is_overdue(operations: u64) -> bool {
    const EVERY: u64 = 1024;
    thread_local!(static STARTED: Cell<Option<Instant>> = const { Cell::new(None) });
    match operations {
        EVERY => STARTED.set(Some(Instant::now())),
        more if more % EVERY == 0 => return STARTED.get().is_some_and(|started| started.elapsed() > LONGEST),
        _ => {}
    }
    false
}

/// An engine in which a closure judges documents.
pub(super) fn engine(operations: u64) -> Engine {
    let mut engine = crate::engine::bare();
    engine.set_strict_variables(true);
    for word in FORBIDDEN {
        engine.disable_symbol(word);
    }
    crate::engine::register_language(&mut engine);
    engine.set_max_operations(operations);
    engine.on_progress(|operations| is_overdue(operations).then(|| Dynamic::from(Overdue)));
    engine.set_max_call_levels(MOST_CALL_LEVELS);
    engine.set_max_string_size(LONGEST_STRING);
    engine.set_max_array_size(MOST_ELEMENTS);
    engine.set_max_map_size(MOST_ELEMENTS);
    engine.register_type_with_name::<View>("document");
    engine.register_get("text", |document: &mut View| Dynamic::from(document.text().to_owned()));
    for name in ["id", "url", "source"] {
        engine.register_get(name, move |document: &mut View| document.column(name));
    }
    engine.register_get("meta", |document: &mut View| document.meta());
    engine.register_get("chars", |document: &mut View| count(document.text().chars().count()));
    engine.register_get("bytes", |document: &mut View| count(document.text().len()));
    engine.register_get("words", |document: &mut View| count(words(document.text())));
    engine.register_get("lines", |document: &mut View| count(document.text().lines().count()));
    engine.register_fn("contains", |document: &mut View, part: &str| document.text().contains(part));
    engine
}
