//! [`BatchStream`]: what a trainer reads. The loader that fills it stands beside the trainer in the
//! house, so both meet in this trait.

use serde::{Deserialize, Serialize};

use crate::Result;

/// Rows of token ids, `columns` = sequence length + 1: the input is all but the last id of a row, the
/// targets are all but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// Sequences in the batch.
    pub rows: usize,
    /// Ids per row, sequence length + 1.
    pub columns: usize,
    /// `rows * columns` ids, row-major.
    pub tokens: Vec<u32>,
    /// For each id the number of its document within the row, when documents are kept apart
    /// (`packing: "documents"`): attention and positions restart where it changes.
    pub documents: Option<Vec<u32>>,
}

/// Where a stream stands, as plain data that a checkpoint stores. It does not depend on the number of ranks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Global batches already served.
    pub batches: u64,
    /// One entry per row of the global batch: how far that row's own stream has come.
    pub rows: Vec<RowCursor>,
    /// Rolling hash (hexadecimal) over all batches served; `seek` refuses a cursor whose data changed.
    pub hash: String,
    /// Hash (hexadecimal) of the batch that comes next, by which `seek` knows the data.
    #[serde(default)]
    pub next: String,
}

/// How far one row's stream has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCursor {
    /// Passes over this row's documents already finished.
    pub epoch: u64,
    /// Chunks of this row already opened in this epoch.
    pub chunk: u64,
    /// Tokens already served from the open chunk.
    pub offset: u64,
}

/// An endless, ordered stream of global batches. *Row b of the global batch is stream b*: the batch at step
/// s depends neither on the number of ranks, nor on thread timing, nor on how often the run was resumed.
pub trait BatchStream: Send {
    /// The rows of the next global batch that belong to this rank (rows b with b mod ranks = rank).
    fn next_batch(&mut self) -> Result<TokenBatch>;

    /// Where the stream stands now.
    fn cursor(&self) -> Cursor;

    /// Goes to where `cursor` was taken.
    ///
    /// # Errors
    /// When the data are not the ones the cursor was taken from.
    fn seek(&mut self, cursor: &Cursor) -> Result<()>;
}
