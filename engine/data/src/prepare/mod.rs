//! The stage `prepare`: reads a source, applies filters in order, counts what they drop, splits off validation documents,
//! and writes what is left.
//!
//! Batches are filtered on all cores and written in the order they were read, so the files are the same whatever the
//! number of cores. Memory holds a few batches at a time, never the corpus.

mod report;
mod split;

use std::path::Path;

use psann_core::plan::Flow;
use psann_core::quantity::{Count, Share};
use psann_core::source::BatchReader;
use psann_core::{Batch, BatchBuilder, Document, Error, Event, Filter, Observer, Result, registry};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use report::{FilterReport, PrepareReport, SplitReport};

use crate::documents::{Split, Writer};
use crate::files;

psann_core::register!(Stage, "prepare", PrepareOptions);

/// Reads documents, filters them, holds some out for validation, and stores the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrepareOptions {
    /// The source and its filters.
    pub data: Option<Flow>,
    /// Share of the documents that is held out for validation; at least one document unless it is 0.
    pub validation: Share,
    /// Read no more documents than this.
    pub limit: Option<Count>,
    /// Decides which documents are held out.
    pub seed: u64,
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self { data: None, validation: Share(0.01), limit: None, seed: 0 }
    }
}

/// Name of the report in the stage's folder.
pub const REPORT: &str = "report.json";

/// Runs the stage into `directory`.
///
/// # Errors
/// Whatever the source cannot read; a corpus of which nothing is left, with what dropped it.
pub fn prepare(options: &PrepareOptions, directory: &Path, observer: &dyn Observer) -> Result<PrepareReport> {
    let flow = options.data.as_ref().ok_or_else(|| {
        Error::usage("there is nothing to prepare")
            .hint("give the stage a source: `.prepare(source::jsonl(\"corpus.jsonl\"))`")
    })?;
    let source = registry::source(&flow.source.name, &flow.source.options)?;
    let mut filters = Vec::new();
    for component in &flow.filters {
        filters.push((component.0.name.clone(), registry::filter(&component.0.name, &component.0.options)?));
    }
    let mut work = Work::new(options, &filters, directory)?;
    let partitions = source.partitions()?;
    let total: u64 = partitions.iter().map(|partition| partition.bytes).sum();
    let task = "preparing text".to_owned();
    let mut read = 0;
    for partition in &partitions {
        let mut reader = source.open(partition, None)?;
        loop {
            if observer.stop_requested() {
                return Err(Error::interrupted("stopped while preparing text; nothing was published"));
            }
            let batches = next_batches(reader.as_mut())?;
            if batches.is_empty() || work.is_full() {
                break;
            }
            work.take(&filters, batches, partition.index)?;
            let detail = format!("{} documents", work.report.read.documents);
            observer.event(Event::Progress {
                task: task.clone(),
                done: read,
                total: Some(total),
                unit: "bytes",
                detail,
            });
        }
        work.report.note_skipped(reader.skipped());
        read += partition.bytes;
        if work.is_full() {
            break;
        }
    }
    observer.event(Event::Done { task });
    let report = work.finish(directory, options)?;
    for warning in report.warnings() {
        observer.event(Event::Warning(warning));
    }
    Ok(report)
}

/// Enough batches to keep all cores busy.
fn next_batches(reader: &mut dyn BatchReader) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    while batches.len() < 2 * rayon::current_num_threads() {
        match reader.next_batch()? {
            Some(batch) => batches.push(batch),
            None => break,
        }
    }
    Ok(batches)
}

type Named = (String, Box<dyn Filter>);

/// The state of one run of the stage.
struct Work<'a> {
    options: &'a PrepareOptions,
    report: PrepareReport,
    train: Writer,
    validation: Writer,
    /// Documents read of the current partition, and its index.
    place: (usize, u64),
}

/// A batch after all filters: the survivors with their row in the batch, and what each filter did.
struct Filtered {
    read: SplitReport,
    kept: Vec<(u64, Document)>,
    filters: Vec<FilterReport>,
}

impl<'a> Work<'a> {
    fn new(options: &'a PrepareOptions, filters: &[Named], directory: &Path) -> Result<Self> {
        let filters = filters.iter().map(|(name, _)| FilterReport::new(name)).collect();
        Ok(Self {
            options,
            report: PrepareReport { filters, ..PrepareReport::default() },
            train: Writer::create(directory, Split::Train)?,
            validation: Writer::create(directory, Split::Validation)?,
            place: (0, 0),
        })
    }

    fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.report.read.documents >= limit.0)
    }

    fn take(&mut self, filters: &[Named], mut batches: Vec<Batch>, partition: usize) -> Result<()> {
        self.shorten(&mut batches)?;
        if self.place.0 != partition {
            self.place = (partition, 0);
        }
        let filtered: Result<Vec<Filtered>> = batches.par_iter().map(|batch| apply(filters, batch)).collect();
        for (batch, filtered) in batches.iter().zip(filtered?) {
            self.report.read.add(&filtered.read);
            for (total, part) in self.report.filters.iter_mut().zip(&filtered.filters) {
                total.add(part);
            }
            for (row, document) in filtered.kept {
                let held_out =
                    split::held_out(self.options.seed, partition, self.place.1 + row, self.options.validation.0);
                if held_out { self.validation.push(document)? } else { self.train.push(document)? }
            }
            self.place.1 += batch.len() as u64;
        }
        Ok(())
    }

    /// Cuts the batches where the limit of documents is reached.
    fn shorten(&self, batches: &mut Vec<Batch>) -> Result<()> {
        let Some(limit) = self.options.limit else { return Ok(()) };
        let mut left = limit.0.saturating_sub(self.report.read.documents) as usize;
        for batch in batches.iter_mut() {
            if batch.len() > left {
                *batch = Batch::try_new(batch.records().slice(0, left))?;
            }
            left -= batch.len();
        }
        batches.retain(|batch| !batch.is_empty());
        Ok(())
    }

    fn finish(mut self, directory: &Path, options: &PrepareOptions) -> Result<PrepareReport> {
        let kept = self.train.documents + self.validation.documents;
        if kept == 0 {
            return Err(self.report.nothing_left());
        }
        self.report.train = SplitReport { documents: self.train.documents, bytes: self.train.bytes };
        self.report.validation = SplitReport { documents: self.validation.documents, bytes: self.validation.bytes };
        self.train.publish()?;
        self.validation.publish()?;
        let lopsided =
            options.validation.0 > 0.0 && self.report.validation.documents == 0 || self.report.train.documents == 0;
        if lopsided && kept >= 2 {
            (self.report.train, self.report.validation) = split::rebalance(directory, options.validation.0)?;
        }
        if self.report.train.documents == 0 {
            return Err(Error::new("no document is left to train on: the only one was held out for validation")
                .hint("give more documents, or set `validation: 0`"));
        }
        let mut text =
            serde_json::to_vec_pretty(&self.report).map_err(|e| Error::new("cannot write the report").because(e))?;
        text.push(b'\n');
        files::write(&directory.join(REPORT), &text)?;
        Ok(self.report)
    }
}

/// Applies all filters to one batch; each sees what the ones before it left. Documents are copied only behind a filter
/// that changed or dropped some.
fn apply(filters: &[Named], batch: &Batch) -> Result<Filtered> {
    let mut read = SplitReport::default();
    batch.texts().for_each(|text| read.count(text));
    // What is left so far, and the rows of `batch` that its documents came from.
    let (mut left, mut rows): (Batch, Vec<u64>) = (batch.clone(), (0..batch.len() as u64).collect());
    let mut reports = Vec::new();
    for (name, filter) in filters {
        let mut report = FilterReport::new(name);
        if !left.is_empty() {
            (left, rows) = apply_one(filter.as_ref(), left, rows, &mut report)
                .map_err(|e| e.within(format!("filter `{name}`")))?;
        }
        reports.push(report);
    }
    let kept = rows.into_iter().enumerate().map(|(index, row)| (row, left.document(index))).collect();
    Ok(Filtered { read, kept, filters: reports })
}

fn apply_one(
    filter: &dyn Filter,
    batch: Batch,
    rows: Vec<u64>,
    report: &mut FilterReport,
) -> Result<(Batch, Vec<u64>)> {
    batch.texts().for_each(|text| report.seen.count(text));
    let mut verdicts = filter.apply(&batch)?;
    if verdicts.dropped.len() != batch.len() {
        return Err(Error::new(format!("judged {} of {} documents", verdicts.dropped.len(), batch.len())));
    }
    for (name, count) in &verdicts.counts {
        *report.counts.entry((*name).to_owned()).or_default() += count;
    }
    let untouched = verdicts.dropped.iter().all(Option::is_none) && verdicts.rewritten.iter().all(Option::is_none);
    if untouched {
        report.kept.add(&report.seen);
        return Ok((batch, rows));
    }
    let (mut builder, mut kept_rows) = (BatchBuilder::default(), Vec::with_capacity(rows.len()));
    for (index, row) in rows.into_iter().enumerate() {
        if let Some(reason) = verdicts.dropped[index] {
            let word = filter.reasons().get(usize::from(reason)).copied().unwrap_or("unnamed");
            *report.dropped.entry(word.to_owned()).or_default() += 1;
            continue;
        }
        let mut document = batch.document(index);
        if let Some(text) = verdicts.rewritten.get_mut(index).and_then(Option::take) {
            document.text = text;
        }
        report.kept.count(&document.text);
        kept_rows.push(row);
        builder.push(document);
    }
    Ok((builder.finish()?, kept_rows))
}

#[cfg(test)]
mod tests;
