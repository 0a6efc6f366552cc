//! [`DataSource`]: where documents come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Batch, Result};

/// Counted by [`BatchReader::skipped`] for each file that cannot be read to its end; documents before the damage are kept.
pub const DAMAGED_FILE: &str = "damaged file";
/// Counted by [`BatchReader::skipped`] for each file without a single record: allowed, but seldom meant.
pub const EMPTY_FILE: &str = "empty file";
/// Counted by [`BatchReader::skipped`] for each document that was kept after bytes that are no UTF-8 were replaced.
pub const REPLACED_UTF8: &str = "invalid UTF-8 replaced (kept)";

/// An independent piece of a source: a worker reads it without asking any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Position in the source's own order (manifest order, then order in the file). Document ids derive
    /// from it, so it never depends on the number of workers.
    pub index: usize,
    /// What a message calls it: a file name, or a file name and a range.
    pub location: String,
    /// First byte (or row group) of the piece.
    pub start: u64,
    /// One past the last byte (or row group); `None` reads to the end.
    pub end: Option<u64>,
    /// Size on disk in bytes, for progress and balance; 0 when unknown.
    pub bytes: u64,
}

/// Where a reader stands: documents already returned from its partition. Opaque to all but the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeToken(pub String);

/// A stream of batches out of one partition.
pub trait BatchReader: Send {
    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// Names the file and the place (line, row or byte) of what cannot be read.
    fn next_batch(&mut self) -> Result<Option<Batch>>;

    /// The token that reopens the partition right behind the last batch.
    fn position(&self) -> ResumeToken;

    /// Documents left out since the reader was opened, by reason; sources that skip bad input count it here.
    ///
    /// Three keys count something else: [`DAMAGED_FILE`], [`EMPTY_FILE`] and [`REPLACED_UTF8`].
    fn skipped(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// One sentence for each file that [`Self::skipped`] counts as damaged or empty: its name and what is wrong with it.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Where documents come from. Implementations are cheap to build and do their I/O in `partitions` and `open`.
pub trait DataSource: Send + Sync {
    /// The independent pieces, in order; one big file splits into several where its format allows.
    ///
    /// # Errors
    /// Names what is missing: a file of the manifest, a pattern that matches nothing.
    fn partitions(&self) -> Result<Vec<Partition>>;

    /// Opens a piece, at its start or behind `resume`.
    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>>;

    /// Part `number` of `of` parts of about equal size that together hold each document of `partition` once: training reads
    /// many places of a corpus at a time. `None` where the format cannot be entered in the middle.
    ///
    /// # Errors
    /// When the partition is not one of this source.
    fn part(&self, partition: &Partition, number: u64, of: u64) -> Result<Option<Partition>> {
        let _ = (partition, number, of);
        Ok(None)
    }

    /// A text that changes when the content changes; it enters the fingerprint of the stages that read this source.
    fn identity(&self) -> Result<String>;

    /// What the user should know before the work starts, one sentence each: a large file that only one worker can read,
    /// an input that cannot be read a second time.
    fn notes(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
