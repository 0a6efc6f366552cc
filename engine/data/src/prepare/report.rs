//! What the stage tells of its work: how many documents came and went, where, and why.

use std::collections::BTreeMap;

use psann_core::Error;
use serde::{Deserialize, Serialize};

/// An amount of text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitReport {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
}

impl SplitReport {
    /// Adds one document with this text.
    pub fn count(&mut self, text: &str) {
        self.documents += 1;
        self.bytes += text.len() as u64;
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

/// What one filter did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// Its name.
    pub name: String,
    /// What reached it.
    pub seen: SplitReport,
    /// What it kept.
    pub kept: SplitReport,
    /// Documents dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What it repaired, by name.
    pub counts: BTreeMap<String, u64>,
}

impl FilterReport {
    /// Nothing yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds what the filter did to another batch.
    pub fn add(&mut self, other: &Self) {
        self.seen.add(&other.seen);
        self.kept.add(&other.kept);
        for (into, from) in [(&mut self.dropped, &other.dropped), (&mut self.counts, &other.counts)] {
            for (name, count) in from {
                *into.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// What the source gave.
    pub read: SplitReport,
    /// What the source left out or repaired, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The filters, in order.
    pub filters: Vec<FilterReport>,
    /// What is left to learn from.
    pub train: SplitReport,
    /// What is held out.
    pub validation: SplitReport,
}

impl PrepareReport {
    /// Adds what a reader left out.
    pub fn note_skipped(&mut self, skipped: BTreeMap<String, u64>) {
        for (reason, count) in skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
    }

    /// `405 documents (5.2 MB) read, 397 to train on, 8 held out`, as one line.
    pub fn summary(&self) -> String {
        format!(
            "{} documents ({}) read, {} to train on ({}), {} held out ({})",
            self.read.documents,
            megabytes(self.read.bytes),
            self.train.documents,
            megabytes(self.train.bytes),
            self.validation.documents,
            megabytes(self.validation.bytes)
        )
    }

    /// What a user should look at: text that was left out or repaired on the way in.
    pub fn warnings(&self) -> Vec<String> {
        let skipped = self.skipped.iter().map(|(reason, count)| format!("the source: {count} × {reason}"));
        skipped.collect()
    }

    /// The error of a corpus of which nothing is left.
    pub fn nothing_left(&self) -> Error {
        if self.read.documents == 0 {
            let skipped: Vec<String> =
                self.skipped.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
            let why = if skipped.is_empty() { String::new() } else { format!(" (left out: {})", skipped.join(", ")) };
            return Error::new(format!("no document was read{why}"))
                .hint("check that the source names the right files and that they are not empty");
        }
        let drops: Vec<String> = self
            .filters
            .iter()
            .flat_map(|filter| {
                filter
                    .dropped
                    .iter()
                    .map(move |(reason, count)| format!("`{}` dropped {count} for `{reason}`", filter.name))
            })
            .collect();
        Error::new(format!("no document is left of {}: {}", self.read.documents, drops.join(", ")))
            .hint("loosen the filter that dropped most")
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
