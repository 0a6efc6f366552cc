//! One row of the batch: its own stream of chunks, documents and tokens, which no other row touches.
//!
//! All chunks of all epochs are dealt to the rows like cards: the k-th chunk of row b is number b + k · rows in the endless
//! sequence of permuted epochs. From its chunks a row fills a window of pieces and takes them in permuted order, so that
//! neighbours in a file are not neighbours in training; a window ends with its epoch. It strings the tokens of the pieces
//! together and cuts sequences of `seq_len + 1` tokens that advance by `seq_len`, so that each token but the first is a
//! target once.
//!
//! Windows are not stored: a cursor names the chunk in which one begins, and the same rule fills it again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use psann_core::tokens::{RowCursor, Span};
use psann_core::{Error, Result, Tokenizer};

use super::chunks::{Chunks, Pieces};
use super::permutation::{Permutation, mix};
use super::piece::{Origin, Piece};

/// A row that found no text in so many epochs' worth of chunks will find none.
const EPOCHS: u64 = 64;

/// What all rows of a stream share.
pub struct Recipe {
    /// The text.
    pub chunks: Arc<dyn Chunks>,
    /// Its tokens.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// Tokens of a sequence; a row holds one more.
    pub seq_len: usize,
    /// Rows of the global batch.
    pub rows: u64,
    /// Bytes of a window, about.
    pub window: u64,
    /// Decides the order of chunks and pieces.
    pub seed: u64,
    /// Begins a document.
    pub bos: Option<u32>,
    /// Ends a document.
    pub eos: u32,
    /// The error of a text without tokens.
    pub empty: Box<dyn Fn() -> Error + Send + Sync>,
}

impl Recipe {
    /// The tokens of a piece, with what begins and ends its document.
    pub fn tokens(&self, piece: &Piece) -> Result<Vec<u32>> {
        let encoded = self.tokenizer.encode(&piece.text).map_err(|e| e.within(place_of(&piece.origin)))?;
        let mut tokens = Vec::with_capacity(encoded.len() + 2);
        tokens.extend(self.bos.filter(|_| piece.first));
        tokens.extend(encoded);
        tokens.extend(piece.last.then_some(self.eos));
        Ok(tokens)
    }
}

/// `FILE: document 12`, for messages.
fn place_of(origin: &Origin) -> String {
    let id = origin.id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
    format!("`{}`: document {}{id}", origin.file, origin.document)
}

/// One sequence of a row.
#[derive(Debug)]
pub struct Sequence {
    /// `seq_len + 1` ids.
    pub tokens: Vec<u32>,
    /// Where they came from.
    pub stretches: Vec<Stretch>,
    /// Where the row stands behind it.
    pub next: Place,
    /// Hash of the ids.
    pub digest: [u8; 16],
}

/// Tokens of a sequence that follow one another in a document.
#[derive(Debug, Clone)]
pub struct Stretch {
    origin: Arc<Origin>,
    epoch: u64,
    bytes: (u64, u64),
    offset: u64,
    /// How many.
    pub tokens: u64,
}

impl Stretch {
    /// As plain data.
    pub fn span(&self) -> Span {
        let Self { origin, epoch, bytes, offset, tokens } = self;
        Span {
            epoch: *epoch,
            file: origin.file.to_string(),
            document: origin.document,
            id: origin.id.clone(),
            bytes: *bytes,
            offset: *offset,
            tokens: *tokens,
        }
    }
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Pass over the text.
    pub epoch: u64,
    /// The row's chunk in which the window begins.
    pub chunk: u64,
    /// Pieces of that chunk before the window.
    pub start: u64,
    /// Pieces of the window that are done.
    pub piece: u64,
    /// Tokens of the open piece that are done.
    pub offset: u64,
}

impl From<&RowCursor> for Place {
    fn from(cursor: &RowCursor) -> Self {
        let RowCursor { epoch, chunk, start, piece, offset, .. } = *cursor;
        Self { epoch, chunk, start, piece, offset }
    }
}

/// What a row's work took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Time of reading.
    pub reading: Duration,
    /// Time of tokenising.
    pub tokenising: Duration,
    /// Bytes tokenised.
    pub bytes: u64,
    /// Tokens made.
    pub tokens: u64,
}

/// The stream of one row.
pub struct RowStream {
    recipe: Arc<Recipe>,
    row: u64,
    place: Place,
    /// The pieces of the window in the order of the text; those that are done are emptied.
    window: Vec<Option<Piece>>,
    order: Permutation,
    open: Option<Open>,
    ahead: Ahead,
    /// What was done since it was asked last.
    pub work: Work,
}

/// The piece that tokens are taken from.
struct Open {
    origin: Arc<Origin>,
    bytes: (u64, u64),
    tokens: Vec<u32>,
}

/// Where the next window begins.
#[derive(Default)]
struct Ahead {
    chunk: u64,
    start: u64,
    pieces: Option<Pieces>,
    /// A piece that was read to see whether the chunk goes on.
    waiting: VecDeque<Piece>,
}

impl RowStream {
    /// The stream of row `row` from its start.
    pub fn new(recipe: Arc<Recipe>, row: u64) -> Self {
        Self {
            recipe,
            row,
            place: Place::default(),
            window: Vec::new(),
            order: Permutation::new(0, 0, 0),
            open: None,
            ahead: Ahead::default(),
            work: Work::default(),
        }
    }

    /// The stream of row `row` from `place`: goes to the chunk, fills the window and opens the piece.
    ///
    /// # Errors
    /// When there is no such place in this text.
    pub fn at(recipe: Arc<Recipe>, row: u64, place: Place) -> Result<Self> {
        let mut stream = Self::new(recipe, row);
        if place == Place::default() {
            return Ok(stream);
        }
        let shorter = || Error::new(format!("row {row} stood where there is no text any more"));
        stream.ahead = Ahead { chunk: place.chunk, ..Ahead::default() };
        for _ in 0..place.start {
            if !stream.is_inside(place.chunk)? {
                return Err(shorter());
            }
            stream.ahead.waiting.pop_front();
            stream.ahead.start += 1;
        }
        stream.fill()?;
        let is_there = (stream.place.epoch, stream.place.chunk, stream.place.start)
            == (place.epoch, place.chunk, place.start)
            && place.piece < stream.window.len() as u64;
        if !is_there {
            return Err(shorter());
        }
        for done in 0..place.piece {
            let index = stream.order.at(done) as usize;
            stream.window[index] = None;
        }
        stream.place = place;
        stream.open_piece()?;
        match &stream.open {
            Some(open) if open.tokens.len() as u64 >= place.offset => Ok(stream),
            Some(open) => Err(Error::new(format!("{} is shorter than it was", place_of(&open.origin)))),
            None => Err(shorter()),
        }
    }

    /// What was done since this was asked last.
    pub fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    /// The next sequence.
    pub fn next(&mut self) -> Result<Sequence> {
        let wanted = self.recipe.seq_len + 1;
        let mut tokens = Vec::with_capacity(wanted);
        let mut stretches = Vec::new();
        while tokens.len() < wanted {
            let offset = self.place.offset as usize;
            let taken = match &self.open {
                Some(Open { origin, bytes, tokens: of_piece }) if offset < of_piece.len() => {
                    let taken = &of_piece[offset..of_piece.len().min(offset + wanted - tokens.len())];
                    tokens.extend_from_slice(taken);
                    stretches.push(Stretch {
                        origin: Arc::clone(origin),
                        epoch: self.place.epoch,
                        bytes: *bytes,
                        offset: offset as u64,
                        tokens: taken.len() as u64,
                    });
                    taken.len()
                }
                _ => {
                    self.advance()?;
                    continue;
                }
            };
            self.place.offset += taken as u64;
        }
        // The last token of this sequence is the first of the next.
        self.place.offset -= 1;
        Ok(Sequence { digest: digest(&tokens), tokens, stretches, next: self.place })
    }

    /// Opens the next piece, of the next window if this one is done.
    fn advance(&mut self) -> Result<()> {
        if self.open.is_some() {
            self.place.piece += 1;
        }
        if self.place.piece >= self.window.len() as u64 {
            self.fill()?;
        }
        self.place.offset = 0;
        self.open_piece()
    }

    fn open_piece(&mut self) -> Result<()> {
        let index = self.order.at(self.place.piece) as usize;
        let Some(piece) = self.window.get_mut(index).and_then(Option::take) else { return Ok(()) };
        let started = Instant::now();
        let tokens = self.recipe.tokens(&piece)?;
        self.work.tokenising += started.elapsed();
        self.work.bytes += piece.text.len() as u64;
        self.work.tokens += tokens.len() as u64;
        let bytes = (piece.start, piece.start + piece.text.len() as u64);
        self.open = Some(Open { origin: piece.origin, bytes, tokens });
        Ok(())
    }

    /// Number of the row's chunk `chunk` in the endless sequence.
    fn number(&self, chunk: u64) -> u64 {
        self.row + chunk * self.recipe.rows
    }

    fn epoch(&self, chunk: u64) -> u64 {
        self.number(chunk) / self.recipe.chunks.count().max(1)
    }

    /// Fills the window with the next pieces of the row, up to its size or the end of the epoch.
    fn fill(&mut self) -> Result<()> {
        let started = Instant::now();
        self.open = None;
        self.window.clear();
        let (mut bytes, mut empty) = (0, 0);
        while bytes < self.recipe.window {
            let chunk = self.ahead.chunk;
            if !self.window.is_empty() && self.epoch(chunk) != self.place.epoch {
                break;
            }
            if !self.is_inside(chunk)? {
                empty = if self.ahead.start == 0 { empty + 1 } else { 0 };
                // Each epoch shows other chunks to this row, so a text that has any is found well before.
                if empty / EPOCHS > self.recipe.chunks.count() {
                    return Err((self.recipe.empty)());
                }
                self.ahead = Ahead { chunk: chunk + 1, ..Ahead::default() };
                continue;
            }
            if self.window.is_empty() {
                self.place = Place { epoch: self.epoch(chunk), chunk, start: self.ahead.start, piece: 0, offset: 0 };
            }
            if let Some(piece) = self.ahead.waiting.pop_front() {
                // A piece without text counts as well: the window must end.
                bytes += (piece.text.len() as u64).max(1);
                self.window.push(Some(piece));
                self.ahead.start += 1;
            }
        }
        let key = mix(self.recipe.seed ^ mix(self.number(self.place.chunk)));
        self.order = Permutation::new(self.window.len() as u64, key, self.place.start);
        self.work.reading += started.elapsed();
        Ok(())
    }

    /// Whether the chunk ahead, which is the row's chunk `chunk`, has another piece.
    fn is_inside(&mut self, chunk: u64) -> Result<bool> {
        if !self.ahead.waiting.is_empty() {
            return Ok(true);
        }
        if self.ahead.pieces.is_none() {
            let (number, count) = (self.number(chunk), self.recipe.chunks.count());
            if count == 0 {
                return Err((self.recipe.empty)());
            }
            let index = Permutation::new(count, self.recipe.seed, number / count).at(number % count);
            self.ahead.pieces = Some(self.recipe.chunks.open(index)?);
        }
        let piece = self.ahead.pieces.as_mut().and_then(Iterator::next).transpose()?;
        self.ahead.waiting.extend(piece);
        Ok(!self.ahead.waiting.is_empty())
    }
}

fn digest(tokens: &[u32]) -> [u8; 16] {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    digest
}
