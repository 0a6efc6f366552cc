//! Reads some of a partition, does to it what the stage would do, and measures.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use psann_core::source::Partition;
use psann_core::{DataSource, Error, Observer, Result};

use super::super::dropped;
use super::super::judge::{Dropped, judge};
use super::super::passes::Filters;
use super::super::report::Amount;
use super::super::rows::Rows;
use super::super::segment::PLACE_BYTES;
use super::super::spill::ENTRY_BYTES;
use super::super::{PrepareOptions, Recording};
use crate::columns::{Effort, encoded_size};

/// Text that is encoded to see how small it gets, in bytes, per cluster and pass.
const ENCODED_BYTES: u64 = 8 << 20;
/// Dropped documents that are encoded.
const ENCODED_DROPPED: usize = 1 << 13;
/// Packed bytes that must have been read before they tell how far reading came: buffers and blocks blur it.
const TELLING_BYTES: u64 = 4 << 20;

/// What is read of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Text to filter, in bytes; at least one batch is filtered.
    pub bytes: u64,
    /// Most documents.
    pub documents: Option<u64>,
    /// Time to filter.
    pub filter: Duration,
    /// Time to read on, unfiltered, to learn how much text there is.
    pub read_on: Duration,
    /// Most keys to hold on to.
    pub keys: usize,
}

/// A document as a corpus filter noted it.
#[derive(Debug)]
pub struct Noted {
    /// Where it stands.
    pub place: u64,
    /// Bytes of its text.
    pub bytes: u64,
    /// Its keys.
    pub keys: Vec<u64>,
    /// Its note.
    pub note: Vec<u8>,
}

/// What a sample shows of one partition: amounts of what was filtered.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Position of the partition.
    pub partition: usize,
    /// What was filtered.
    pub read: Amount,
    /// What the row filters left.
    pub kept: Amount,
    /// What each filter of the recipe dropped; nothing for corpus filters.
    pub dropped: Vec<Amount>,
    /// Whether that was all of it.
    pub whole: bool,
    /// Text of the whole partition, if reading went to its end.
    pub text: Option<u64>,
    /// Text and packed bytes of what was read in all, behind the first batch.
    pub pace: (u64, u64),
    /// Packed bytes read, if the system counts them.
    pub packed: Option<u64>,
    /// Processor time of reading, in seconds.
    pub reading: f64,
    /// Processor time of filters and keys, in seconds.
    pub filtering: f64,
    /// Processor time of encoding segments, in seconds.
    pub storing: f64,
    /// Processor time of encoding shards, in seconds.
    pub publishing: f64,
    /// Bytes of segments: text, places, of all passes.
    pub stored: f64,
    /// Bytes of keys, notes and ranks.
    pub keyed: f64,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of the record of dropped documents.
    pub recorded: f64,
    /// Bytes of shards.
    pub published: f64,
    /// Per corpus filter of the recipe, by index, what it noted.
    pub noted: BTreeMap<usize, Vec<Noted>>,
    /// Documents and files the source left out, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// What the clusters of a sample have in common.
pub struct Sampler<'a> {
    /// The options of the stage.
    pub options: &'a PrepareOptions,
    /// The source.
    pub source: &'a dyn DataSource,
    /// The filters.
    pub filters: &'a Filters,
    /// Who may ask to stop.
    pub observer: &'a dyn Observer,
}

impl Sampler<'_> {
    /// Filters `slice` of a partition and reads on.
    pub fn cluster(&self, index: usize, partition: &Partition, slice: &Slice) -> Result<Cluster> {
        let mut work = Work::new(self, index);
        let packed_before = bytes_read();
        let begin = Instant::now();
        let mut reader = self.source.open(partition, None)?;
        let mut left = slice.documents;
        let (mut ended, mut after_first) = (false, None);
        while left != Some(0) {
            let done = work.cluster.read;
            if done.documents > 0 && (done.bytes >= slice.bytes || begin.elapsed() >= slice.filter) {
                break;
            }
            self.stopped()?;
            let watch = Watch::start();
            let batch = reader.next_batch()?;
            work.cluster.reading += watch.seconds();
            let Some(batch) = batch else {
                ended = true;
                break;
            };
            let mut rows = Rows::number(&batch, index, done.documents)?;
            if let Some(left) = &mut left {
                rows = rows.slice(0, rows.len().min(usize::try_from(*left).unwrap_or(usize::MAX)))?;
                *left -= rows.len() as u64;
            }
            work.take(rows, slice)?;
            if after_first.is_none() {
                after_first = Some((work.cluster.read.bytes, bytes_read()));
            }
        }
        work.encode()?;
        let mut cluster = work.cluster;
        let mut text = cluster.read.bytes;
        cluster.whole = ended;
        let begin = Instant::now();
        while !ended && begin.elapsed() < slice.read_on {
            self.stopped()?;
            match reader.next_batch()? {
                Some(batch) => text += batch.texts().map(|text| text.len() as u64).sum::<u64>(),
                None => ended = true,
            }
            // Nothing stood behind what was filtered.
            cluster.whole = ended && text == cluster.read.bytes;
        }
        cluster.text = ended.then_some(text);
        cluster.packed = packed_before.zip(bytes_read()).map(|(before, now)| now.saturating_sub(before));
        if let Some((first, Some(packed))) = after_first
            && let Some(now) = bytes_read()
            && now.saturating_sub(packed) >= TELLING_BYTES
        {
            cluster.pace = (text - first, now - packed);
        }
        cluster.skipped = reader.skipped();
        Ok(cluster)
    }

    fn stopped(&self) -> Result<()> {
        if self.observer.stop_requested() {
            return Err(Error::interrupted("stopped while sampling; nothing was written"));
        }
        Ok(())
    }
}

/// A cluster in the making, with some of what was filtered, to be encoded.
struct Work<'a> {
    sampler: &'a Sampler<'a>,
    cluster: Cluster,
    /// Per pass what was kept of it, and all that it left.
    stored: Vec<(Vec<Rows>, Amount)>,
    dropped: Vec<Dropped>,
    keys_held: usize,
}

impl<'a> Work<'a> {
    fn new(sampler: &'a Sampler<'a>, partition: usize) -> Self {
        let filters = sampler.filters;
        Self {
            sampler,
            cluster: Cluster { partition, dropped: vec![Amount::default(); filters.all.len()], ..Cluster::default() },
            stored: vec![(Vec::new(), Amount::default()); filters.passes.len()],
            dropped: Vec::new(),
            keys_held: 0,
        }
    }

    /// Puts a batch through all passes. What corpus filters would drop goes through.
    fn take(&mut self, mut rows: Rows, slice: &Slice) -> Result<()> {
        let filters = self.sampler.filters;
        let texts = self.sampler.options.dropped == Recording::Texts;
        self.cluster.read.add(Amount { documents: rows.len() as u64, bytes: rows.bytes() });
        for (number, pass) in filters.passes.iter().enumerate() {
            let watch = Watch::start();
            let judged = judge(filters, pass, rows, texts)?;
            self.cluster.filtering += watch.seconds();
            for (index, report) in pass.rows.iter().zip(&judged.reports) {
                report.dropped.values().for_each(|amount| self.cluster.dropped[*index].add(*amount));
            }
            for (index, keys) in pass.corpus.iter().zip(judged.keys) {
                let notes: usize = keys.notes.iter().map(Vec::len).sum();
                let table = if notes > 0 { 8 * judged.rows.len() } else { 0 };
                self.cluster.keyed += (keys.entries.len() * ENTRY_BYTES + notes + table + 8 * keys.ranks.len()) as f64;
                self.cluster.keys += keys.entries.len() as u64;
                if self.keys_held + keys.entries.len() <= slice.keys {
                    self.keys_held += keys.entries.len();
                    let noted = self.cluster.noted.entry(*index).or_default();
                    let first = noted.len();
                    let mut notes = keys.notes.into_iter();
                    for (row, text) in judged.rows.batch().texts().enumerate() {
                        noted.push(Noted {
                            place: judged.rows.place(row).0,
                            bytes: text.len() as u64,
                            keys: Vec::new(),
                            note: notes.next().unwrap_or_default(),
                        });
                    }
                    keys.entries.iter().for_each(|(key, row)| noted[first + *row as usize].keys.push(*key));
                }
            }
            self.dropped.extend(judged.dropped);
            self.dropped.truncate(ENCODED_DROPPED);
            rows = judged.rows;
            let amount = Amount { documents: rows.len() as u64, bytes: rows.bytes() };
            let (waiting, all) = &mut self.stored[number];
            if all.bytes < ENCODED_BYTES && !rows.is_empty() {
                waiting.push(rows.clone());
            }
            all.add(amount);
            if number + 1 == filters.passes.len() {
                self.cluster.kept.add(amount);
            }
        }
        Ok(())
    }

    /// Encodes what was put aside, and takes the rest to be like it.
    fn encode(&mut self) -> Result<()> {
        let last = self.stored.len() - 1;
        for (number, (waiting, all)) in std::mem::take(&mut self.stored).into_iter().enumerate() {
            self.cluster.stored += (all.documents * PLACE_BYTES) as f64;
            let encoded: u64 = waiting.iter().map(Rows::bytes).sum();
            if encoded == 0 {
                continue;
            }
            let share = all.bytes as f64 / encoded as f64;
            let group = Rows::concat(&waiting)?;
            let watch = Watch::start();
            self.cluster.stored += encoded_size(group.records(), Effort::Light)? as f64 * share;
            self.cluster.storing += watch.seconds() * share;
            if number == last {
                let watch = Watch::start();
                self.cluster.published = encoded_size(&group.published()?, Effort::Thorough)? as f64 * share;
                self.cluster.publishing = watch.seconds() * share;
            }
        }
        if self.sampler.options.dropped != Recording::None && !self.dropped.is_empty() {
            let all: u64 = self.cluster.dropped.iter().map(|amount| amount.documents).sum();
            let share = all as f64 / self.dropped.len() as f64;
            let watch = Watch::start();
            let records = dropped::records(&std::mem::take(&mut self.dropped))?;
            self.cluster.recorded = encoded_size(&records, Effort::Light)? as f64 * share;
            // Once in the segment, once in the corpus.
            self.cluster.storing += 2.0 * watch.seconds() * share;
        }
        Ok(())
    }
}

/// Processor time of this thread, where the system tells it; else time.
struct Watch {
    wall: Instant,
    processor: Option<u64>,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor_nanoseconds() }
    }

    fn seconds(&self) -> f64 {
        let wall = self.wall.elapsed().as_secs_f64();
        match self.processor.zip(processor_nanoseconds()) {
            Some((before, now)) if now > before => wall.min((now - before) as f64 / 1e9),
            _ => wall,
        }
    }
}

fn processor_nanoseconds() -> Option<u64> {
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// Bytes that this thread asked the system for. Sources unpack what they read in the thread that asks them for batches,
/// so this tells how far into a packed file they came; they themselves do not say.
fn bytes_read() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: "))?.trim().parse().ok()
}
