//! [`BatchStream`]: what a trainer reads. The loader that fills it stands beside the trainer in the
//! house, so both meet in this trait.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

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

/// Where a stream stands, as plain data that a checkpoint stores. It does not depend on the number of ranks: those of
/// all ranks, merged, are the cursor of the run, which every rank of any number can take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Global batches served.
    pub batches: u64,
    /// Global batches drawn: those served and those left out.
    #[serde(default)]
    pub drawn: u64,
    /// Batches that are left out, from now on or before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Skip>,
    /// How far each row's own stream has come, in the order of rows; of one rank of several, its own rows.
    pub rows: Vec<RowCursor>,
    /// Hash (hexadecimal) over the rolling hashes of `rows`: runs with the same hash have seen the same data.
    pub hash: String,
    /// Hash (hexadecimal) over the next rows: what comes next.
    #[serde(default)]
    pub next: String,
}

/// How far one row's stream has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCursor {
    /// Which row of the global batch.
    pub row: u64,
    /// Pass over the text that this row is in.
    pub epoch: u64,
    /// The row's chunk, counted from the start of the run, in which its open window of documents begins.
    pub chunk: u64,
    /// Pieces of that chunk that lie before the window.
    #[serde(default)]
    pub start: u64,
    /// Pieces of the window that are done.
    #[serde(default)]
    pub piece: u64,
    /// Tokens served from the open piece.
    pub offset: u64,
    /// Rolling hash (hexadecimal) over all tokens that this row has served.
    #[serde(default)]
    pub hash: String,
    /// Hash (hexadecimal) of the row that comes next, by which `seek` knows the data; empty when it could not be read.
    #[serde(default)]
    pub next: String,
}

/// Global batches that are left out: numbers of the draw, from 1, both ends included. As long as nothing is left out,
/// they are the numbers of steps. In recipes `[1200, 1210]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skip(pub u64, pub u64);

impl Skip {
    /// Whether the batch drawn as number `draw` is left out.
    pub fn holds(self, draw: u64) -> bool {
        (self.0..=self.1).contains(&draw)
    }
}

impl Cursor {
    /// A cursor of `rows`, with the hashes that follow from them.
    pub fn new(batches: u64, drawn: u64, skip: Vec<Skip>, mut rows: Vec<RowCursor>) -> Self {
        rows.sort_by_key(|row| row.row);
        let hash = hash_of(rows.iter().map(|row| row.hash.as_str()));
        let next = hash_of(rows.iter().map(|row| row.next.as_str()));
        Self { batches, drawn, skip, rows, hash, next }
    }

    /// The cursor of the run out of those of its ranks.
    ///
    /// # Errors
    /// When they were not taken at the same batch, or a row is missing or there twice.
    pub fn merge(parts: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut parts = parts.into_iter();
        let first = parts.next().ok_or_else(|| Error::new("there is no data cursor to merge"))?;
        let mut rows = first.rows;
        for part in parts {
            if (part.batches, part.drawn, &part.skip) != (first.batches, first.drawn, &first.skip) {
                return Err(Error::new(format!(
                    "ranks stand at different batches of the data: {} and {}",
                    first.batches, part.batches
                )));
            }
            rows.extend(part.rows);
        }
        let whole = Self::new(first.batches, first.drawn, first.skip, rows);
        let missing = whole.rows.iter().zip(0..).find(|(row, number)| row.row != *number);
        match missing {
            None => Ok(whole),
            Some((_, number)) => {
                Err(Error::new(format!("the data cursors of all ranks do not hold row {number} once each")))
            }
        }
    }
}

/// Hash over hashes.
fn hash_of<'a>(hashes: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Where the tokens of one row came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSources {
    /// Row of the global batch.
    pub row: u64,
    /// In the order of the row.
    pub spans: Vec<Span>,
}

/// Tokens that stand together in a row and come from one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Pass over the text.
    pub epoch: u64,
    /// The file, or the part of it, as messages name it.
    pub file: String,
    /// Document in the file, from 0.
    pub document: u64,
    /// The id that the source gave it, or its place in the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// First byte of the piece of the document's text that was tokenised, and one past its last.
    pub bytes: (u64, u64),
    /// Tokens of the piece that come before this span.
    pub offset: u64,
    /// Tokens of this span.
    pub tokens: u64,
}

/// What a stream did and what it waited for, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamCounters {
    /// Seconds in which the trainer waited for data.
    pub waited_for_data: f64,
    /// Seconds in which tokeniser threads waited for the trainer, over all threads.
    pub waited_for_trainer: f64,
    /// Seconds of reading, over all threads.
    pub reading: f64,
    /// Seconds of tokenising, over all threads.
    pub tokenising: f64,
    /// Bytes of text tokenised.
    pub bytes: u64,
    /// Tokens made of them.
    pub tokens: u64,
    /// Batches that are ready.
    pub ready: u64,
}

/// An endless, ordered stream of global batches. *Row b of the global batch is stream b*: the batch at step
/// s depends neither on the number of ranks, nor on thread timing, nor on how often the run was resumed.
pub trait BatchStream: Send {
    /// The rows of the next global batch that belong to this rank (rows b with b mod ranks = rank).
    fn next_batch(&mut self) -> Result<TokenBatch>;

    /// Where the stream stands now; of one rank of several, its own rows ([`Cursor::merge`]).
    fn cursor(&self) -> Cursor;

    /// Global batches drawn so far: those served and those left out.
    fn drawn(&self) -> u64;

    /// Goes to where `cursor`, which holds all rows of the run, was taken. On failure the stream stays where it was.
    ///
    /// # Errors
    /// When the data are not the ones the cursor was taken from.
    fn seek(&mut self, cursor: &Cursor) -> Result<()>;

    /// Leaves out batches from now on: those that a guard found harmful. Part of every later [`Cursor`].
    ///
    /// # Errors
    /// When the stream cannot.
    fn skip(&mut self, batches: Skip) -> Result<()> {
        Err(Error::new(format!("this stream cannot leave out the batches {} to {}", batches.0, batches.1)))
    }

    /// Where the rows of the batch served last came from.
    fn sources(&self) -> Vec<RowSources> {
        Vec::new()
    }

    /// What the stream did and waited for.
    fn counters(&self) -> StreamCounters {
        StreamCounters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(batches: u64, rows: &[u64]) -> Cursor {
        let row = |row: &u64| RowCursor { row: *row, hash: format!("{row:x}"), ..RowCursor::default() };
        Cursor::new(batches, batches, Vec::new(), rows.iter().map(row).collect())
    }

    #[test]
    fn the_cursor_of_a_run_does_not_depend_on_how_its_rows_were_shared_out() {
        let whole = part(3, &[0, 1, 2, 3, 4]);
        assert_eq!(Cursor::merge([part(3, &[0, 3]), part(3, &[1, 4]), part(3, &[2])]).unwrap(), whole);
        assert_eq!(Cursor::merge([part(3, &[1, 3]), part(3, &[0, 2, 4])]).unwrap(), whole);
        assert_ne!(whole.hash, part(3, &[0, 1]).hash);
    }

    #[test]
    fn parts_that_are_not_all_of_one_batch_are_refused() {
        let refused = |parts: Vec<Cursor>| Cursor::merge(parts).unwrap_err().to_string();
        assert!(refused(vec![part(3, &[0, 2]), part(4, &[1])]).contains("3 and 4"));
        assert!(refused(vec![part(3, &[0, 2]), part(3, &[3])]).contains("row 1"));
        assert!(refused(vec![part(3, &[0, 1]), part(3, &[1])]).contains("row 2"));
        assert!(refused(vec![]).contains("no data cursor"));
    }
}
