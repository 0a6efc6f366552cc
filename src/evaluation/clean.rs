//! Scores of items that the training text does not hold, beside those that it does.
//!
//! Decontamination looked for the items of benchmarks in the corpus and wrote down which it found. A score over all of them
//! says little of a model that has read some: the clean ones are what counts.

use std::collections::BTreeMap;
use std::path::Path;

use psann_core::Result;
use psann_eval::harness::Results;
use psann_eval::harness::metrics::{Aggregate, Metric};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Sources;
use crate::display;
use crate::run::directory::read_json;

/// What decontamination leaves in the folder of a corpus.
const CLEAN_ITEMS: &str = "clean_items.json";

#[derive(Debug, Deserialize)]
struct Report {
    sets: BTreeMap<String, Set>,
}

#[derive(Debug, Deserialize)]
struct Set {
    files: BTreeMap<String, String>,
    clean: Vec<String>,
    contaminated: Vec<String>,
}

/// The scores of some items of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// The task.
    pub task: String,
    /// `all`, `clean` or `contaminated`.
    pub items: &'static str,
    /// How many.
    pub count: usize,
    /// Metrics and their values.
    pub scores: Vec<(String, f64, Option<f64>)>,
    /// Why the report does not count for this task.
    pub note: Option<String>,
}

/// The scores of all, clean and contaminated items of each task that decontamination looked for.
///
/// # Errors
/// When the report is damaged.
pub fn subsets(results: &Results<'_, '_>, sources: &Sources, corpus: &Path) -> Result<Vec<Subset>> {
    let file = corpus.join(CLEAN_ITEMS);
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let report: Report = read_json(&file)?;
    let mut subsets = Vec::new();
    for (index, source) in sources.each().iter().enumerate() {
        let Some(set) = report.sets.get(&source.name) else { continue };
        if set.files.get(&source.split) != Some(&source.digest) {
            subsets.push(Subset {
                task: source.name.clone(),
                items: "all",
                count: 0,
                scores: Vec::new(),
                note: Some("the corpus was searched for the items of another file".to_owned()),
            });
            continue;
        }
        let numbers = Numbers::of(set, &source.name, results, index);
        for (items, keep) in [("all", None), ("clean", Some(false)), ("contaminated", Some(true))] {
            let chosen = |id: usize| keep.is_none_or(|contaminated| numbers.is_contaminated(id) == Some(contaminated));
            let (count, scores, _) = results.subset(index, chosen);
            let score =
                |(metric, score): &(Metric, Aggregate)| (metric.name().to_owned(), score.value, score.standard_error);
            let scores = scores.iter().map(score).collect();
            subsets.push(Subset { task: source.name.clone(), items, count, scores, note: None });
        }
    }
    Ok(subsets)
}

/// Which documents of a task are in the corpus, by their number.
struct Numbers {
    contaminated: BTreeMap<usize, bool>,
}

impl Numbers {
    /// Items are named `SET-N` by their row, or by the id that the data set gives them.
    fn of(set: &Set, task: &str, results: &Results<'_, '_>, index: usize) -> Self {
        let named: BTreeMap<&str, bool> = set
            .clean
            .iter()
            .map(|id| (id.as_str(), false))
            .chain(set.contaminated.iter().map(|id| (id.as_str(), true)))
            .collect();
        let documents = results.suite().tasks().get(index).map_or(&[][..], |planned| planned.documents());
        let contaminated = documents
            .iter()
            .filter_map(|document| {
                let by_row = named.get(format!("{task}-{}", document.id).as_str());
                let by_id = document.fields.get("qID").and_then(Value::as_str).and_then(|id| named.get(id));
                Some((document.id, *by_id.or(by_row)?))
            })
            .collect();
        Self { contaminated }
    }

    fn is_contaminated(&self, id: usize) -> Option<bool> {
        self.contaminated.get(&id).copied()
    }
}

/// A table of the subsets.
pub fn text(subsets: &[Subset]) -> String {
    let mut rows = Vec::new();
    let mut notes = String::new();
    for subset in subsets {
        if let Some(note) = &subset.note {
            notes.push_str(&format!("{}: no scores of clean items: {note}\n", subset.task));
        }
        for (metric, value, error) in &subset.scores {
            rows.push([
                subset.task.clone(),
                subset.items.to_owned(),
                subset.count.to_string(),
                metric.clone(),
                format!("{value:.4}"),
                error.map_or_else(|| "N/A".to_owned(), |error| format!("{error:.4}")),
            ]);
        }
        if subset.scores.is_empty() && subset.note.is_none() {
            rows.push([subset.task.clone(), subset.items.to_owned(), "0".into(), "-".into(), "-".into(), "-".into()]);
        }
    }
    if rows.is_empty() {
        return notes;
    }
    let table = display::table(&["", "items", "count", "metric", "value", "stderr"], &rows);
    format!("{table}{notes}")
}

/// The subsets for the result file.
pub fn json(subsets: &[Subset]) -> Value {
    let one = |subset: &Subset| {
        let scores: Map<String, Value> = subset
            .scores
            .iter()
            .flat_map(|(metric, value, error)| {
                [(metric.clone(), json!(value)), (format!("{metric}_stderr"), json!(error))]
            })
            .collect();
        json!({ "task": subset.task, "items": subset.items, "count": subset.count, "scores": scores, "note": subset.note })
    };
    subsets.iter().map(one).collect()
}
