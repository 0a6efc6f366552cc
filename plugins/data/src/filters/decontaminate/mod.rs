//! `decontaminate`: finds documents that contain what the model will be tested on, so that a benchmark measures what was
//! learnt and not what was read.
//!
//! The items of the benchmarks become an index of 8-grams of normalised words ([`index`]). A document that shares some of
//! them is looked at word by word ([`matching`]), and a rule per benchmark decides ([`rules`]). One thing no single
//! document can tell: whether an n-gram is a formula that the whole web repeats. So the filter has a second half: the
//! engine counts in how many documents each n-gram occurs, and what is frequent stops counting as evidence.
//!
//! At the end it says which items are clean. Evaluation reads that and gives scores on clean items beside those on all.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use psann_core::filter::{Conclusion, CorpusFilter, Evidence, Judgement, Keys, Rule};
use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::benchmarks;
use crate::sources::files::Paths;

pub mod index;
pub mod items;
pub mod matching;
mod note;
mod report;
pub mod rules;
pub mod words;

use index::{Hits, Index};
use items::Item;
use matching::Facts;
use note::Note;
use rules::Rules;
use words::Scratch;

psann_core::register!(Filter, "decontaminate", DecontaminateOptions, Decontaminate::new, primary = "evals");

/// Drops documents that contain items of benchmarks, and reports which items are clean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecontaminateOptions {
    /// A folder with one sub-folder or file per benchmark, or a list of files. Sets named `wikitext`, `lambada`,
    /// `lambada_openai`, `hellaswag`, `piqa` and `winogrande` are read as published; others have some of the columns
    /// `question`, `answer`, `passage` and `text`.
    #[schemars(extend("x-path" = true))]
    pub evals: Option<Paths>,
    /// Names of the sets to look for; empty takes all that are there.
    pub sets: Vec<String>,
    /// An n-gram that more documents than this have is no evidence by itself; 0 takes every n-gram as evidence.
    pub rarity: u64,
    /// What happens to documents that contain an item.
    pub action: Action,
    /// When a shared text is evidence, per benchmark.
    pub rules: Rules,
}

impl Default for DecontaminateOptions {
    fn default() -> Self {
        Self { evals: None, sets: Vec::new(), rarity: 10, action: Action::Drop, rules: Rules::default() }
    }
}

/// What happens to documents that contain an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They are dropped.
    Drop,
    /// They are kept and reported.
    Tag,
}

/// The filter.
pub struct Decontaminate {
    options: DecontaminateOptions,
    /// The benchmarks are read when they are first needed, so that a recipe can be checked without them.
    loaded: OnceLock<Loaded>,
    loading: Mutex<()>,
}

struct Loaded {
    items: Vec<Item>,
    index: Index,
    files: Vec<EvalFile>,
}

/// A split of a set, as it was read.
struct EvalFile {
    set: String,
    split: String,
    digest: String,
}

/// An item that a document has something in common with.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Name of the set.
    pub set: String,
    /// Id of the item.
    pub id: String,
    /// What they have in common, and the rule that says it is too much, if one does.
    pub facts: Facts,
}

const CONTAMINATED: u16 = 0;

impl Decontaminate {
    /// Reads no file yet.
    ///
    /// # Errors
    /// When no benchmarks are named or a threshold makes no sense.
    pub fn new(options: DecontaminateOptions) -> Result<Self> {
        if options.evals.is_none() {
            return Err(Error::usage("`decontaminate` does not know what to look for")
                .hint("give `evals`: a folder with one sub-folder per benchmark, or a list of files"));
        }
        options.rules.check()?;
        Ok(Self { options, loaded: OnceLock::new(), loading: Mutex::new(()) })
    }

    /// Everything `text` has in common with the benchmarks, by itself: no n-gram counts as frequent. Sorted by item.
    pub fn matches(&self, text: &str) -> Result<Vec<Match>> {
        let loaded = self.loaded()?;
        let mut looking = Looking::default();
        loaded.look(text, &mut looking);
        let name = |(item, facts): (u32, Facts)| {
            let item = &loaded.items[item as usize];
            Match { set: item.set.clone(), id: item.id.clone(), facts }
        };
        Ok(note::facts(loaded, &looking, text).into_iter().map(name).collect())
    }

    fn loaded(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        // A panic in another thread leaves nothing half done behind this lock.
        let _one_at_a_time = self.loading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let loaded = Loaded::new(&self.options)?;
        Ok(self.loaded.get_or_init(|| loaded))
    }
}

impl Loaded {
    fn new(options: &DecontaminateOptions) -> Result<Self> {
        let paths: Vec<PathBuf> = match &options.evals {
            None => Vec::new(),
            Some(Paths::One(path)) => vec![path.into()],
            Some(Paths::Many(paths)) => paths.iter().map(PathBuf::from).collect(),
        };
        let mut items = Vec::new();
        let mut files = Vec::new();
        for found in benchmarks::find(&paths, &options.sets)? {
            let benchmark = found.read()?;
            items.extend(items::items(&benchmark, found.layout, &options.rules));
            files.push(EvalFile { set: benchmark.set, split: benchmark.split, digest: benchmark.digest });
        }
        let index = Index::new(&items);
        Ok(Self { items, index, files })
    }

    /// Finds what `text` shares with the items.
    fn look(&self, text: &str, looking: &mut Looking) {
        let Looking { scratch, words, hits } = looking;
        words.clear();
        words::each_word(text, scratch, |hash, _| words.push(hash));
        self.index.hits(words, hits);
    }

    /// The item that these runs are of.
    fn item(&self, runs: &[matching::Located]) -> &Item {
        &self.items[runs[0].item as usize]
    }

    /// The keys that `hits` stand for, each once.
    fn keys(&self, hits: &Hits) -> Vec<u64> {
        let short = |sequence: u32| {
            let one = self.index.sequence(sequence);
            index::short_key(&self.items[one.item as usize].parts[one.part as usize].words)
        };
        let grams = hits.grams.iter().map(|(_, gram)| self.index.key(*gram));
        let mut keys: Vec<u64> = grams.chain(hits.short.iter().map(|(_, sequence)| short(*sequence))).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Buffers for looking at one document after the other.
#[derive(Debug, Default)]
struct Looking {
    scratch: Scratch,
    words: Vec<u64>,
    hits: Hits,
}

impl Filter for Decontaminate {
    fn reasons(&self) -> &[&'static str] {
        &["contaminated"]
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let loaded = self.loaded()?;
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut looking = Looking::default();
        for (row, text) in batch.texts().enumerate() {
            loaded.look(text, &mut looking);
            if let Some(run) = Note::new(loaded, &looking, text).longest() {
                verdicts.count("documents contaminated", 1);
                verdicts.score("longest run", row, run as f64);
                verdicts.dropped[row] = (self.options.action == Action::Drop).then_some(CONTAMINATED);
            }
        }
        Ok(verdicts)
    }

    fn identity(&self) -> Result<String> {
        let line = |file: &EvalFile| format!("{} {} {}\n", file.set, file.split, file.digest);
        let lines: String = self.loaded()?.files.iter().map(line).collect();
        Ok(blake3::hash(lines.as_bytes()).to_hex().to_string())
    }

    fn corpus(&self) -> Option<&dyn CorpusFilter> {
        Some(self)
    }
}

impl CorpusFilter for Decontaminate {
    fn keys(&self, batch: &Batch) -> Result<Keys> {
        let loaded = self.loaded()?;
        let mut keys = Keys::default();
        let mut looking = Looking::default();
        for (row, text) in batch.texts().enumerate() {
            loaded.look(text, &mut looking);
            if looking.hits.is_empty() {
                continue;
            }
            keys.entries.extend(loaded.keys(&looking.hits).into_iter().map(|key| (key, row as u32)));
            // What is no evidence when every n-gram counts will not become any, so it needs no note.
            let note = Note::new(loaded, &looking, text);
            if !note.is_empty() {
                keys.notes.resize(batch.len(), Vec::new());
                keys.notes[row] = note.encode()?;
            }
        }
        Ok(keys)
    }

    fn rule(&self) -> Rule<'_> {
        Rule::Evidence(self)
    }
}

impl Evidence for Decontaminate {
    fn most(&self) -> u64 {
        if self.options.rarity == 0 { u64::MAX } else { self.options.rarity }
    }

    fn judge(&self, note: &[u8], frequent: &dyn Fn(u64) -> bool) -> Option<Judgement> {
        // Neither fails in a run: the identity was asked before, and the note is our own. `conclude` says so if they do.
        let loaded = self.loaded().ok()?;
        let note = Note::decode(note).ok()?;
        Some(note.judge(&loaded.items, frequent, self.options.action))
    }

    fn conclude(&self, judgements: &mut dyn Iterator<Item = Result<(String, Judgement)>>) -> Result<Conclusion> {
        let loaded = self.loaded()?;
        report::conclude(&loaded.items, &loaded.files, &self.options, judgements)
    }
}

#[cfg(test)]
mod tests;
