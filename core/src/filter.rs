//! [`Filter`]: what is kept of the documents, and why.
//!
//! A filter annotates and never drops: the engine drops and counts, so "why was this dropped" costs nothing.

use std::collections::BTreeMap;

use crate::{Batch, Result};

/// What a filter says of each document of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts {
    /// Per document: `None` keeps it, `Some(r)` drops it for reason `r`, an index into [`Filter::reasons`].
    pub dropped: Vec<Option<u16>>,
    /// Per document a new text, where the filter rewrote it. Empty when no text changed.
    pub rewritten: Vec<Option<String>>,
    /// Named numbers behind the verdict, one value per document.
    pub scores: BTreeMap<&'static str, Vec<f64>>,
    /// Named counts of what was repaired, for the report ("invalid UTF-8 replaced").
    pub counts: BTreeMap<&'static str, u64>,
}

impl Verdicts {
    /// Keeps all `documents` unchanged.
    pub fn keep_all(documents: usize) -> Self {
        Self { dropped: vec![None; documents], rewritten: Vec::new(), scores: BTreeMap::new(), counts: BTreeMap::new() }
    }
}

/// A rule about documents. Called from many threads at once; the verdict on a document depends on that document alone.
pub trait Filter: Send + Sync {
    /// The reasons this filter drops for, in the order of their codes.
    fn reasons(&self) -> &[&'static str];

    /// One verdict per document of `batch`, in order.
    fn apply(&self, batch: &Batch) -> Result<Verdicts>;
}
