//! Runs a plugin as psann does, and tries to break it.
//!
//! Authors ask a filter about a text with [`judge`], read a source with [`read`], and hold the whole library to what psann
//! needs with [`assert_conforms`], all without psann. `psann plugin check` runs the same [`conformance()`] on a library.
//!
//! ```ignore
//! #[test]
//! fn the_library_conforms() {
//!     psann_sdk::testing::assert_conforms(psann_plugin_v1, &[("letters", json!({ "min": 0.5 }))]);
//! }
//! ```

pub mod conformance;
mod memory;
mod texts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::abi::{PsannEntry, PsannHost, PsannPlugin};
use crate::call::{Lent, Level, Listener, Plugin, host};
use crate::{Document, Filter, Host, Reader, Result, Source, Verdict};

pub use conformance::{Check, Outcome, conformance};
pub use texts::Texts;

/// A host for tests: it remembers what it is told, and says to stop when it is asked to.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<Vec<(Level, String)>>,
    metrics: Mutex<BTreeMap<String, f64>>,
    cancelled: AtomicBool,
}

impl Recorder {
    /// Its table.
    pub fn table(&self) -> &'static PsannHost {
        host(self.clone())
    }

    /// What was logged so far.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The numbers so far.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.inner.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says to stop, or not to any more.
    pub fn cancel(&self, cancelled: bool) {
        self.inner.cancelled.store(cancelled, Ordering::Release);
    }
}

impl Listener for Recorder {
    fn log(&self, level: Level, message: &str) {
        self.inner.lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, message.to_owned()));
    }

    fn metric(&self, name: &str, value: f64) {
        let mut metrics = self.inner.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        *metrics.entry(name.to_owned()).or_default() += value;
    }

    fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }
}

/// What a filter with default options says of a text.
///
/// # Errors
/// What it says against its options, or while it judges.
pub fn judge<F: Filter>(text: &str) -> Result<Verdict> {
    judge_with::<F>(F::Options::default(), text)
}

/// What a filter with these options says of a text.
///
/// # Errors
/// As [`judge`].
pub fn judge_with<F: Filter>(options: F::Options, text: &str) -> Result<Verdict> {
    let filter = F::new(options, Host::SILENT)?;
    let texts = Texts::new(F::COLUMNS, &[Document::new(text)]);
    texts.lend(|lent: &Lent<'_>| {
        // SAFETY: the strings of `Texts` are UTF-8.
        let documents = unsafe { lent.documents(F::COLUMNS)? };
        let verdicts = filter.judge_all(&documents)?;
        verdicts.into_iter().next().ok_or_else(|| crate::Error::new("it gave no verdict on a document"))
    })
}

/// All documents of a source with these options, piece by piece.
///
/// # Errors
/// What it says.
pub fn read<S: Source>(options: S::Options) -> Result<Vec<Document>> {
    let source = S::new(options, Host::SILENT)?;
    let mut documents = Vec::new();
    for partition in 0..source.partitions()?.len() {
        let mut reader = source.open(partition, None)?;
        while let Some(batch) = reader.next()? {
            batch.each(|text, [id, url, source, meta]| {
                let owned = |value: Option<&str>| value.map(str::to_owned);
                let (id, url, source, meta) = (owned(id), owned(url), owned(source), owned(meta));
                documents.push(Document { text: text.to_owned(), id, url, source, meta });
            });
        }
    }
    Ok(documents)
}

/// A library that is part of this program, loaded as psann loads it. Tests that hold one take turns: a library knows one
/// host at a time.
pub struct Loaded {
    /// The library.
    pub plugin: &'static Plugin,
    /// Its host.
    pub recorder: Recorder,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// Loads the library behind an entry symbol.
///
/// # Errors
/// When its tables are not as they should be.
pub fn load(entry: extern "C" fn() -> *const PsannPlugin) -> Result<Loaded> {
    // A test that failed with its turn leaves nothing behind that the next one would mind.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let recorder = Recorder::default();
    let entry: PsannEntry = entry;
    // SAFETY: the entry symbol of a library that is part of this program.
    let plugin = unsafe { Plugin::load(entry, recorder.table())? };
    Ok(Loaded { plugin: Box::leak(Box::new(plugin)), recorder, _turn: turn })
}

/// Fails, with a list, unless the library behind `entry` does all that psann needs. `options` are those of components, by
/// name; others get none.
///
/// # Panics
/// When it does not conform.
pub fn assert_conforms(entry: extern "C" fn() -> *const PsannPlugin, options: &[(&str, Value)]) {
    let loaded = load(entry).unwrap_or_else(|error| panic!("the library cannot be loaded: {error}"));
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let checks = conformance(loaded.plugin, &loaded.recorder, &options, &mut |_| {});
    let failed: Vec<String> = checks.iter().filter(|check| check.failed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "the library does not conform:\n{}", failed.join("\n"));
}
