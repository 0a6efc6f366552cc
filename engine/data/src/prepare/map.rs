//! A pass over the corpus: workers take partitions, read them, apply the pass's filters and leave segments.
//!
//! A partition is cut into segments of a fixed amount of text, so what is written does not depend on the number of
//! workers. A killed run goes on behind the last complete segment of each partition.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{DataSource, Error, Event, Observer, Result};
use rayon::prelude::*;

use super::judge::{Dropped, Judged, has_column, judge};
use super::passes::{Filters, Pass};
use super::rows::Rows;
use super::segment::{End, Record, Segment, SegmentWriter};
use super::stored::{Stored, StoredRows};

/// What a pass reads.
pub enum Input<'a> {
    /// The source itself.
    Source(&'a dyn DataSource, Vec<Partition>),
    /// What an earlier pass left, without what its corpus filters dropped.
    Stored(Vec<Stored>),
}

impl Input<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Source(_, partitions) => partitions.len(),
            Self::Stored(segments) => segments.len(),
        }
    }

    /// Size for progress, in bytes.
    fn bytes(&self, partition: usize) -> u64 {
        match self {
            Self::Source(_, partitions) => partitions[partition].bytes,
            Self::Stored(segments) => segments[partition].record.kept.bytes,
        }
    }
}

/// How a pass is run.
pub struct MapJob<'a> {
    /// What it is called while it runs.
    pub task: String,
    /// All filters of the recipe.
    pub filters: &'a Filters,
    /// Those of this pass.
    pub pass: &'a Pass,
    /// What it reads.
    pub input: Input<'a>,
    /// Folder of its segments.
    pub folder: &'a Path,
    /// Text read into one segment, in bytes.
    pub segment_bytes: u64,
    /// Most documents to read.
    pub limit: Option<u64>,
    /// Threads that read and filter.
    pub workers: usize,
    /// What is recorded of dropped documents.
    pub recording: super::Recording,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

/// Runs the pass and gives its segments with their records, in order.
pub fn map(job: &MapJob<'_>) -> Result<Vec<(Segment, Record)>> {
    let total = (0..job.input.len()).map(|partition| job.input.bytes(partition)).sum();
    // With a limit, documents must be counted in order.
    let workers = if job.limit.is_some() { 1 } else { job.workers.min(job.input.len()).max(1) };
    let state = State {
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        done: AtomicU64::new(0),
        documents: AtomicU64::new(0),
        total,
        started: std::time::Instant::now(),
        text: AtomicU64::new(0),
        inner: job.workers.div_ceil(workers),
    };
    let finished: Mutex<BTreeMap<usize, Vec<(Segment, Record)>>> = Mutex::new(BTreeMap::new());
    let worker = || -> Result<()> {
        let mut left = job.limit;
        loop {
            let partition = state.next.fetch_add(1, Ordering::Relaxed);
            if partition >= job.input.len() || state.failed.load(Ordering::Relaxed) || left == Some(0) {
                return Ok(());
            }
            let segments = one_partition(job, &state, partition, &mut left)
                .inspect_err(|_| state.failed.store(true, Ordering::Relaxed))?;
            lock(&finished).insert(partition, segments);
        }
    };
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().map(join).collect()
    });
    job.observer.event(Event::Done { task: job.task.clone() });
    // Which worker met its error first is chance; an interruption only hides what else went wrong.
    let (stops, errors): (Vec<Error>, Vec<Error>) = outcomes
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| error.fault() == psann_core::error::Fault::Interrupted);
    if let Some(error) = errors.into_iter().chain(stops).next() {
        return Err(error);
    }
    let finished = finished.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(finished.into_values().flatten().collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct State {
    next: AtomicUsize,
    failed: AtomicBool,
    done: AtomicU64,
    documents: AtomicU64,
    total: u64,
    started: std::time::Instant,
    /// Text filtered by this process.
    text: AtomicU64,
    /// Batches of one partition that are filtered at once.
    inner: usize,
}

/// Makes the segments of a partition that are not there yet.
fn one_partition(
    job: &MapJob<'_>,
    state: &State,
    partition: usize,
    left: &mut Option<u64>,
) -> Result<Vec<(Segment, Record)>> {
    let mut segments: Vec<(Segment, Record)> = Vec::new();
    let segment = |number: usize| Segment { folder: job.folder.to_owned(), partition, number };
    while segments.last().is_none_or(|(_, record)| record.next.is_some()) {
        let found = segment(segments.len());
        let Some(record) = found.record()? else { break };
        if let Some(left) = left {
            *left = left.saturating_sub(record.read.documents);
        }
        state.documents.fetch_add(record.read.documents, Ordering::Relaxed);
        segments.push((found, record));
    }
    let (resume, row) = match segments.last() {
        Some((_, record)) if record.next.is_none() => {
            progress(job, state, job.input.bytes(partition));
            return Ok(segments);
        }
        Some((_, record)) => (record.next.clone(), record.next_row),
        None => (None, 0),
    };
    let mut reader = Reader::open(job, partition, resume.as_ref(), row)?;
    let mut told = 0;
    loop {
        let new = segment(segments.len());
        let record = one_segment(job, state, &mut reader, new.clone(), left, &mut told, partition)?;
        let ended = record.next.is_none();
        segments.push((new, record));
        if ended {
            // What is left of the partition's size, however much text it held.
            progress(job, state, job.input.bytes(partition).saturating_sub(told));
            return Ok(segments);
        }
    }
}

fn stopped() -> Error {
    Error::interrupted("stopped while preparing text; the same command goes on from here")
}

fn progress(job: &MapJob<'_>, state: &State, bytes: u64) {
    let done = state.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
    let rate = state.text.load(Ordering::Relaxed) as f64 / 1e6 / state.started.elapsed().as_secs_f64().max(1e-3);
    let detail = format!("{} documents · {rate:.1} MB/s of text", state.documents.load(Ordering::Relaxed));
    job.observer.event(Event::Progress {
        task: job.task.clone(),
        done,
        total: Some(state.total),
        unit: "bytes",
        detail,
    });
}

fn one_segment(
    job: &MapJob<'_>,
    state: &State,
    reader: &mut Reader<'_>,
    segment: Segment,
    left: &mut Option<u64>,
    told: &mut u64,
    partition: usize,
) -> Result<Record> {
    let stored = matches!(job.input, Input::Stored(_));
    let recording = job.recording != super::Recording::None;
    let mut writer = SegmentWriter::create(segment, job.pass.corpus.len(), recording, stored)?;
    let mut chunk = reader.chunk(state.inner, left)?;
    loop {
        let stop = job.observer.stop_requested() || state.failed.load(Ordering::Relaxed);
        if stop && stored {
            return Err(stopped());
        }
        if chunk.batches.is_empty() {
            break;
        }
        // What was read before a stop is kept as a segment of its own.
        let full = stop || (!stored && writer.read_bytes() + chunk.bytes >= job.segment_bytes);
        let batches = std::mem::take(&mut chunk.batches);
        // The next chunk is read while this one is filtered, unless it belongs to the next segment.
        let (judged, next) = rayon::join(
            || judge_all(job, batches),
            || if full { Ok(Chunk::default()) } else { reader.chunk(state.inner, left) },
        );
        for (dropped, judged, had_column) in judged? {
            writer.gone(dropped)?;
            state.documents.fetch_add(judged.read.documents, Ordering::Relaxed);
            writer.push(judged, &had_column)?;
        }
        state.text.fetch_add(chunk.bytes, Ordering::Relaxed);
        // A partition's size on disk is not that of its text; its part of the whole never exceeds it.
        let step = chunk.bytes.min(job.input.bytes(partition).saturating_sub(*told));
        *told += step;
        progress(job, state, step);
        if full {
            let next = Some(reader.position());
            let record = writer.publish(reader.end(next))?;
            return if stop { Err(stopped()) } else { Ok(record) };
        }
        chunk = next?;
    }
    writer.publish(reader.end(None))
}

/// What was dropped before, what the pass made of the rest, and which corpus filters found their column.
type JudgedBatch = (Vec<Dropped>, Judged, Vec<bool>);

fn judge_all(job: &MapJob<'_>, batches: Vec<(Rows, Vec<Dropped>)>) -> Result<Vec<JudgedBatch>> {
    let texts = job.recording == super::Recording::Texts;
    let one = |(rows, dropped): (Rows, Vec<Dropped>)| -> Result<JudgedBatch> {
        let had_column = job.pass.corpus.iter().map(|index| has_column(&job.filters.all[*index], &rows)).collect();
        Ok((dropped, judge(job.filters, job.pass, rows, texts)?, had_column))
    };
    batches.into_par_iter().map(one).collect()
}

fn difference(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = now.iter().map(|(reason, count)| (reason.clone(), count - before.get(reason).copied().unwrap_or(0)));
    since.filter(|(_, count)| *count > 0).collect()
}

/// Some batches of a partition, each with what earlier corpus filters dropped of the same stretch.
#[derive(Default)]
struct Chunk {
    batches: Vec<(Rows, Vec<Dropped>)>,
    bytes: u64,
}

/// Reads one partition of whatever the pass reads.
struct Reader<'a> {
    kind: Kind<'a>,
    partition: usize,
    /// Documents read so far.
    row: u64,
    /// What was skipped, and how many warnings there were, at the end of the last segment.
    told: (BTreeMap<String, u64>, usize),
}

enum Kind<'a> {
    Source(Box<dyn BatchReader + 'a>),
    Stored(Box<StoredRows>),
}

impl<'a> Reader<'a> {
    fn open(job: &'a MapJob<'_>, partition: usize, resume: Option<&ResumeToken>, row: u64) -> Result<Self> {
        let kind = match &job.input {
            Input::Source(source, partitions) => Kind::Source(source.open(&partitions[partition], resume)?),
            Input::Stored(segments) => {
                // A segment makes one segment: it is never opened in its middle.
                Kind::Stored(Box::new(StoredRows::open(
                    &segments[partition],
                    job.recording == super::Recording::Texts,
                )?))
            }
        };
        Ok(Self { kind, partition, row, told: (BTreeMap::new(), 0) })
    }

    /// Reads `count` batches, fewer at the end or where the limit of documents is reached.
    fn chunk(&mut self, count: usize, left: &mut Option<u64>) -> Result<Chunk> {
        let mut chunk = Chunk::default();
        while chunk.batches.len() < count && *left != Some(0) {
            let (rows, dropped) = match &mut self.kind {
                Kind::Source(reader) => {
                    let Some(batch) = reader.next_batch()? else { break };
                    (Rows::number(&batch, self.partition, self.row)?, Vec::new())
                }
                Kind::Stored(stored) => {
                    let Some(both) = stored.next_rows()? else { break };
                    both
                }
            };
            let most = left.map_or(rows.len(), |left| rows.len().min(left as usize));
            let rows = if most < rows.len() { rows.slice(0, most)? } else { rows };
            if let Some(left) = left {
                *left -= rows.len() as u64;
            }
            self.row += (rows.len() + dropped.len()) as u64;
            chunk.bytes += rows.bytes();
            chunk.batches.push((rows, dropped));
        }
        Ok(chunk)
    }

    fn position(&self) -> ResumeToken {
        match &self.kind {
            Kind::Source(reader) => reader.position(),
            Kind::Stored(_) => ResumeToken(self.row.to_string()),
        }
    }

    /// The end of a segment, with what was skipped and warned of since the one before. What opening a file counted
    /// belongs to the first.
    fn end(&mut self, next: Option<ResumeToken>) -> End {
        let stored_reports = match &mut self.kind {
            Kind::Source(_) => Vec::new(),
            Kind::Stored(stored) => stored.take_reports(),
        };
        let (all_skipped, all_warnings) = (self.skipped(), self.warnings());
        let skipped = difference(&all_skipped, &self.told.0);
        let warnings = all_warnings[self.told.1.min(all_warnings.len())..].to_vec();
        self.told = (all_skipped, all_warnings.len());
        End { next, next_row: self.row, skipped, warnings, stored_reports }
    }

    fn warnings(&self) -> Vec<String> {
        match &self.kind {
            Kind::Source(reader) => reader.warnings(),
            Kind::Stored(_) => Vec::new(),
        }
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        match &self.kind {
            Kind::Source(reader) => reader.skipped(),
            Kind::Stored(_) => BTreeMap::new(),
        }
    }
}
