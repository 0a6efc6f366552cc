//! The data of a run as training reads it: which text, in which batches, and which batch a step saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::plan::{Component, Flow, Plan};
use psann_core::tokens::{BatchStream, Cursor, RowSources, Skip};
use psann_core::{Error, Result, Tokenizer};
use psann_data::loader::{Loader, LoaderOptions, TrainingText};
use psann_data::{Split, tokenizer};
use psann_train::PretrainOptions;
use psann_train::options::Packing;
use serde_json::Value;

use super::directory::{self, RunDirectory};
use super::{earlier, stages};

/// How training reads its text.
pub fn loader_options(options: &PretrainOptions, rank: usize, ranks: usize) -> LoaderOptions {
    LoaderOptions {
        seq_len: options.seq_len as usize,
        rows: options.batch as usize,
        seed: options.seed,
        rank,
        ranks,
        separate_documents: options.packing == Packing::Documents,
        window: options.shuffle_window.0,
        skip: options.skip.iter().map(|[first, last]| Skip(*first, *last)).collect(),
        threads: options.tokenizer_threads.unwrap_or(0) as usize,
    }
}

/// Whether stage `index` comes after one that prepares text.
pub fn is_prepared(plan: &Plan, index: usize) -> bool {
    earlier(plan, index, "prepare").is_some()
}

/// The source that stage `index` reads because nothing is prepared: that of the `pretrain` stage which it is, or which
/// comes next to it.
///
/// # Errors
/// When there are filters, which only `prepare` applies.
pub fn source(plan: &Plan, index: usize) -> Result<Option<Component>> {
    let stage = &plan.stages[index];
    let of_pretrain = if stage.kind == "tokenizer" {
        plan.stages[index..].iter().find(|stage| stage.kind == "pretrain")
    } else {
        plan.stages[..=index].iter().rev().find(|stage| stage.kind == "pretrain")
    };
    let Some(data) = of_pretrain.and_then(|stage| stage.options.get("data")).filter(|data| !data.is_null()) else {
        return Ok(None);
    };
    if is_prepared(plan, index) {
        return Err(Error::usage("`pretrain` has `data`, and a stage `prepare` comes before it")
            .hint("leave `data` out to train on what is prepared"));
    }
    let flow: Flow = serde_json::from_value(data.clone()).map_err(|e| Error::usage("`data` is no flow").because(e))?;
    match flow.filters.first() {
        None => Ok(Some(flow.source)),
        Some(filter) => Err(Error::usage(format!("`pretrain` cannot apply filter `{}`", filter.0.name))
            .hint("put the source and its filters into `.prepare(…)`")),
    }
}

/// What rows of the batch of one step held.
pub struct Seen {
    /// Where each row came from.
    pub sources: Vec<RowSources>,
    /// The tokens of each row.
    pub tokens: Vec<Vec<u32>>,
    /// The rolling hash of each row behind the step, as a checkpoint of the step holds it.
    pub hashes: Vec<String>,
    /// What made them.
    pub tokenizer: Arc<dyn Tokenizer>,
}

/// The batch that step `step` of the run in `path` saw, or one row of it. Starts at the checkpoint before the step, and
/// tokenises the wanted rows only.
///
/// # Errors
/// When there is no such step or row, or the text is not there any more.
pub fn seen(path: &Path, step: u64, row: Option<u64>) -> Result<Seen> {
    let run = RunDirectory::existing(path)?;
    let plan: Plan = directory::read_json(&run.path().join("plan.json"))?;
    let index = plan.stages.iter().rposition(|stage| stage.kind == "pretrain").ok_or_else(|| {
        Error::usage(format!("the run `{}` has no training", path.display())).hint("its recipe needs a `.pretrain(…)`")
    })?;
    let options = PretrainOptions::parse(&plan.stages[index].options)?;
    if step == 0 || options.planned_steps().is_some_and(|steps| step > steps) {
        return Err(Error::usage(format!("the run has no step {step}")).hint("steps are counted from 1"));
    }
    if row.is_some_and(|row| row >= options.batch) {
        return Err(Error::usage(format!("a batch of {} sequences has no such row", options.batch))
            .hint("rows are counted from 0"));
    }
    let entries = run.entries()?;
    let folder = |kind: &str| -> Result<PathBuf> {
        let (index, stage) = earlier(&plan, index + 1, kind)
            .ok_or_else(|| Error::usage(format!("the run `{}` has no stage `{kind}`", path.display())))?;
        let elsewhere = stages::corpus_elsewhere(stage);
        let own = entries.get(index).map(|entry| run.path().join(&entry.folder));
        elsewhere.or(own).ok_or_else(|| Error::new(format!("`{}` does not list its stages", path.display())))
    };
    let text = match source(&plan, index)? {
        Some(source) => TrainingText::source(&source)?,
        None => TrainingText::prepared(&folder("prepare")?, Split::Train),
    };
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(tokenizer::open(&folder("tokenizer")?)?);
    let (rank, ranks) = row.map_or((0, 1), |row| (row as usize, options.batch as usize));
    let mut loader = Loader::new(&text, Arc::clone(&tokenizer), loader_options(&options, rank, ranks))?;
    let cursors = cursors(&folder("pretrain")?)?;
    // What a guard left out is known to every checkpoint after it.
    for skip in cursors.last().into_iter().flat_map(|cursor| &cursor.skip) {
        loader.skip(*skip)?;
    }
    if let Some(cursor) = cursors.iter().rfind(|cursor| cursor.batches < step) {
        loader.seek(cursor)?;
    }
    let mut batch = loader.next_batch()?;
    while loader.batches() < step {
        batch = loader.next_batch()?;
    }
    let tokens = batch.tokens.chunks(batch.columns).map(<[u32]>::to_vec).collect();
    let hashes = loader.rows().iter().map(|row| row.hash.clone()).collect();
    Ok(Seen { sources: loader.sources(), tokens, hashes, tokenizer })
}

/// The data cursors of the checkpoints in `folder`, oldest first.
fn cursors(folder: &Path) -> Result<Vec<Cursor>> {
    let Ok(checkpoints) = fs::read_dir(folder.join("checkpoints")) else { return Ok(Vec::new()) };
    let states = checkpoints.flatten().map(|entry| entry.path().join("state.json")).filter(|state| state.is_file());
    let cursor = |state: PathBuf| -> Result<Option<Cursor>> {
        let value: Value = directory::read_json(&state)?;
        let cursor = value.get("cursor").cloned().map(serde_json::from_value).transpose();
        cursor.map_err(|e| Error::new(format!("`{}` is damaged", state.display())).because(e))
    };
    let mut cursors = states.filter_map(|state| cursor(state).transpose()).collect::<Result<Vec<_>>>()?;
    cursors.sort_by_key(|cursor| cursor.batches);
    Ok(cursors)
}
