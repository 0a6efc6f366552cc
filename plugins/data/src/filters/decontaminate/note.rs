//! What is noted of a document until it is known which n-grams are frequent: the items it may contain, with their runs
//! and a piece of the text that shows it to a reader.

use std::ops::Range;

use psann_core::filter::Judgement;
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::items::Item;
use super::matching::{Facts, Located, Run, runs, weigh};
use super::words::{Scratch, each_word};
use super::{Action, CONTAMINATED, Loaded, Looking};

/// Notes of another version are not understood.
const VERSION: u32 = 1;
/// Bytes of the text before and after a run that a reader sees.
const AROUND: usize = 40;
/// Most bytes of a run that a reader sees.
const SHOWN: usize = 240;

/// The note of one document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Note {
    version: u32,
    candidates: Vec<Candidate>,
}

/// An item that the document contains if none of its n-grams is frequent.
#[derive(Debug, Serialize, Deserialize)]
struct Candidate {
    item: u32,
    runs: Vec<Run>,
    /// Words of the longest run.
    words: usize,
    snippet: String,
}

/// What the document that was looked at has in common with each item.
pub(super) fn facts(loaded: &Loaded, looking: &Looking, text: &str) -> Vec<(u32, Facts)> {
    let mut located = runs(&loaded.index, &loaded.items, &looking.hits);
    let places = places(text);
    for one in &mut located {
        one.run.line = is_line(text, &places, one);
    }
    let weighed = |runs: &[Located]| (runs[0].item, weigh(loaded.item(runs), &of_item(runs), &|_| false));
    located.chunk_by(|a, b| a.item == b.item).map(weighed).collect()
}

/// Where the words of a text stand.
fn places(text: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    each_word(text, &mut Scratch::default(), |_, place| places.push(place));
    places
}

/// The runs of one item, each once.
fn of_item(located: &[Located]) -> Vec<Run> {
    let mut runs: Vec<Run> = located.iter().map(|one| one.run.clone()).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

impl Note {
    /// What to remember of the document that was looked at.
    pub(super) fn new(loaded: &Loaded, looking: &Looking, text: &str) -> Self {
        let mut located = runs(&loaded.index, &loaded.items, &looking.hits);
        // The places are only needed for the few documents that share more than a stray n-gram.
        let mut found = None;
        let mut candidates = Vec::new();
        for group in located.chunk_by_mut(|a, b| a.item == b.item) {
            let item = loaded.item(group);
            if group.iter().map(|one| one.run.words as usize).sum::<usize>() < item.least {
                continue;
            }
            let places = found.get_or_insert_with(|| places(text));
            for one in group.iter_mut() {
                one.run.line = is_line(text, places, one);
            }
            let runs = of_item(group);
            let facts = weigh(item, &runs, &|_| false);
            if facts.fired.is_some() {
                let snippet = snippet(text, places, group);
                candidates.push(Candidate { item: group[0].item, runs, words: facts.run, snippet });
            }
        }
        Self { version: VERSION, candidates }
    }

    /// The longest run of all, when every n-gram counts.
    pub fn longest(&self) -> Option<usize> {
        self.candidates.iter().map(|candidate| candidate.words).max()
    }

    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new("cannot note what a document contains").because(e))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::new("a note of `decontaminate` is not one of this version").hint("run the stage anew");
        let note: Self = serde_json::from_slice(bytes).map_err(|e| broken().because(e))?;
        if note.version == VERSION { Ok(note) } else { Err(broken()) }
    }

    /// The verdict once it is known what is frequent.
    pub fn judge(&self, items: &[Item], frequent: &dyn Fn(u64) -> bool, action: Action) -> Judgement {
        let mut found: Vec<Value> = Vec::new();
        let mut formulas: Vec<Value> = Vec::new();
        for candidate in &self.candidates {
            let Some(item) = items.get(candidate.item as usize) else { continue };
            let facts = weigh(item, &candidate.runs, frequent);
            match facts.fired {
                Some(rule) => found.push(json!({
                    "set": item.set, "item": item.id, "rule": rule, "run": facts.run, "cover": round(facts.cover),
                    "share": round(facts.share), "snippet": candidate.snippet,
                })),
                None => formulas.push(json!({"set": item.set, "item": item.id, "run": facts.run})),
            }
        }
        let dropped = (!found.is_empty() && action == Action::Drop).then_some(CONTAMINATED);
        Judgement { dropped, details: json!({"contains": found, "only formulas of": formulas}) }
    }
}

fn round(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// Whether the run is a line of the text.
fn is_line(text: &str, places: &[Range<usize>], one: &Located) -> bool {
    let (first, last) = (one.document as usize, (one.document + one.run.words) as usize - 1);
    // Bytes between two words; none between two words that one span was normalised to.
    let breaks = |after: usize, before: usize| {
        text.as_bytes().get(after..before).is_some_and(|gap| gap.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
    };
    let begins = first == 0 || breaks(places[first - 1].end, places[first].start);
    let ends = last + 1 == places.len() || breaks(places[last].end, places[last + 1].start);
    begins && ends && !(first..last).any(|word| breaks(places[word].end, places[word + 1].start))
}

/// The longest run as it stands in the text, with a little around it, on one line.
fn snippet(text: &str, places: &[Range<usize>], runs: &[Located]) -> String {
    let Some(one) = runs.iter().rev().max_by_key(|one| one.run.words) else { return String::new() };
    let start = places[one.document as usize].start;
    let end = places[(one.document + one.run.words) as usize - 1].end.min(start + SHOWN);
    let from = text.floor_char_boundary(start.saturating_sub(AROUND));
    let to = text.ceil_char_boundary((end + AROUND).min(text.len()));
    text[from..to].split_whitespace().collect::<Vec<_>>().join(" ")
}
