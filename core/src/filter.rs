//! [`Filter`]: what is kept of the documents, and why.
//!
//! A filter annotates and never drops: the engine drops and counts, so "why was this dropped" costs nothing. Most rules
//! look at one document. A rule about the whole corpus ("only one copy of each text") is a filter with a second half,
//! [`CorpusFilter`]: it names keys, the engine brings equal keys together, and the filter says what that means.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Batch, Result};

/// What a filter says of each document of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts {
    /// Per document: `None` keeps it, `Some(r)` drops it for reason `r`, an index into [`Filter::reasons`].
    pub dropped: Vec<Option<u16>>,
    /// Per document a new text, where the filter rewrote it. Empty when no text changed.
    pub rewritten: Vec<Option<String>>,
    /// Named numbers behind the verdicts, one value per document; NaN where a document was decided before the number
    /// was needed. The report shows their distribution.
    pub scores: BTreeMap<&'static str, Vec<f64>>,
    /// Named counts of what was repaired, for the report ("invalid UTF-8 replaced").
    pub counts: BTreeMap<&'static str, u64>,
}

impl Verdicts {
    /// Keeps all `documents` unchanged.
    pub fn keep_all(documents: usize) -> Self {
        Self { dropped: vec![None; documents], rewritten: Vec::new(), scores: BTreeMap::new(), counts: BTreeMap::new() }
    }

    /// Sets the score `name` of one document; the others of a batch of `documents` are NaN until they are set.
    pub fn score(&mut self, name: &'static str, row: usize, value: f64) {
        let documents = self.dropped.len();
        self.scores.entry(name).or_insert_with(|| vec![f64::NAN; documents])[row] = value;
    }

    /// Gives the document a new text.
    pub fn rewrite(&mut self, row: usize, text: String) {
        if self.rewritten.is_empty() {
            self.rewritten = vec![None; self.dropped.len()];
        }
        self.rewritten[row] = Some(text);
    }

    /// Adds to a named count.
    pub fn count(&mut self, name: &'static str, by: u64) {
        *self.counts.entry(name).or_default() += by;
    }
}

/// A rule about documents. Called from many threads at once; the verdict on a document depends on that document alone.
pub trait Filter: Send + Sync {
    /// The reasons this filter drops for, in the order of their codes.
    fn reasons(&self) -> &[&'static str];

    /// One verdict per document of `batch`, in order.
    ///
    /// Of a corpus filter it is what can be said of each document by itself, for someone who asks about a single text;
    /// a run asks for its keys instead.
    fn apply(&self, batch: &Batch) -> Result<Verdicts>;

    /// The optional column it cannot work without (`url`); the engine says so when no document had it.
    fn column(&self) -> Option<&'static str> {
        None
    }

    /// A text that changes when the files it reads (models, lists) change; it enters the fingerprint of the stage.
    ///
    /// # Errors
    /// Names a file that is missing.
    fn identity(&self) -> Result<String> {
        Ok(String::new())
    }

    /// The second half of a filter whose verdict depends on the whole corpus.
    fn corpus(&self) -> Option<&dyn CorpusFilter> {
        None
    }
}

/// What a corpus filter notes of a batch: keys that the engine brings together, and what it will need to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// `(key, row)`: a document may have any number of keys. Keys are well-mixed hashes: the engine spreads them by
    /// their high bits.
    pub entries: Vec<(u64, u32)>,
    /// Per row the bytes handed back when the document is decided; empty when there is nothing to note. The whole
    /// vector may be empty.
    pub notes: Vec<Vec<u8>>,
    /// Per row the rank among copies: of equal documents the one with the lowest rank stays, then the first. Empty when
    /// the first one stays.
    pub ranks: Vec<u64>,
}

/// The second half of a [`Filter`] that needs to see the whole corpus.
pub trait CorpusFilter: Send + Sync {
    /// The keys of each document of a batch.
    fn keys(&self, batch: &Batch) -> Result<Keys>;

    /// What equal keys mean.
    fn rule(&self) -> Rule<'_>;
}

/// What it means that documents have a key in common.
pub enum Rule<'a> {
    /// They are copies of one another.
    Copies(&'a dyn Copies),
    /// Keys that many documents have are no evidence.
    Evidence(&'a dyn Evidence),
}

/// Documents with an equal key are copies if [`Copies::same`] agrees; of each group of copies one stays.
pub trait Copies: Send + Sync {
    /// Whether two documents with a common key are copies, by their notes. Symmetric.
    fn same(&self, one: &[u8], other: &[u8]) -> bool;

    /// Whether [`Copies::same`] needs to be asked; when not, no note is stored.
    fn verifies(&self) -> bool;

    /// The reason for which a copy is dropped, and the one for a copy of a document of the index.
    fn reasons(&self) -> (u16, u16);

    /// Whether every document that has a copy is dropped, the first one included.
    fn drops_all(&self) -> bool {
        false
    }

    /// Folder of a finished corpus whose documents count as copies that came before.
    fn against(&self) -> Option<&str> {
        None
    }

    /// A text that is equal for two filters whose keys and notes can be compared; stored beside an index.
    fn parameters(&self) -> String;
}

/// Documents with notes are judged one by one, once it is known which keys are frequent.
pub trait Evidence: Send + Sync {
    /// A key held by more documents than this is frequent.
    fn most(&self) -> u64;

    /// Judges one document by its note. Called in the order of the documents, from one thread at a time.
    fn judge(&self, note: &[u8], frequent: &dyn Fn(u64) -> bool) -> Option<Judgement>;

    /// What the filter has to say of its own subject after all documents were judged, given the judgements of all of
    /// them: a report, and files to write beside the corpus (name, content).
    fn conclude(&self, judgements: &mut dyn Iterator<Item = Result<(String, Judgement)>>) -> Result<Conclusion>;
}

/// What the evidence says of one document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// The reason to drop it, an index into [`Filter::reasons`]; `None` keeps it although there is something to report.
    pub dropped: Option<u16>,
    /// The numbers behind it, as a JSON object.
    pub details: Value,
}

/// What an [`Evidence`] filter says at the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conclusion {
    /// Becomes part of the stage's report.
    pub report: Value,
    /// Files to write beside the corpus.
    pub files: Vec<(String, Vec<u8>)>,
}
