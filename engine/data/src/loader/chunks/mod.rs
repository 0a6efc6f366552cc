//! Text in chunks, the cards that are dealt to the rows of a batch. A chunk is found by its number and opened by
//! itself; which chunks there are follows from the text and a few sizes, so no list of them is kept.

mod memory;
mod prepared;
mod source;

use psann_core::Result;

use super::piece::Piece;

pub use memory::{InMemory, Whole};
pub use prepared::{Prepared, verify_sums};
pub use source::OfSource;

/// The pieces of a chunk, in order.
pub type Pieces = Box<dyn Iterator<Item = Result<Piece>> + Send>;

/// All chunks of a text.
pub trait Chunks: Send + Sync {
    /// How many there are.
    fn count(&self) -> u64;

    /// The pieces of chunk `chunk`, read as they are asked for. A chunk may be empty.
    fn open(&self, chunk: u64) -> Result<Pieces>;

    /// What the user should know of this text.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The sizes that chunks follow from. Equal sizes and text give equal chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Rows of the global batch.
    pub rows: u64,
    /// Bytes of a piece, about.
    pub piece: u64,
    /// Bytes of text that a row keeps at a time, about.
    pub window: u64,
    /// A chunk is no smaller than this, or than a piece, unless the window is.
    pub least: u64,
}

/// A chunk is no larger than this: what a row reads at a time.
const LARGEST: u64 = 256 << 10;
/// Chunks that each row gets in an epoch of a small text, at least: the fewer, the less alike are their sums.
const LEAST: u64 = 16;

impl Layout {
    /// Bytes of a chunk of a text of `total` bytes.
    pub fn chunk(self, total: u64) -> u64 {
        let largest = LARGEST.min(self.window).max(1);
        let least = self.piece.max(self.least).min(largest).max(1);
        (total / (self.rows * LEAST).max(1)).clamp(least, largest)
    }
}

/// The place of `chunk` in a list of first chunks: the entry, and the chunk within it.
fn find(firsts: &[u64], chunk: u64) -> (usize, u64) {
    let index = firsts.partition_point(|first| *first <= chunk).saturating_sub(1);
    (index, chunk - firsts.get(index).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_with_the_text_down_to_a_piece_and_stay_within_the_window() {
        let layout = Layout { rows: 8, piece: 8 << 10, window: 4 << 20, least: 0 };
        assert_eq!(layout.chunk(100 << 30), LARGEST);
        assert_eq!(layout.chunk(16 << 20), 128 << 10);
        assert_eq!(layout.chunk(1000), 8 << 10);
        assert_eq!(Layout { least: 64 << 10, ..layout }.chunk(1000), 64 << 10);
        assert_eq!(Layout { window: 1 << 10, ..layout }.chunk(100 << 30), 1 << 10);
    }

    #[test]
    fn a_chunk_is_found_behind_empty_entries() {
        let firsts = [0, 3, 3, 5];
        assert_eq!([0, 2, 3, 4, 5].map(|chunk| find(&firsts, chunk)), [(0, 0), (0, 2), (2, 0), (2, 1), (3, 0)]);
    }
}
