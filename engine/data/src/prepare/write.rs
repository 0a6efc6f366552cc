//! The end of the stage: what is left goes into Parquet shards, in the order of the source, with some documents held
//! out; what was dropped goes into a record of its own.
//!
//! Which document lands in which file, and where row groups end, depends on the documents alone. Each shard is written
//! by one worker and known by a record once it is complete, so a killed run writes only the missing ones.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Event, Observer, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dropped::{self, DroppedWriter};
use super::group::kept;
use super::report::{Amount, FilterReport};
use super::rows::{Place, Rows};
use super::segment::{DROPPED, GONE, Segment};
use super::split::Choice;
use super::stored::{Stored, StoredRows};
use super::{Recording, split};
use crate::columns::{Effort, verify};
use crate::documents::{ShardFile, ShardWriter, Split};
use crate::files::{self, cannot_write};

/// Rows of one file of the record of dropped documents.
const DROPPED_ROWS: u64 = 2_000_000;

/// How the corpus is written.
pub struct WriteJob<'a> {
    /// What the last pass left.
    pub segments: Vec<Stored>,
    /// Segments of each pass, for the record of dropped documents.
    pub all: Vec<Vec<Segment>>,
    /// Folder for work in progress.
    pub work: &'a Path,
    /// Folder of the corpus.
    pub output: &'a Path,
    /// Text of a shard, in bytes.
    pub shard_bytes: u64,
    /// Which documents are held out.
    pub choice: Choice,
    /// What is recorded of dropped documents.
    pub recording: Recording,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

/// What was written.
pub struct Written {
    /// The files of both splits.
    pub train: Vec<ShardFile>,
    /// The files held out.
    pub validation: Vec<ShardFile>,
    /// What corpus filters of the last pass dropped, by filter.
    pub reports: Vec<(usize, FilterReport)>,
}

/// A stretch of documents that makes one shard: from one segment and row up to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    number: usize,
    from: (usize, u64),
    to: (usize, u64),
}

/// What is known of a finished stretch.
#[derive(Debug, Serialize, Deserialize)]
struct StretchRecord {
    shard: ShardFile,
    reports: Vec<(usize, FilterReport)>,
}

/// Counts what is left; the first number of the pair is what goes to training.
pub fn count(segments: &[Stored], choice: &Choice) -> Result<(Amount, Amount)> {
    let mut amounts = (Amount::default(), Amount::default());
    each_kept(
        segments,
        choice,
        |_, bytes, held_out| {
            if held_out { amounts.1.count(bytes) } else { amounts.0.count(bytes) }
        },
    )?;
    Ok(amounts)
}

/// Visits every document that is left: its segment and row, its bytes, and whether it is held out.
fn each_kept(segments: &[Stored], choice: &Choice, mut visit: impl FnMut((usize, u64), u64, bool)) -> Result<()> {
    let mut ordinal = 0;
    for (number, stored) in segments.iter().enumerate() {
        for (row, place, bytes) in kept(&stored.segment, &stored.record, stored.corpus_filters)? {
            visit((number, row), u64::from(bytes), choice.held_out(place, ordinal));
            ordinal += 1;
        }
    }
    Ok(())
}

/// Writes shards, held-out documents and the record of dropped ones.
pub fn write(job: &WriteJob<'_>) -> Result<Written> {
    for split in [Split::Train, Split::Validation] {
        let folder = split.folder(job.output);
        fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, e))?;
    }
    let stretches = plan(job)?;
    let task = "writing shards".to_owned();
    let done = std::sync::atomic::AtomicU64::new(0);
    let one = |stretch: &Stretch| -> Result<StretchRecord> {
        if job.observer.stop_requested() {
            return Err(Error::interrupted("stopped while writing shards; the same command goes on from here"));
        }
        let record = write_stretch(job, stretch)?;
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let total = Some(stretches.len() as u64);
        job.observer.event(Event::Progress { task: task.clone(), done, total, unit: "shards", detail: String::new() });
        Ok(record)
    };
    let records: Vec<StretchRecord> = stretches.par_iter().map(one).collect::<Result<_>>()?;
    job.observer.event(Event::Done { task });
    let validation = merge_validation(job, stretches.len())?;
    if job.recording != Recording::None {
        merge_dropped(job, stretches.len())?;
    }
    let (mut train, mut reports) = (Vec::new(), Vec::new());
    for record in records {
        if record.shard.documents > 0 {
            train.push(record.shard);
        }
        reports.extend(record.reports);
    }
    Ok(Written { train, validation, reports })
}

/// Cuts the corpus into stretches whose training documents make one shard each.
fn plan(job: &WriteJob<'_>) -> Result<Vec<Stretch>> {
    let mut starts: Vec<(usize, u64)> = vec![(0, 0)];
    let mut bytes_of_shard = 0;
    each_kept(&job.segments, &job.choice, |at, bytes, held_out| {
        if held_out {
            return;
        }
        if bytes_of_shard > 0 && bytes_of_shard + bytes > job.shard_bytes {
            starts.push(at);
            bytes_of_shard = 0;
        }
        bytes_of_shard += bytes;
    })?;
    let end = (job.segments.len(), 0);
    let to = |number: usize| starts.get(number + 1).copied().unwrap_or(end);
    Ok(starts.iter().enumerate().map(|(number, from)| Stretch { number, from: *from, to: to(number) }).collect())
}

fn work_file(job: &WriteJob<'_>, stretch: usize, suffix: &str) -> PathBuf {
    job.work.join(format!("shard-{stretch:05}.{suffix}"))
}

fn write_stretch(job: &WriteJob<'_>, stretch: &Stretch) -> Result<StretchRecord> {
    let record = work_file(job, stretch.number, "json");
    let path = Split::Train.shard(job.output, stretch.number);
    if let Ok(bytes) = fs::read(&record)
        && let Ok(found) = serde_json::from_slice::<StretchRecord>(&bytes)
        && (found.shard.documents == 0 || verify(&path, found.shard.sum).is_ok())
    {
        return Ok(found);
    }
    let mut train = ShardWriter::create(&path, stretch.number)?;
    let mut validation = ShardWriter::create(&work_file(job, stretch.number, "validation"), stretch.number)?;
    let mut dropped = match job.recording {
        Recording::None => None,
        _ => Some(DroppedWriter::create(&work_file(job, stretch.number, "dropped"), Effort::Light)?),
    };
    let mut reports: std::collections::BTreeMap<usize, FilterReport> = std::collections::BTreeMap::new();
    let last = if stretch.to.1 == 0 { stretch.to.0 } else { stretch.to.0 + 1 };
    for number in stretch.from.0..last {
        let stored = &job.segments[number];
        let from = if number == stretch.from.0 { stretch.from.1 } else { 0 };
        let to = if number == stretch.to.0 { stretch.to.1 } else { u64::MAX };
        let mut ordinal = job.choice.first_ordinal(number);
        let mut rows = StoredRows::open_range(stored, job.recording == Recording::Texts, from..to)?;
        while let Some((batch, gone)) = rows.next_rows()? {
            let places: Vec<Place> = (0..batch.len()).map(|row| batch.place(row)).collect();
            let in_range: Vec<bool> = rows.in_range().to_vec();
            let mut held = Vec::with_capacity(places.len());
            for place in &places {
                held.push(job.choice.held_out(*place, ordinal));
                ordinal += 1;
            }
            let pick = |wanted: bool| -> Result<Rows> {
                batch.select(held.iter().zip(&in_range).map(|(held, inside)| *inside && *held == wanted).collect())
            };
            train.push(&pick(false)?)?;
            validation.push(&pick(true)?)?;
            if let Some(writer) = &mut dropped {
                for one in gone {
                    writer.push(one)?;
                }
            }
        }
        for (filter, report) in rows.take_reports() {
            reports.entry(filter).or_default().add(&report);
        }
    }
    let shard = train.publish()?;
    if shard.documents == 0 {
        drop(fs::remove_file(&path));
    }
    validation.publish()?;
    if let Some(dropped) = dropped {
        dropped.publish()?;
    }
    let finished = StretchRecord { shard, reports: reports.into_iter().collect() };
    let text = serde_json::to_vec(&finished).map_err(|e| Error::new("cannot write a record").because(e))?;
    files::write(&record, &text)?;
    Ok(finished)
}

/// Puts the held-out documents of all stretches into shards of their own.
fn merge_validation(job: &WriteJob<'_>, stretches: usize) -> Result<Vec<ShardFile>> {
    let mut shards = Vec::new();
    let mut writer: Option<ShardWriter> = None;
    for stretch in 0..stretches {
        for batch in crate::documents::read_shard(&work_file(job, stretch, "validation"))? {
            let rows = batch?;
            for row in 0..rows.len() {
                let full =
                    writer.as_ref().is_some_and(|w| w.bytes() + rows.batch().text(row).len() as u64 > job.shard_bytes);
                if full && let Some(done) = writer.take() {
                    shards.push(done.publish()?);
                }
                if writer.is_none() {
                    let path = Split::Validation.shard(job.output, shards.len());
                    writer = Some(ShardWriter::create(&path, shards.len())?);
                }
                if let Some(writer) = &mut writer {
                    writer.push(&rows.slice(row, 1)?)?;
                }
            }
        }
    }
    if let Some(done) = writer {
        shards.push(done.publish()?);
    }
    Ok(shards)
}

/// Puts the records of all passes and stretches one behind the other.
fn merge_dropped(job: &WriteJob<'_>, stretches: usize) -> Result<()> {
    let folder = job.output.join("dropped");
    fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, e))?;
    let of_passes = job.all.iter().enumerate().flat_map(|(pass, segments)| {
        let gone = segments.iter().filter(move |_| pass > 0).map(|segment| segment.file(GONE));
        gone.chain(segments.iter().map(|segment| segment.file(DROPPED)))
    });
    let of_stretches = (0..stretches).map(|stretch| work_file(job, stretch, "dropped"));
    let (mut writer, mut rows, mut number) = (None, 0, 0);
    for path in of_passes.chain(of_stretches) {
        for one in dropped::read(&path)? {
            if writer.is_none() {
                let path = folder.join(format!("{number:05}.parquet"));
                writer = Some(DroppedWriter::create(&path, Effort::Thorough)?);
            }
            if let Some(writer) = &mut writer {
                writer.push(one?)?;
            }
            rows += 1;
            if rows == DROPPED_ROWS
                && let Some(done) = writer.take()
            {
                done.publish()?;
                (rows, number) = (0, number + 1);
            }
        }
    }
    writer.map_or(Ok(()), |writer| writer.publish().map(drop))
}

/// Decides which documents are held out: by chance, unless chance left one split of a tiny corpus empty.
pub fn choose(segments: &[Stored], seed: u64, share: f64) -> Result<Choice> {
    let by_chance = Choice::by_chance(seed, share);
    let (train, validation) = count(segments, &by_chance)?;
    let lopsided = share > 0.0 && validation.documents == 0 || train.documents == 0;
    let all = train.documents + validation.documents;
    if !lopsided || all < 2 {
        return Ok(by_chance);
    }
    let mut first = vec![0];
    for stored in segments {
        let kept = kept(&stored.segment, &stored.record, stored.corpus_filters)?.len() as u64;
        first.push(first[first.len() - 1] + kept);
    }
    Ok(split::Choice::every(share, all, first))
}
