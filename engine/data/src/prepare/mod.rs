//! The stage `prepare`: reads a source, applies filters in order, counts what they drop and why, and writes what is left
//! as Parquet shards, some documents held out for validation.
//!
//! | part | what |
//! |---|---|
//! | [`passes`] | how the recipe's filters fall into passes over the corpus |
//! | `map`, `judge`, `segment` | a pass: partitions are read, filtered and left as segments with keys and notes |
//! | `group`, `copies`, `union` | what the corpus filters of a pass say once all keys are there |
//! | `write`, `split` | the end: shards, held-out documents, the record of dropped ones |
//! | [`report`], `html` | what is told of it |
//! | [`estimate`](mod@estimate) | what a run would do, told from a sample |
//! | [`explain`](mod@explain) | why a document was dropped |
//!
//! Memory holds some batches per worker, a few bytes per document and what [`PrepareOptions::memory`] allows for keys,
//! never the corpus. A killed run goes on where it was: segments, groupings and shards are complete or absent.

mod copies;
mod distribution;
mod dropped;
pub mod estimate;
mod explain;
mod group;
mod html;
mod index;
mod judge;
mod map;
mod passes;
pub mod report;
pub mod rows;
mod segment;
mod spill;
mod split;
mod stored;
mod union;
mod write;

use std::fs;
use std::path::Path;

use psann_core::plan::Flow;
use psann_core::quantity::{Bytes, Count, Share};
use psann_core::{Error, Event, Observer, Result, registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use distribution::Distribution;
pub use dropped::read as read_dropped;
pub use estimate::{Estimate, SampleBudget, estimate};
pub use explain::{Explanation, Fate, explain, fate, filters_of, read_report};
pub use judge::Dropped;
pub use passes::Filters;
pub use report::{Amount, FilterReport, PrepareReport};
pub use rows::Place;

use crate::documents::Manifest;
use crate::files::{self, cannot_write};
use group::{Corpus, GroupJob};
use map::{Input, MapJob};
use report::MadeOf;
use segment::{Record, Segment};
use stored::Stored;

psann_core::register!(Stage, "prepare", PrepareOptions, version = 2);

/// Reads documents, filters them, holds some out for validation, and stores the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrepareOptions {
    /// The source and its filters.
    pub data: Option<Flow>,
    /// Folder for the corpus, from the working directory; the stage's own folder when not given.
    pub out: Option<String>,
    /// Share of the documents that is held out for validation; at least one document unless it is 0.
    pub validation: Share,
    /// Read no more documents than this.
    pub limit: Option<Count>,
    /// Decides which documents are held out.
    pub seed: u64,
    /// Text of one shard.
    pub shard: Bytes,
    /// What is recorded of dropped documents, for `psann data why`.
    pub dropped: Recording,
    /// Whether the keys of `exact` and `minhash` are stored, so that other corpora can be prepared `against` this one.
    pub index: bool,
    /// Text after which a worker's progress is safe: what a killed run reads again at most, per worker.
    #[schemars(extend("x-effect-free" = true))]
    pub checkpoint: Bytes,
    /// Memory to work with; fewer workers run when it is short.
    #[schemars(extend("x-effect-free" = true))]
    pub memory: Bytes,
    /// Threads; all cores when 0.
    #[schemars(extend("x-effect-free" = true))]
    pub workers: usize,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            data: None,
            out: None,
            validation: Share(0.01),
            limit: None,
            seed: 0,
            shard: Bytes(256 << 20),
            dropped: Recording::Records,
            index: false,
            checkpoint: Bytes(64 << 20),
            memory: Bytes(2 << 30),
            workers: 0,
        }
    }
}

/// What is recorded of dropped documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// Nothing but counts and a few samples.
    None,
    /// Place, name, address, filter, reason and numbers.
    Records,
    /// All that and the text.
    Texts,
}

/// Name of the report in the corpus's folder.
pub const REPORT: &str = "report.json";
/// Name of the report for people.
pub const REPORT_PAGE: &str = "report.html";
/// Memory that one worker takes: batches, a row group and keys of a segment.
const WORKER_BYTES: u64 = 72 << 20;
/// Memory that the program takes whatever it does.
const BASE_BYTES: u64 = 96 << 20;

/// A run of the stage.
pub struct PrepareJob<'a> {
    /// The options.
    pub options: &'a PrepareOptions,
    /// Fingerprint of the options and of what the source holds: work in progress of another one is not continued.
    pub fingerprint: &'a str,
    /// Folder of the corpus.
    pub directory: &'a Path,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

/// Runs the stage.
///
/// # Errors
/// Whatever the source cannot read; a corpus of which nothing is left, with what dropped it.
pub fn prepare(job: &PrepareJob<'_>) -> Result<PrepareReport> {
    let flow = job.options.data.as_ref().ok_or_else(|| {
        Error::usage("there is nothing to prepare")
            .hint("give the stage a source: `.prepare(source::jsonl(\"corpus.jsonl\"))`")
    })?;
    if let Some(report) = finished(job)? {
        return Ok(report);
    }
    let source = registry::source(&flow.source.name, &flow.source.options)?;
    let filters = Filters::new(&flow.filters)?;
    let (work, _lock) = open_work(job)?;
    let partitions = source.partitions()?;
    let mut report = PrepareReport {
        made_of: MadeOf {
            psann: env!("CARGO_PKG_VERSION").into(),
            source: Some(flow.source.clone()),
            source_identity: source.identity()?,
            filters: flow.filters.iter().map(|filter| filter.0.clone()).collect(),
            notes: source.notes()?,
        },
        filters: filters.all.iter().map(|named| FilterReport::new(&named.name)).collect(),
        ..PrepareReport::default()
    };
    report.made_of.notes.iter().for_each(|note| job.observer.event(Event::Note(note.clone())));
    let mut input = Input::Source(source.as_ref(), partitions);
    let mut all: Vec<Vec<Segment>> = Vec::new();
    let mut last: Vec<Stored> = Vec::new();
    for (number, pass) in filters.passes.iter().enumerate() {
        let folder = work.join(format!("pass-{number}"));
        fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, e))?;
        let segments = map::map(&MapJob {
            task: if number == 0 { "reading and filtering".into() } else { format!("filtering, pass {}", number + 1) },
            filters: &filters,
            pass,
            input,
            folder: &folder,
            segment_bytes: job.options.checkpoint.0,
            limit: if number == 0 { job.options.limit.map(|limit| limit.0) } else { None },
            workers: workers(job.options),
            recording: job.options.dropped,
            observer: job.observer,
        })?;
        add_records(&mut report, pass, number, &segments);
        let grouped = group::group(&GroupJob {
            filters: &filters,
            pass,
            folder: &folder,
            output: job.directory,
            corpus: Corpus::new(&segments),
            memory: job.options.memory.0.saturating_sub(BASE_BYTES).max(64 << 20) / 2,
            index: job.options.index,
            observer: job.observer,
        })?;
        for (index, part) in pass.corpus.iter().zip(grouped.reports) {
            let FilterReport { seen, kept, had_column, clusters, details, .. } = part;
            let report = &mut report.filters[*index];
            (report.seen, report.kept, report.had_column) = (seen, kept, had_column);
            (report.clusters, report.details) = (clusters, details);
        }
        all.push(segments.iter().map(|(segment, _)| segment.clone()).collect());
        let corpus_filters = pass.corpus.len();
        last = segments.into_iter().map(|(segment, record)| Stored { segment, record, corpus_filters }).collect();
        input = Input::Stored(last.clone());
    }
    finish(job, report, &work, all, last)
}

/// A text that changes when what a flow reads changes: the source's content, and the files of its filters.
///
/// # Errors
/// Names what is missing.
pub fn identity(flow: &Flow) -> Result<String> {
    let mut identity = registry::source(&flow.source.name, &flow.source.options)?.identity()?;
    for filter in &flow.filters {
        let of_filter = registry::filter(&filter.0.name, &filter.0.options)?.identity()?;
        if !of_filter.is_empty() {
            identity.push('\n');
            identity.push_str(&of_filter);
        }
    }
    Ok(identity)
}

/// Applies all filters to some documents, row filters and the keys of corpus filters: what a pass does, for benches.
///
/// # Errors
/// When a filter fails.
pub fn judge_rows(filters: &Filters, mut rows: rows::Rows) -> Result<(rows::Rows, Vec<FilterReport>)> {
    let mut reports = Vec::new();
    for pass in &filters.passes {
        let judged = judge::judge(filters, pass, rows, false)?;
        reports.extend(judged.reports);
        rows = judged.rows;
    }
    Ok((rows, reports))
}

/// Removes the corpus and the work in progress in `directory`: what this stage writes there, and nothing else.
///
/// # Errors
/// When something cannot be removed.
pub fn forget(directory: &Path) -> Result<()> {
    // First what makes it a corpus, so that a half removed one is none.
    if !directory.join(Manifest::FILE).exists() && !directory.join("work").join(MARK).exists() {
        return Ok(());
    }
    for name in MADE {
        let path = directory.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::new(format!("cannot remove `{}`", path.display())).because(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The report of a corpus that is complete, if it is the one that is asked for.
fn finished(job: &PrepareJob<'_>) -> Result<Option<PrepareReport>> {
    if !job.directory.join(Manifest::FILE).exists() {
        return Ok(None);
    }
    let manifest = Manifest::read(job.directory)?;
    if manifest.fingerprint != job.fingerprint {
        return Err(Error::new(format!("`{}` holds another corpus", job.directory.display()))
            .hint("choose another folder for `out`, or make it anew with `--fresh`"));
    }
    // A kill between the manifest and the end leaves these.
    drop(fs::remove_dir_all(job.directory.join("work")));
    drop(fs::remove_file(job.directory.join(".lock")));
    let path = job.directory.join(REPORT);
    let bytes = fs::read(&path).map_err(|e| files::cannot_read(&path, e))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::new(format!("`{}` is damaged", path.display())).because(e))
}

/// What the stage makes in the folder of a corpus; the first makes it one.
const MADE: [&str; 8] = [Manifest::FILE, REPORT, REPORT_PAGE, "work", "train", "validation", "dropped", "index"];
/// Name of the file in `work` that says whose work it is.
const MARK: &str = "fingerprint";

/// The folder for work in progress, locked for this process; what another plan left there is removed.
///
/// # Errors
/// When the folder holds what this stage did not make, or another process works there.
fn open_work(job: &PrepareJob<'_>) -> Result<(std::path::PathBuf, fs::File)> {
    let work = job.directory.join("work");
    let mark = work.join(MARK);
    if !mark.exists()
        && let Some(foreign) = MADE.iter().map(|name| job.directory.join(name)).find(|path| holds_something(path))
    {
        return Err(Error::new(format!("`{}` is there and no work of psann's", foreign.display()))
            .hint("choose another folder for `out`, or move that away"));
    }
    fs::create_dir_all(&work).map_err(|e| cannot_write(&work, e))?;
    // Beside the folder of the work, which may be removed below.
    let path = job.directory.join(".lock");
    let lock = fs::File::create(&path).map_err(|e| cannot_write(&path, e))?;
    if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
        return Err(Error::new(format!("another process is preparing `{}`", job.directory.display()))
            .hint("wait for it, stop it, or choose another folder for `out`"));
    }
    if mark.exists() && fs::read_to_string(&mark).ok().as_deref() != Some(job.fingerprint) {
        // All but the mark, so that a kill here leaves a folder that is still known as psann's.
        for entry in fs::read_dir(&work).map_err(|e| cannot_write(&work, e))?.flatten() {
            if entry.file_name() != MARK {
                fs::remove_dir_all(entry.path())
                    .or_else(|_| fs::remove_file(entry.path()))
                    .map_err(|e| cannot_write(&work, e))?;
            }
        }
    }
    files::write(&mark, job.fingerprint.as_bytes())?;
    Ok((work, lock))
}

/// Whether something is there, other than a folder in which nothing was finished.
fn holds_something(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => {
            entries.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_none_or(|e| e != "tmp")))
        }
        Err(_) => path.exists(),
    }
}

/// As many workers as cores and memory allow.
fn workers(options: &PrepareOptions) -> usize {
    let cores = if options.workers > 0 { options.workers } else { rayon::current_num_threads() };
    let affordable = options.memory.0.saturating_sub(BASE_BYTES) / WORKER_BYTES;
    cores.min(affordable as usize).max(1)
}

fn add_records(report: &mut PrepareReport, pass: &passes::Pass, number: usize, segments: &[(Segment, Record)]) {
    for (_, record) in segments {
        if number == 0 {
            report.read.add(record.read);
            report.note_skipped(&record.skipped);
            report.note_files(&record.warnings);
        }
        for (index, part) in pass.rows.iter().zip(&record.reports) {
            report.filters[*index].add(part);
        }
        for (index, part) in &record.stored_reports {
            report.filters[*index].add(part);
        }
    }
}

fn finish(
    job: &PrepareJob<'_>,
    mut report: PrepareReport,
    work: &Path,
    all: Vec<Vec<Segment>>,
    segments: Vec<Stored>,
) -> Result<PrepareReport> {
    let choice = write::choose(&segments, job.options.seed, job.options.validation.0)?;
    let (train, validation) = write::count(&segments, &choice)?;
    let nothing = train.documents + validation.documents == 0;
    if !nothing && train.documents == 0 {
        return Err(Error::new("no document is left to train on: the only one was held out for validation")
            .hint("give more documents, or set `validation: 0`"));
    }
    let written = write::write(&write::WriteJob {
        segments,
        all,
        work,
        output: job.directory,
        shard_bytes: job.options.shard.0,
        choice,
        recording: job.options.dropped,
        observer: job.observer,
    })?;
    for (index, part) in &written.reports {
        report.filters[*index].add(part);
    }
    (report.train, report.validation) = (train, validation);
    let mut text = serde_json::to_vec_pretty(&report).map_err(|e| Error::new("cannot write the report").because(e))?;
    text.push(b'\n');
    files::write(&job.directory.join(REPORT), &text)?;
    files::write(&job.directory.join(REPORT_PAGE), html::page(&report).as_bytes())?;
    if nothing {
        return Err(report.nothing_left(&job.directory.join(REPORT_PAGE)));
    }
    Manifest::new(job.fingerprint, written.train, written.validation).write(job.directory)?;
    fs::remove_dir_all(work).map_err(|e| cannot_write(work, e))?;
    drop(fs::remove_file(job.directory.join(".lock")));
    for warning in report.warnings() {
        job.observer.event(Event::Warning(warning));
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
