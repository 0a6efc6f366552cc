//! A segment: what a pass made of a stretch of one partition. It is the unit of work that a killed run keeps: its files
//! come first, the record that says they are complete comes last.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use psann_core::filter::Keys;
use psann_core::source::ResumeToken;
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::dropped::DroppedWriter;
use super::judge::{Dropped, Judged};
use super::report::{Amount, FilterReport};
use super::rows::{Place, Rows, schema};
use super::spill::{NotesWriter, write_keys};
use crate::columns::{ColumnsFile, Effort, Sum, Summing, verify};
use crate::files::{self, NewFile, cannot_read, cannot_write};

/// Suffix of the record of what the pass dropped.
pub const DROPPED: &str = "dropped.parquet";
/// Suffix of the record of what corpus filters of the pass before dropped. A file of its own: put one behind the other
/// over all segments, neither depends on where segments end.
pub const GONE: &str = "gone.parquet";
/// Bytes of text in a row group of a segment.
const GROUP_BYTES: u64 = 4 << 20;
/// Bytes of one entry of the table of places.
pub const PLACE_BYTES: u64 = 12;

/// What is known of a finished segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it read.
    pub read: Amount,
    /// What it left.
    pub kept: Amount,
    /// Where the partition goes on; `None` when it is at its end.
    pub next: Option<ResumeToken>,
    /// Documents of the partition that were read before the next segment.
    pub next_row: u64,
    /// What the source left out on the way, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What the source has to say of files that it found damaged or empty.
    pub warnings: Vec<String>,
    /// What the row filters of the pass did, in order.
    pub reports: Vec<FilterReport>,
    /// What corpus filters of the pass before dropped on the way in, by index of the filter.
    pub stored_reports: Vec<(usize, FilterReport)>,
    /// For each corpus filter of the pass whether a document had the column it reads.
    pub had_column: Vec<bool>,
    /// The files and their sums, by their suffix.
    pub files: Vec<(String, Sum)>,
    /// Whether this process wrote it, moments ago.
    #[serde(skip)]
    pub fresh: bool,
}

/// Where the files of one segment stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Folder of the pass.
    pub folder: PathBuf,
    /// Partition it belongs to.
    pub partition: usize,
    /// Its number within the partition.
    pub number: usize,
}

impl Segment {
    /// The file with this suffix: `rows.parquet`, `places`, [`DROPPED`], [`GONE`], `keys-0`, `notes-0`, `ranks-0`.
    pub fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{:06}-{:05}.{suffix}", self.partition, self.number))
    }

    /// The segment's record, if it is finished.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn record(&self) -> Result<Option<Record>> {
        let path = self.file("json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Error::new(format!("`{}` is damaged", path.display()))
                    .because(e)
                    .hint("remove this file and run the same command again: only this piece is done anew")
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot_read(&path, e)),
        }
    }

    /// Fails when one of the files changed since it was written. The record of a damaged segment is set aside, so that
    /// the next run makes the segment anew.
    pub fn verify(&self, record: &Record, suffixes: &[&str]) -> Result<()> {
        for (suffix, sum) in &record.files {
            if suffixes.iter().any(|wanted| suffix == wanted)
                && let Err(error) = verify(&self.file(suffix), *sum)
            {
                drop(fs::remove_file(self.file("json")));
                return Err(error.hint("run the same command again: only what this file held is done anew"));
            }
        }
        Ok(())
    }

    /// The place and size in bytes of every row.
    pub fn places(&self) -> Result<Vec<(Place, u32)>> {
        let path = self.file("places");
        let bytes = fs::read(&path).map_err(|e| cannot_read(&path, e))?;
        let entry = |chunk: &[u8]| {
            let (place, size) = chunk.split_at(8);
            (
                Place(u64::from_le_bytes(place.try_into().unwrap_or_default())),
                u32::from_le_bytes(size.try_into().unwrap_or_default()),
            )
        };
        Ok(bytes.chunks_exact(PLACE_BYTES as usize).map(entry).collect())
    }

    /// The place of one row.
    pub fn place(&self, row: u64) -> Result<Place> {
        let path = self.file("places");
        let mut bytes = [0; 8];
        fs::File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, row * PLACE_BYTES))
            .map_err(|e| cannot_read(&path, e))?;
        Ok(Place(u64::from_le_bytes(bytes)))
    }
}

/// Where a segment ends, and what was met on the way there beside documents.
#[derive(Debug, Default)]
pub struct End {
    /// Where the partition goes on; `None` when it is at its end.
    pub next: Option<ResumeToken>,
    /// Documents of the partition that were read before that.
    pub next_row: u64,
    /// What the source left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What the source says of damaged or empty files.
    pub warnings: Vec<String>,
    /// What corpus filters of the pass before dropped, by filter.
    pub stored_reports: Vec<(usize, FilterReport)>,
}

/// What a corpus filter left in a segment.
struct Collected {
    entries: Vec<(u64, u32)>,
    notes: NotesWriter,
    noted: bool,
    ranks: Vec<u64>,
}

/// Writes a segment.
pub struct SegmentWriter {
    segment: Segment,
    rows: ColumnsFile,
    waiting: Vec<Rows>,
    waiting_bytes: u64,
    places: Vec<u8>,
    dropped: Option<DroppedWriter>,
    gone: Option<DroppedWriter>,
    collected: Vec<Collected>,
    record: Record,
}

impl SegmentWriter {
    /// Starts the files of a segment; `corpus` is the number of corpus filters of the pass, `recording` says whether
    /// dropped documents are recorded, `stored` whether an earlier pass may have dropped some on the way in.
    pub fn create(segment: Segment, corpus: usize, recording: bool, stored: bool) -> Result<Self> {
        let rows = ColumnsFile::create(&segment.file("rows.parquet"), schema(), Effort::Light)?;
        let record_of = |suffix: &str, wanted: bool| -> Result<Option<DroppedWriter>> {
            wanted.then(|| DroppedWriter::create(&segment.file(suffix), Effort::Light)).transpose()
        };
        let dropped = record_of(DROPPED, recording)?;
        let gone = record_of(GONE, recording && stored)?;
        let collect = |index: usize| -> Result<Collected> {
            let notes = NotesWriter::create(&segment.file(&format!("notes-{index}")))?;
            Ok(Collected { entries: Vec::new(), notes, noted: false, ranks: Vec::new() })
        };
        let collected = (0..corpus).map(collect).collect::<Result<_>>()?;
        let record = Record {
            read: Amount::default(),
            kept: Amount::default(),
            next: None,
            next_row: 0,
            skipped: BTreeMap::new(),
            warnings: Vec::new(),
            reports: Vec::new(),
            stored_reports: Vec::new(),
            had_column: vec![false; corpus],
            files: Vec::new(),
            fresh: true,
        };
        Ok(Self {
            segment,
            rows,
            waiting: Vec::new(),
            waiting_bytes: 0,
            places: Vec::new(),
            dropped,
            gone,
            collected,
            record,
        })
    }

    /// Text read so far, in bytes.
    pub fn read_bytes(&self) -> u64 {
        self.record.read.bytes
    }

    /// Records documents that corpus filters of an earlier pass dropped.
    pub fn gone(&mut self, gone: Vec<Dropped>) -> Result<()> {
        match &mut self.gone {
            Some(writer) => gone.into_iter().try_for_each(|one| writer.push(one)),
            None => Ok(()),
        }
    }

    /// Adds what the pass made of the next documents.
    pub fn push(&mut self, judged: Judged, had_column: &[bool]) -> Result<()> {
        let Judged { read, rows, dropped, reports, keys } = judged;
        self.record.read.add(read);
        if let Some(writer) = &mut self.dropped {
            dropped.into_iter().try_for_each(|one| writer.push(one))?;
        }
        self.record.reports.resize_with(reports.len(), FilterReport::default);
        for (total, part) in self.record.reports.iter_mut().zip(&reports) {
            total.name.clone_from(&part.name);
            total.add(part);
        }
        for (total, part) in self.record.had_column.iter_mut().zip(had_column) {
            *total |= part;
        }
        let first = u32::try_from(self.record.kept.documents)
            .map_err(|_| Error::new("a segment holds more than 4 billion documents"))?;
        for (collected, keys) in self.collected.iter_mut().zip(keys) {
            collected.add(keys, first, rows.len())?;
        }
        let mut bytes = 0;
        for (row, text) in rows.batch().texts().enumerate() {
            bytes += text.len() as u64;
            self.places.extend_from_slice(&rows.place(row).0.to_le_bytes());
            self.places.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        }
        self.record.kept.add(Amount { documents: rows.len() as u64, bytes });
        if !rows.is_empty() {
            self.waiting.push(rows);
            self.waiting_bytes += bytes;
        }
        if self.waiting_bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.rows.row_group_of(self.waiting.iter().map(Rows::records))?;
            self.waiting.clear();
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    /// Completes the files and, last, the record.
    pub fn publish(mut self, end: End) -> Result<Record> {
        self.flush()?;
        let mut record = self.record;
        record.files.push(("rows.parquet".into(), self.rows.publish()?));
        let mut places = Summing::new(NewFile::create(&self.segment.file("places"))?);
        places.write_all(&self.places).map_err(|e| cannot_write(&self.segment.file("places"), e))?;
        let (file, sum) = places.finish();
        file.publish()?;
        record.files.push(("places".into(), sum));
        for (suffix, writer) in [(DROPPED, self.dropped), (GONE, self.gone)] {
            if let Some(writer) = writer {
                record.files.push((suffix.into(), writer.publish()?));
            }
        }
        for (index, collected) in self.collected.into_iter().enumerate() {
            let keys = format!("keys-{index}");
            record.files.push((keys.clone(), write_keys(&self.segment.file(&keys), collected.entries)?));
            if collected.noted {
                record.files.push((format!("notes-{index}"), collected.notes.publish()?));
            }
            if !collected.ranks.is_empty() {
                let path = self.segment.file(&format!("ranks-{index}"));
                let bytes: Vec<u8> = collected.ranks.iter().flat_map(|rank| rank.to_le_bytes()).collect();
                files::write(&path, &bytes)?;
            }
        }
        (record.next, record.next_row) = (end.next, end.next_row);
        (record.skipped, record.warnings, record.stored_reports) = (end.skipped, end.warnings, end.stored_reports);
        let text = serde_json::to_vec(&record).map_err(|e| Error::new("cannot write a record").because(e))?;
        files::write(&self.segment.file("json"), &text)?;
        Ok(record)
    }
}

impl Collected {
    fn add(&mut self, keys: Keys, first: u32, rows: usize) -> Result<()> {
        self.entries.extend(keys.entries.into_iter().map(|(key, row)| (key, first + row)));
        for row in 0..rows {
            let note = keys.notes.get(row).map_or(&[][..], Vec::as_slice);
            self.noted |= !note.is_empty();
            self.notes.push(note)?;
        }
        if !keys.ranks.is_empty() {
            // Rows before the first rank had none because they were not there: a filter ranks always or never.
            self.ranks.extend(keys.ranks);
        }
        Ok(())
    }
}

/// Whether the segment left notes of corpus filter `index`.
pub fn has_notes(record: &Record, index: usize) -> bool {
    record.files.iter().any(|(suffix, _)| *suffix == format!("notes-{index}"))
}

/// The rank of one row, 0 when the filter does not rank.
pub fn rank(segment: &Segment, index: usize, row: u64) -> Result<u64> {
    let path = segment.file(&format!("ranks-{index}"));
    let mut bytes = [0; 8];
    match fs::File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, row * 8)) {
        Ok(()) => Ok(u64::from_le_bytes(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(cannot_read(&path, e)),
    }
}

/// The ranks of all rows, or nothing when the filter does not rank.
pub fn ranks(segment: &Segment, index: usize) -> Result<Vec<u64>> {
    let path: &Path = &segment.file(&format!("ranks-{index}"));
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(cannot_read(path, e)),
    }
}
