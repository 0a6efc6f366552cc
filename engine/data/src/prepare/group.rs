//! What a pass's corpus filters say once all keys are there: equal keys are brought together bucket by bucket, copies
//! become groups of which one document stays, and evidence is judged.
//!
//! Corpus filters of one pass follow one another: what one dropped, the next does not see. Nothing here depends on the
//! order in which threads finish.

use std::fs;
use std::ops::Range;
use std::path::Path;

use psann_core::filter::{Copies, Evidence, Judgement, Rule};
use psann_core::{Error, Event, Observer, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::copies::{Clustered, link_copies};
use super::passes::{Filters, Pass};
use super::report::{Clusters, FilterReport};
use super::rows::Place;
use super::segment::{Record, Segment, has_notes};
use super::spill::{BUCKETS, KeyFile, NotesFile};
use crate::files::{self, cannot_read};

/// What a corpus filter says of one row of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The row.
    pub row: u64,
    /// Index of the filter in the recipe.
    pub filter: usize,
    /// Why it is dropped.
    pub reason: String,
    /// The numbers behind it.
    pub details: Value,
}

/// What the corpus filters of a pass found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Grouped {
    /// Per corpus filter what it saw and kept; reasons and samples are counted where the texts are read again.
    pub reports: Vec<FilterReport>,
    /// Files that filters want to stand beside the corpus.
    pub files: Vec<String>,
}

/// The segments of a pass as one row of documents.
pub struct Corpus<'a> {
    /// The segments and their records.
    pub segments: &'a [(Segment, Record)],
    /// Number of the first document of each segment, and of all.
    pub bases: Vec<u64>,
}

impl<'a> Corpus<'a> {
    /// Numbers the documents of `segments`.
    pub fn new(segments: &'a [(Segment, Record)]) -> Self {
        let mut bases = vec![0];
        for (_, record) in segments {
            bases.push(bases[bases.len() - 1] + record.kept.documents);
        }
        Self { segments, bases }
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        self.bases[self.segments.len()]
    }

    /// The segment of a document and its row there.
    pub fn locate(&self, document: u64) -> (usize, u64) {
        let segment = self.bases.partition_point(|base| *base <= document) - 1;
        (segment, document - self.bases[segment])
    }

    /// The place of a document.
    pub fn place(&self, document: u64) -> Result<Place> {
        let (segment, row) = self.locate(document);
        self.segments[segment].0.place(row)
    }
}

/// A set of documents, one bit each.
#[derive(Debug, Clone)]
pub struct DocumentSet(Vec<u64>);

impl DocumentSet {
    /// None of `documents`.
    pub fn new(documents: u64) -> Self {
        Self(vec![0; documents.div_ceil(64) as usize])
    }

    /// Whether it holds the document.
    pub fn contains(&self, document: u64) -> bool {
        self.0[(document / 64) as usize] >> (document % 64) & 1 == 1
    }

    /// Adds a document.
    pub fn insert(&mut self, document: u64) {
        self.0[(document / 64) as usize] |= 1 << (document % 64);
    }
}

/// What grouping works with.
pub struct GroupJob<'a> {
    /// All filters of the recipe.
    pub filters: &'a Filters,
    /// Those of this pass.
    pub pass: &'a Pass,
    /// Folder of the pass.
    pub folder: &'a Path,
    /// Folder of the corpus, for indices and what filters write.
    pub output: &'a Path,
    /// What the pass left.
    pub corpus: Corpus<'a>,
    /// Bytes that keys may take in memory.
    pub memory: u64,
    /// Whether the keys of what is kept are stored, to compare other corpora with.
    pub index: bool,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

/// Runs the corpus filters of the pass; a finished grouping is not done again.
pub fn group(job: &GroupJob<'_>) -> Result<Grouped> {
    let record = job.folder.join("grouped.json");
    if let Ok(bytes) = fs::read(&record) {
        return serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(format!("`{}` is damaged", record.display())).because(e).hint("remove it and run again")
        });
    }
    let mut dropped = DocumentSet::new(job.corpus.documents());
    let mut grouped = Grouped::default();
    for (position, &index) in job.pass.corpus.iter().enumerate() {
        let named = &job.filters.all[index];
        let task = Task { job, position, index, name: &named.name };
        let mut report = FilterReport::new(&named.name);
        report.had_column = named.filter.column().is_none()
            || job.corpus.segments.iter().any(|(_, record)| record.had_column[position]);
        let Some(corpus) = named.filter.corpus() else { continue };
        let seen = dropped.clone();
        match corpus.rule() {
            Rule::Copies(copies) => task.copies(copies, &mut dropped, &mut report)?,
            Rule::Evidence(evidence) => task.evidence(evidence, &mut dropped, &mut report, &mut grouped.files)?,
        }
        task.count(&seen, &dropped, &mut report)?;
        grouped.reports.push(report);
    }
    let text = serde_json::to_vec(&grouped).map_err(|e| Error::new("cannot write a record").because(e))?;
    files::write(&record, &text)?;
    Ok(grouped)
}

/// One corpus filter at work.
pub struct Task<'a> {
    /// What all filters of the pass share.
    pub job: &'a GroupJob<'a>,
    /// Its position among the corpus filters of the pass.
    pub position: usize,
    /// Its index in the recipe.
    index: usize,
    /// Its name.
    pub name: &'a str,
}

impl Task<'_> {
    /// Ranges of buckets whose keys fit into memory, as many at a time as there are threads.
    fn ranges(&self, files: &[KeyFile]) -> Vec<Range<usize>> {
        const IN_MEMORY: u64 = 16;
        let threads = rayon::current_num_threads() as u64;
        let all: u64 = files.iter().map(|file| file.len(&(0..BUCKETS)) * IN_MEMORY).sum();
        // Small enough for memory, and enough of them to keep all threads busy to the end.
        let budget = (self.job.memory / threads).min(all / (4 * threads));
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut used = u64::MAX;
        for bucket in 0..BUCKETS {
            let bytes: u64 = files.iter().map(|file| file.len(&(bucket..bucket + 1)) * IN_MEMORY).sum();
            match ranges.last_mut() {
                Some(range) if used.saturating_add(bytes) <= budget => {
                    range.end = bucket + 1;
                    used += bytes;
                }
                _ => {
                    ranges.push(bucket..bucket + 1);
                    used = bytes;
                }
            }
        }
        ranges
    }

    /// Calls `visit` with the sorted `(key, document)` of each range, several ranges at a time. Documents in `without`
    /// are left out; documents of an index come first, the corpus is numbered behind its `before` documents.
    pub fn each_range(
        &self,
        index: &[KeyFile],
        index_bases: &[u64],
        without: &DocumentSet,
        visit: impl Fn(&[(u64, u32)]) -> Result<()> + Sync,
    ) -> Result<()> {
        let open = |(segment, _): &(Segment, Record)| KeyFile::open(&segment.file(&format!("keys-{}", self.position)));
        let files: Vec<KeyFile> = self.job.corpus.segments.iter().map(open).collect::<Result<_>>()?;
        let before = index_bases.last().copied().unwrap_or(0);
        let ranges = self.ranges(&files);
        let task = format!("grouping `{}`", self.name);
        let done = std::sync::atomic::AtomicU64::new(0);
        let outcome = ranges.par_iter().try_for_each(|range| {
            if self.job.observer.stop_requested() {
                return Err(Error::interrupted("stopped while grouping keys; the same command goes on from here"));
            }
            let mut keys: Vec<(u64, u32)> = Vec::new();
            for (file, base) in index.iter().zip(index_bases) {
                file.read(range.clone(), |key, row| keys.push((key, (base + u64::from(row)) as u32)))?;
            }
            for (file, base) in files.iter().zip(&self.job.corpus.bases) {
                file.read(range.clone(), |key, row| {
                    let document = base + u64::from(row);
                    if !without.contains(document) {
                        keys.push((key, (before + document) as u32));
                    }
                })?;
            }
            keys.sort_unstable();
            visit(&keys)?;
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            self.job.observer.event(Event::Progress {
                task: task.clone(),
                done,
                total: Some(ranges.len() as u64),
                unit: "parts",
                detail: String::new(),
            });
            Ok(())
        });
        self.job.observer.event(Event::Done { task });
        outcome
    }

    /// Verifies and opens the notes of all segments; `None` where a segment has none.
    pub fn notes(&self) -> Result<Vec<Option<NotesFile>>> {
        let suffix = format!("notes-{}", self.position);
        let open = |(segment, record): &(Segment, Record)| -> Result<Option<NotesFile>> {
            if !has_notes(record, self.position) {
                return Ok(None);
            }
            segment.verify(record, &[&suffix])?;
            NotesFile::open(&segment.file(&suffix)).map(Some)
        };
        self.job.corpus.segments.iter().map(open).collect()
    }

    fn reason(&self, code: u16) -> &'static str {
        self.job.filters.all[self.index].filter.reasons().get(usize::from(code)).copied().unwrap_or("unnamed")
    }

    fn copies(&self, copies: &dyn Copies, dropped: &mut DocumentSet, report: &mut FilterReport) -> Result<()> {
        let clustered = link_copies(self, copies, dropped)?;
        report.clusters = Some(clusters(&clustered));
        let (of_corpus, of_index) = copies.reasons();
        for (number, (segment, record)) in self.job.corpus.segments.iter().enumerate() {
            let base = self.job.corpus.bases[number];
            let mut verdicts = VerdictFile::default();
            for row in 0..record.kept.documents {
                let document = base + row;
                if dropped.contains(document) {
                    continue;
                }
                let Some(cluster) = clustered.cluster(document) else { continue };
                let (reason, details) = match clustered.keeper(cluster) {
                    None => (of_index, json!({ "copy_of": "a document of the index" })),
                    Some(keeper) if keeper == document && !copies.drops_all() => continue,
                    Some(keeper) => {
                        let other = if keeper == document { clustered.another(cluster) } else { keeper };
                        (
                            of_corpus,
                            json!({ "copy_of": self.job.corpus.place(other)?.to_string(), "copies": cluster.size }),
                        )
                    }
                };
                dropped.insert(document);
                verdicts.push(&Verdict { row, filter: self.index, reason: self.reason(reason).into(), details })?;
            }
            verdicts.write(segment, self.position)?;
        }
        if self.job.index {
            super::index::write(self, copies, dropped)?;
        }
        Ok(())
    }

    fn evidence(
        &self,
        evidence: &dyn Evidence,
        dropped: &mut DocumentSet,
        report: &mut FilterReport,
        written: &mut Vec<String>,
    ) -> Result<()> {
        let most = evidence.most();
        let found: std::sync::Mutex<Vec<u64>> = std::sync::Mutex::new(Vec::new());
        self.each_range(&[], &[], dropped, |keys| {
            let frequent = keys.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() as u64 > most).map(|run| run[0].0);
            let frequent: Vec<u64> = frequent.collect();
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(frequent);
            Ok(())
        })?;
        let mut frequent = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        frequent.sort_unstable();
        let is_frequent = |key: u64| frequent.binary_search(&key).is_ok();
        let path = self.job.folder.join(format!("judgements-{}.jsonl", self.position));
        let mut judgements = String::new();
        let notes = self.notes()?;
        for (number, (segment, record)) in self.job.corpus.segments.iter().enumerate() {
            let base = self.job.corpus.bases[number];
            let mut verdicts = VerdictFile::default();
            if let Some(file) = &notes[number] {
                let mut note = Vec::new();
                for row in 0..record.kept.documents {
                    if dropped.contains(base + row) {
                        continue;
                    }
                    file.read(row, &mut note)?;
                    if note.is_empty() {
                        continue;
                    }
                    let Some(judgement) = evidence.judge(&note, &is_frequent) else { continue };
                    let line = (segment.place(row)?.to_string(), judgement.dropped, &judgement.details);
                    judgements.push_str(&to_line(&line)?);
                    if let Some(reason) = judgement.dropped {
                        dropped.insert(base + row);
                        let reason = self.reason(reason).into();
                        verdicts.push(&Verdict { row, filter: self.index, reason, details: judgement.details })?;
                    }
                }
            }
            verdicts.write(segment, self.position)?;
        }
        files::write(&path, judgements.as_bytes())?;
        let mut all = judgements.lines().map(|line| {
            let (document, dropped, details): (String, Option<u16>, Value) =
                serde_json::from_str(line).map_err(|e| Error::new("a judgement cannot be read back").because(e))?;
            Ok((document, Judgement { dropped, details }))
        });
        let conclusion = evidence.conclude(&mut all)?;
        report.details = conclusion.report;
        for (name, content) in conclusion.files {
            files::write(&self.job.output.join(&name), &content)?;
            written.push(name);
        }
        Ok(())
    }

    /// Counts what the filter saw and kept: documents dropped before it, and after it.
    fn count(&self, before: &DocumentSet, after: &DocumentSet, report: &mut FilterReport) -> Result<()> {
        for (number, (segment, _)) in self.job.corpus.segments.iter().enumerate() {
            let base = self.job.corpus.bases[number];
            for (row, (_, bytes)) in segment.places()?.into_iter().enumerate() {
                let document = base + row as u64;
                if !before.contains(document) {
                    report.seen.count(u64::from(bytes));
                }
                if !after.contains(document) {
                    report.kept.count(u64::from(bytes));
                }
            }
        }
        Ok(())
    }
}

fn clusters(clustered: &Clustered) -> Clusters {
    let mut clusters = Clusters::default();
    for size in clustered.sizes() {
        clusters.clusters += 1;
        clusters.largest = clusters.largest.max(size);
        clusters.sizes.add(size as f64);
    }
    clusters
}

fn to_line(value: &impl Serialize) -> Result<String> {
    let mut line = serde_json::to_string(value).map_err(|e| Error::new("cannot write a verdict").because(e))?;
    line.push('\n');
    Ok(line)
}

/// Verdicts of one corpus filter on one segment, one JSON object a line.
#[derive(Default)]
struct VerdictFile(String);

impl VerdictFile {
    fn push(&mut self, verdict: &Verdict) -> Result<()> {
        self.0.push_str(&to_line(verdict)?);
        Ok(())
    }

    fn write(self, segment: &Segment, position: usize) -> Result<()> {
        files::write(&segment.file(&format!("verdicts-{position}")), self.0.as_bytes())
    }
}

/// All verdicts on a segment, in order of the rows.
pub fn verdicts(segment: &Segment, corpus_filters: usize) -> Result<Vec<Verdict>> {
    let mut all = Vec::new();
    for position in 0..corpus_filters {
        let path = segment.file(&format!("verdicts-{position}"));
        let text = fs::read_to_string(&path).map_err(|e| cannot_read(&path, e))?;
        for line in text.lines() {
            let verdict: Verdict = serde_json::from_str(line)
                .map_err(|e| Error::new(format!("`{}` is damaged", path.display())).because(e))?;
            all.push(verdict);
        }
    }
    all.sort_by_key(|verdict| verdict.row);
    Ok(all)
}

/// What a segment holds once its corpus filters have spoken.
pub fn kept(segment: &Segment, record: &Record, corpus_filters: usize) -> Result<Vec<(u64, Place, u32)>> {
    let verdicts = verdicts(segment, corpus_filters)?;
    let mut dropped = verdicts.iter().map(|verdict| verdict.row).peekable();
    let mut kept = Vec::with_capacity(record.kept.documents as usize);
    for (row, (place, bytes)) in segment.places()?.into_iter().enumerate() {
        let row = row as u64;
        if dropped.peek() == Some(&row) {
            dropped.next();
        } else {
            kept.push((row, place, bytes));
        }
    }
    Ok(kept)
}
