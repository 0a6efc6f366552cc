//! [`DataSource`]: where documents come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Batch, Result};

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

    /// Documents left out so far, by reason; sources that skip bad input count it here.
    fn skipped(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
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

    /// A text that changes when the content changes; it enters the fingerprint of the stages that read this source.
    fn identity(&self) -> Result<String>;
}
