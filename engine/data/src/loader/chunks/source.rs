//! Chunks of a source that nothing was prepared from. A file that can be entered in the middle is read in byte ranges; of
//! any other, several chunks each take their share of the pieces and pass over the rest, which is not tokenised.

use std::sync::Arc;

use psann_core::source::{BatchReader, Partition};
use psann_core::{Batch, DataSource, Error, Result};

use super::{Chunks, Layout, Pieces, find};
use crate::loader::piece::{Origin, Piece, cut};

/// Chunks that each row should get in an epoch out of partitions that have to be read from their start.
const SLICES: u64 = 4;
/// Times that a partition is read in an epoch before the user hears of it.
const WORTH_A_NOTE: u64 = 64;

/// The chunks.
pub struct OfSource {
    source: Arc<dyn DataSource>,
    partitions: Vec<Partition>,
    divisions: Vec<Division>,
    firsts: Vec<u64>,
    count: u64,
    piece: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Division {
    /// Byte ranges.
    Parts(u64),
    /// Every n-th piece.
    Slices(u64),
}

impl OfSource {
    /// Those of `source`.
    ///
    /// # Errors
    /// When the source names files that are not there, or can only be read once.
    pub fn new(source: Arc<dyn DataSource>, layout: Layout) -> Result<Self> {
        let partitions = source.partitions()?;
        let total: u64 = partitions.iter().map(|partition| partition.bytes).sum();
        if total == 0 {
            return Err(Error::new("the text to train on is empty, or its size is unknown")
                .hint("give files with text; what comes from a pipe or a program goes through `.prepare(…)` first"));
        }
        let chunk = layout.chunk(total);
        let (mut divisions, mut firsts, mut count) = (Vec::new(), Vec::new(), 0);
        for partition in &partitions {
            let parts = partition.bytes.div_ceil(chunk).max(1);
            let division = if source.part(partition, 0, parts)?.is_some() {
                Division::Parts(parts)
            } else {
                let wanted = u128::from(partition.bytes) * u128::from(layout.rows * SLICES);
                Division::Slices(wanted.div_ceil(u128::from(total)).max(1) as u64)
            };
            divisions.push(division);
            firsts.push(count);
            count += division.chunks();
        }
        let piece = layout.piece.max(1) as usize;
        Ok(Self { source, partitions, divisions, firsts, count, piece })
    }
}

impl Division {
    fn chunks(self) -> u64 {
        match self {
            Self::Parts(count) | Self::Slices(count) => count,
        }
    }
}

impl Chunks for OfSource {
    fn count(&self) -> u64 {
        self.count
    }

    fn open(&self, chunk: u64) -> Result<Pieces> {
        let (index, number) = find(&self.firsts, chunk);
        let partition = &self.partitions[index];
        let (part, slices, slice) = match self.divisions[index] {
            Division::Parts(of) => (self.source.part(partition, number, of)?, 1, 0),
            Division::Slices(of) => (None, of, number),
        };
        let partition = part.as_ref().unwrap_or(partition);
        Ok(Box::new(OfChunk {
            reader: self.source.open(partition, None)?,
            file: partition.location.as_str().into(),
            batch: None,
            document: 0,
            waiting: Vec::new(),
            piece: self.piece,
            seen: 0,
            slices,
            slice,
            ended: false,
        }))
    }

    fn notes(&self) -> Vec<String> {
        let slices = |division: &Division| matches!(division, Division::Slices(of) if *of > WORTH_A_NOTE);
        let worst = self.divisions.iter().zip(&self.partitions).filter(|(division, _)| slices(division));
        let worst = worst.max_by_key(|(division, _)| division.chunks());
        let note = worst.map(|(division, partition)| {
            format!(
                "`{}` cannot be entered in the middle, so it is read {} times in each epoch: `.prepare(…)` the text, or \
                 split the file",
                partition.location,
                division.chunks()
            )
        });
        note.into_iter().collect()
    }
}

/// The pieces of a chunk, read as they are asked for.
struct OfChunk {
    reader: Box<dyn BatchReader>,
    file: Arc<str>,
    /// The batch in work, and its next row.
    batch: Option<(Batch, usize)>,
    /// Documents before the next one.
    document: u64,
    /// Pieces of the last document, the next one at the end.
    waiting: Vec<Piece>,
    piece: usize,
    /// Pieces of the partition so far.
    seen: u64,
    slices: u64,
    slice: u64,
    ended: bool,
}

impl OfChunk {
    /// Cuts the next document; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        let (batch, row) = match self.batch.take() {
            Some((batch, row)) if row < batch.len() => (batch, row),
            _ => match self.reader.next_batch()? {
                Some(batch) => (batch, 0),
                None => return Ok(false),
            },
        };
        if row < batch.len() {
            let text = batch.text(row);
            let id = batch.optional("id", row).map(str::to_owned);
            let origin = Arc::new(Origin { file: Arc::clone(&self.file), document: self.document, id });
            for range in cut(text, self.piece) {
                let mine = self.seen % self.slices == self.slice;
                self.seen += 1;
                if mine {
                    self.waiting.push(Piece {
                        origin: Arc::clone(&origin),
                        start: range.start as u64,
                        text: text[range.clone()].to_owned(),
                        first: range.start == 0,
                        last: range.end == text.len(),
                    });
                }
            }
            self.waiting.reverse();
            self.document += 1;
        }
        self.batch = Some((batch, row + 1));
        Ok(true)
    }
}

impl Iterator for OfChunk {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() && !self.ended {
            match self.advance() {
                Ok(more) => self.ended = !more,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        self.waiting.pop().map(Ok)
    }
}
