//! A text that is small enough to stay in memory, whatever it was read from. Each piece is a chunk, so that all of them
//! are shuffled as one deck.

use std::ops::Range;
use std::sync::Arc;

use psann_core::Result;

use super::{Chunks, Layout, Pieces};
use crate::loader::piece::{Origin, Piece, cut};

/// A document with all of its text.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Which it is.
    pub origin: Arc<Origin>,
    /// Its text.
    pub text: Arc<str>,
}

/// The chunks.
pub struct InMemory {
    documents: Arc<[Whole]>,
    pieces: Vec<(usize, Range<usize>)>,
}

impl InMemory {
    /// Cuts `documents`.
    pub fn new(documents: Arc<[Whole]>, layout: Layout) -> Self {
        let longest = layout.piece as usize;
        let pieces = documents.iter().enumerate();
        let pieces = pieces.flat_map(|(n, whole)| cut(&whole.text, longest).into_iter().map(move |range| (n, range)));
        Self { pieces: pieces.collect(), documents }
    }
}

impl Chunks for InMemory {
    fn count(&self) -> u64 {
        self.pieces.len() as u64
    }

    fn open(&self, chunk: u64) -> Result<Pieces> {
        let piece = self.pieces.get(chunk as usize).map(|(number, range)| {
            let Whole { origin, text } = &self.documents[*number];
            Ok(Piece {
                origin: Arc::clone(origin),
                start: range.start as u64,
                text: text[range.clone()].to_owned(),
                first: range.start == 0,
                last: range.end == text.len(),
            })
        });
        Ok(Box::new(piece.into_iter()))
    }
}
