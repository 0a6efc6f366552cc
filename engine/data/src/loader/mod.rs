//! The stream of batches that training reads. *Row b of the global batch is stream b.*
//!
//! Documents are cut into pieces, the pieces of an epoch are permuted by a keyed bijection, and all pieces of all epochs
//! are dealt to the rows like cards: the k-th piece of row b is number b + k · rows in the endless sequence of permuted
//! epochs. A row strings its pieces together and cuts windows of `seq_len + 1` tokens that advance by `seq_len`, so
//! that each token but the first is a target once. What a step sees therefore follows from the options and the text alone:
//! not from the number of ranks, nor from threads, nor from how often the run was resumed.
//!
//! The tokenised text is held in memory.

mod corpus;
mod permutation;
mod validation;

use psann_core::tokens::{BatchStream, Cursor, RowCursor, TokenBatch};
use psann_core::{Error, Result};
use rayon::prelude::*;

pub use corpus::{Corpus, tokenise};
pub use validation::validation_batches;

use permutation::Permutation;

/// What decides the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Tokens of a sequence; a row holds one more.
    pub seq_len: usize,
    /// Sequences of the global batch.
    pub rows: usize,
    /// Decides the order of documents.
    pub seed: u64,
    /// This process's number.
    pub rank: usize,
    /// Number of processes; rank r gets the rows b with b mod ranks = r.
    pub ranks: usize,
    /// Whether to number the documents within a row, so that attention can keep them apart.
    pub separate_documents: bool,
}

/// Sequences per piece: long documents are cut, so that rows do not all read the same book.
const PIECE_SEQUENCES: usize = 16;

/// The stream over a tokenised corpus.
#[derive(Debug)]
pub struct Loader {
    options: LoaderOptions,
    corpus: Corpus,
    pieces: Vec<corpus::Piece>,
    rows: Vec<RowCursor>,
    batches: u64,
    hash: blake3::Hash,
}

/// One row of a batch and where the next one starts.
struct Row {
    tokens: Vec<u32>,
    documents: Vec<u32>,
    next: RowCursor,
}

impl Loader {
    /// Starts at the first batch.
    ///
    /// # Errors
    /// When there is no text, or a batch has fewer rows than there are ranks.
    pub fn new(corpus: Corpus, options: LoaderOptions) -> Result<Self> {
        if options.seq_len == 0 || options.rows == 0 {
            return Err(Error::usage("`seq_len` and `batch` must be at least 1"));
        }
        if !options.rows.is_multiple_of(options.ranks) {
            return Err(Error::usage(format!(
                "`batch` {} does not divide among {} ranks",
                options.rows, options.ranks
            ))
            .hint("make the batch a multiple of the number of ranks"));
        }
        let pieces = corpus.pieces(PIECE_SEQUENCES * options.seq_len);
        if corpus.tokens() < 2 {
            return Err(Error::new("the training text has fewer than two tokens").hint("give more text"));
        }
        let rows = vec![RowCursor::default(); options.rows];
        Ok(Self { options, corpus, pieces, rows, batches: 0, hash: blake3::hash(b"psann batches") })
    }

    /// Tokens of the corpus.
    pub fn tokens(&self) -> u64 {
        self.corpus.tokens()
    }

    /// The piece that is number `chunk` in row `row`, with its epoch.
    fn piece(&self, row: usize, chunk: u64) -> (u64, corpus::Piece) {
        let number = row as u64 + chunk * self.options.rows as u64;
        let count = self.pieces.len() as u64;
        let epoch = number / count;
        let index = Permutation::new(count, self.options.seed, epoch).at(number % count);
        (epoch, self.pieces[index as usize])
    }

    /// The row that starts at `from`.
    fn row(&self, row: usize, from: RowCursor) -> Row {
        let wanted = self.options.seq_len + 1;
        let mut tokens = Vec::with_capacity(wanted);
        let mut documents = Vec::with_capacity(wanted);
        let (mut chunk, mut offset) = (from.chunk, from.offset);
        let mut next = from;
        let mut document = 0;
        while tokens.len() < wanted {
            let (epoch, piece) = self.piece(row, chunk);
            let text = &self.corpus.piece(piece)[offset as usize..];
            let taken = text.len().min(wanted - tokens.len());
            if taken == 0 {
                (chunk, offset, document) = (chunk + 1, 0, document + 1);
                continue;
            }
            tokens.extend_from_slice(&text[..taken]);
            documents.resize(tokens.len(), document);
            // The last token of this row is the first of the next.
            next = RowCursor { epoch, chunk, offset: offset + taken as u64 - 1 };
            offset += taken as u64;
        }
        Row { tokens, documents, next }
    }

    /// All rows of the global batch. Every rank makes all of them: tokens in memory cost next to nothing, and the hash
    /// is then the same on all ranks without any talk between them.
    fn global(&self) -> Vec<Row> {
        (0..self.options.rows).into_par_iter().map(|row| self.row(row, self.rows[row])).collect()
    }

    fn hash_of(rows: &[Row]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for token in rows.iter().flat_map(|row| &row.tokens) {
            hasher.update(&token.to_le_bytes());
        }
        hasher.finalize()
    }
}

impl BatchStream for Loader {
    fn next_batch(&mut self) -> Result<TokenBatch> {
        let rows = self.global();
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.hash.as_bytes());
        hasher.update(Self::hash_of(&rows).as_bytes());
        self.hash = hasher.finalize();
        self.batches += 1;
        self.rows = rows.iter().map(|row| row.next).collect();
        let (rank, ranks) = (self.options.rank, self.options.ranks);
        let mine: Vec<Row> = rows.into_iter().skip(rank).step_by(ranks).collect();
        Ok(TokenBatch {
            rows: mine.len(),
            columns: self.options.seq_len + 1,
            tokens: mine.iter().flat_map(|row| row.tokens.iter().copied()).collect(),
            documents: self
                .options
                .separate_documents
                .then(|| mine.iter().flat_map(|row| row.documents.iter().copied()).collect()),
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            batches: self.batches,
            rows: self.rows.clone(),
            hash: self.hash.to_hex().to_string(),
            next: Self::hash_of(&self.global()).to_hex().to_string(),
        }
    }

    fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        let changed = |what: &str| {
            Error::new(format!("the training text is not the one the checkpoint was made with: {what}"))
                .hint("restore the text, or start over with `--fresh`")
        };
        if cursor.rows.len() != self.options.rows {
            return Err(changed(&format!(
                "the batch has {} rows now and had {}",
                self.options.rows,
                cursor.rows.len()
            )));
        }
        for (row, place) in cursor.rows.iter().enumerate() {
            let (_, piece) = self.piece(row, place.chunk);
            if place.offset as usize > self.corpus.piece(piece).len() {
                return Err(changed("a document is shorter than it was"));
            }
        }
        let hash = blake3::Hash::from_hex(&cursor.hash)
            .map_err(|e| Error::new("the checkpoint's data hash is damaged").because(e))?;
        let before = std::mem::replace(&mut self.rows, cursor.rows.clone());
        if Self::hash_of(&self.global()).to_hex().as_str() != cursor.next {
            self.rows = before;
            return Err(changed("the next batch would differ"));
        }
        self.batches = cursor.batches;
        self.hash = hash;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
