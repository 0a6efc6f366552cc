//! What the stage tells of its work: how many documents came and went, where, and why.
//!
//! Every part can be added to its like in any order with the same result, so the report does not depend on workers.

use std::collections::BTreeMap;
use std::path::Path;

use psann_core::plan::Component;
use psann_core::{Error, Verdicts};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::distribution::Distribution;
use super::rows::Place;

/// An amount of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
}

impl Amount {
    /// Adds one document with so many bytes of text.
    pub fn count(&mut self, bytes: u64) {
        self.documents += 1;
        self.bytes += bytes;
    }

    /// Adds another amount.
    pub fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
    }
}

/// A document that a filter dropped, for people to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its place.
    pub document: String,
    /// The source's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How its text starts.
    pub excerpt: String,
    /// The numbers behind the verdict.
    pub details: Value,
}

/// Damaged or empty files that are named; all are counted.
const MOST_FILES: usize = 100;
/// Samples kept per reason.
const SAMPLES: usize = 3;
/// Characters shown of a sample.
const EXCERPT: usize = 240;

/// The start of a text, for people.
pub fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(EXCERPT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl Sample {
    fn order(&self) -> u64 {
        self.document.parse().map_or(u64::MAX, order)
    }
}

/// Which samples are kept is decided by a hash of the place: any three, but always the same.
fn order(place: Place) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&place.0.to_le_bytes())
}

/// Groups of copies that a filter found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clusters {
    /// Number of groups with two members or more.
    pub clusters: u64,
    /// Groups by size, rounded to two digits.
    pub sizes: Distribution,
    /// Size of the largest one.
    pub largest: u64,
}

/// What one filter did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterReport {
    /// Its name; `c4-2` when the recipe uses it again.
    pub name: String,
    /// What reached it.
    pub seen: Amount,
    /// What it kept, as it left it.
    pub kept: Amount,
    /// What it dropped, by reason.
    pub dropped: BTreeMap<String, Amount>,
    /// What it repaired, by name.
    pub counts: BTreeMap<String, u64>,
    /// Whether a document had the column it needs; always when it needs none.
    pub had_column: bool,
    /// Its scores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, Distribution>,
    /// Some of what it dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub samples: BTreeMap<String, Vec<Sample>>,
    /// The groups of copies, of filters that look for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Clusters>,
    /// What the filter itself reports.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl FilterReport {
    /// Nothing yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Notes a document that is dropped; `sample` is asked for when it is one to show.
    pub fn drop_one(&mut self, reason: &str, bytes: u64, place: Place, sample: impl FnOnce() -> Sample) {
        if !self.dropped.contains_key(reason) {
            self.dropped.insert(reason.to_owned(), Amount::default());
            self.samples.insert(reason.to_owned(), Vec::new());
        }
        if let Some(amount) = self.dropped.get_mut(reason) {
            amount.count(bytes);
        }
        if let Some(samples) = self.samples.get_mut(reason)
            && (samples.len() < SAMPLES || samples.last().is_some_and(|last| order(place) < last.order()))
        {
            add_sample(samples, sample());
        }
    }

    /// Notes counts and scores of a batch.
    pub fn note(&mut self, verdicts: &Verdicts) {
        for (name, count) in &verdicts.counts {
            *self.counts.entry((*name).to_owned()).or_default() += count;
        }
        for (name, values) in &verdicts.scores {
            let distribution = self.scores.entry((*name).to_owned()).or_default();
            for value in values {
                distribution.add(*value);
            }
        }
    }

    /// Adds what the filter did to other documents.
    pub fn add(&mut self, other: &Self) {
        self.seen.add(other.seen);
        self.kept.add(other.kept);
        self.had_column |= other.had_column;
        for (reason, amount) in &other.dropped {
            self.dropped.entry(reason.clone()).or_default().add(*amount);
        }
        for (name, count) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += count;
        }
        for (name, distribution) in &other.scores {
            self.scores.entry(name.clone()).or_default().merge(distribution);
        }
        for (reason, samples) in &other.samples {
            let mine = self.samples.entry(reason.clone()).or_default();
            for sample in samples {
                add_sample(mine, sample.clone());
            }
        }
    }

    /// Documents dropped for any reason.
    pub fn dropped_documents(&self) -> u64 {
        self.dropped.values().map(|amount| amount.documents).sum()
    }
}

fn add_sample(samples: &mut Vec<Sample>, sample: Sample) {
    let order = sample.order();
    if samples.len() == SAMPLES && samples.last().is_some_and(|last| last.order() <= order) {
        return;
    }
    let at = samples.partition_point(|other| other.order() < order);
    samples.insert(at, sample);
    samples.truncate(SAMPLES);
}

/// The scores of one document, as an object.
pub fn scores_of(verdicts: &Verdicts, row: usize) -> Value {
    let scores = verdicts.scores.iter().filter_map(|(name, values)| {
        let value = values.get(row).copied().filter(|value| value.is_finite())?;
        // Enough digits to see why, few enough to read.
        Some(((*name).to_owned(), serde_json::json!((value * 1e6).round() / 1e6)))
    });
    Value::Object(scores.collect::<Map<_, _>>())
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// What the source gave.
    pub read: Amount,
    /// What the source left out or repaired, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Files that the source found damaged or empty, the first ones.
    pub files: Vec<String>,
    /// The filters, in order.
    pub filters: Vec<FilterReport>,
    /// What is left to learn from.
    pub train: Amount,
    /// What is held out.
    pub validation: Amount,
    /// What it was made of and how.
    pub made_of: MadeOf,
}

/// The parameters behind a corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Version of this program.
    pub psann: String,
    /// The source.
    pub source: Option<Component>,
    /// Fingerprint of what the source held.
    pub source_identity: String,
    /// The filters with the options that were given.
    pub filters: Vec<Component>,
    /// What the source has to say of itself.
    pub notes: Vec<String>,
}

impl PrepareReport {
    /// Adds what a reader left out.
    pub fn note_skipped(&mut self, skipped: &BTreeMap<String, u64>) {
        for (reason, count) in skipped {
            *self.skipped.entry(reason.clone()).or_default() += count;
        }
    }

    /// Adds what a reader says of files, up to a number that people read.
    pub fn note_files(&mut self, warnings: &[String]) {
        let room = MOST_FILES.saturating_sub(self.files.len());
        self.files.extend(warnings.iter().take(room).cloned());
    }

    /// `405 documents (5.2 MB) read, 397 to train on, 8 held out`, as one line.
    pub fn summary(&self) -> String {
        format!(
            "{} documents ({}) read, {} to train on ({}), {} held out ({})",
            self.read.documents,
            text_size(self.read.bytes),
            self.train.documents,
            text_size(self.train.bytes),
            self.validation.documents,
            text_size(self.validation.bytes)
        )
    }

    /// What a user should look at: text that was left out on the way in, and filters that did nothing or everything.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.skipped.iter().map(|(reason, count)| format!("the source: {count} × {reason}")).collect();
        warnings.extend(self.files.iter().cloned());
        for filter in self.filters.iter().filter(|filter| filter.seen.documents > 0) {
            let name = &filter.name;
            let seen = filter.seen.documents;
            if !filter.had_column {
                warnings.push(format!("filter `{name}` did nothing: no document has the column it reads"));
            } else if filter.kept.documents == 0 {
                warnings.push(format!("filter `{name}` dropped everything it saw ({seen} documents)"));
            } else if filter.dropped.is_empty() && filter.counts.values().all(|count| *count == 0) && seen >= 1000 {
                warnings.push(format!("filter `{name}` dropped nothing of {seen} documents"));
            }
        }
        warnings
    }

    /// The error of a corpus of which nothing is left.
    ///
    /// `page` is where the report stands.
    pub fn nothing_left(&self, page: &Path) -> Error {
        if self.read.documents == 0 {
            let skipped: Vec<String> =
                self.skipped.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
            let why = if skipped.is_empty() { String::new() } else { format!(" (left out: {})", skipped.join(", ")) };
            return Error::new(format!("no document was read{why}"))
                .hint("check that the source names the right files and that they are not empty");
        }
        let of_filter = |filter: &FilterReport| {
            let name = filter.name.clone();
            let line =
                |(reason, amount): (&String, &Amount)| format!("`{name}` dropped {} for `{reason}`", amount.documents);
            filter.dropped.iter().map(line).collect::<Vec<_>>()
        };
        let drops: Vec<String> = self.filters.iter().flat_map(of_filter).collect();
        Error::new(format!("no document is left of {}: {}", self.read.documents, drops.join(", ")))
            .hint(format!("loosen the filter that dropped most; samples of what went stand in `{}`", page.display()))
    }
}

/// A sample of a dropped document.
pub fn sample(place: Place, id: Option<&str>, url: Option<&str>, text: &str, details: Value) -> Sample {
    Sample {
        document: place.to_string(),
        id: id.map(str::to_owned),
        url: url.map(str::to_owned),
        excerpt: excerpt(text),
        details,
    }
}

/// An amount of text for people.
pub fn text_size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} kB", bytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_samples_stay_whatever_the_order() {
        let sample = |row: u64| sample(Place::new(0, row), None, None, "text", Value::Null);
        let mut forwards = FilterReport::new("f");
        (0..50).for_each(|row| forwards.drop_one("r", 10, Place::new(0, row), || sample(row)));
        let mut parts = [FilterReport::new("f"), FilterReport::new("f")];
        (0..50).rev().for_each(|row| parts[row as usize % 2].drop_one("r", 10, Place::new(0, row), || sample(row)));
        let mut merged = FilterReport::new("f");
        for part in &parts {
            merged.add(part);
        }
        assert_eq!(merged, forwards);
        assert_eq!(merged.samples["r"].len(), SAMPLES);
        assert_eq!(merged.dropped["r"], Amount { documents: 50, bytes: 500 });
    }

    #[test]
    fn filters_that_do_nothing_or_everything_are_told_of() {
        let filter = |name: &str, kept: u64, had_column: bool| FilterReport {
            seen: Amount { documents: 2000, bytes: 1 },
            kept: Amount { documents: kept, bytes: 1 },
            had_column,
            ..FilterReport::new(name)
        };
        let filters = vec![filter("idle", 2000, true), filter("all", 0, true), filter("blind", 2000, false)];
        let report = PrepareReport { filters, ..PrepareReport::default() };
        assert_eq!(
            report.warnings(),
            [
                "filter `idle` dropped nothing of 2000 documents",
                "filter `all` dropped everything it saw (2000 documents)",
                "filter `blind` did nothing: no document has the column it reads",
            ]
        );
    }
}
