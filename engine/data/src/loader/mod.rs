//! The stream of batches that training reads. *Row b of the global batch is stream b.*
//!
//! | part | what |
//! |---|---|
//! | [`TrainingText`] | a prepared corpus or a source, before it is cut |
//! | `chunks` | the text in chunks, each found by its number and read by itself |
//! | `piece` | documents cut where words begin |
//! | `row` | the stream of one row: its chunks, its window, its tokens |
//! | `pool` | threads that work ahead, and the queues between them and the trainer |
//! | `count` | the tokens of a whole text, counted once |
//! | `validation` | batches of held-out text |
//!
//! A rank reads and tokenises the text of its own rows. What a step sees follows from the options and the text alone: not
//! from the number of ranks or threads, nor from how often the run was resumed.
//!
//! Memory never grows with the corpus. Of each of its rows a rank holds a window of text (`window` / rows, 64 KiB to
//! 4 MiB) and the rest of a chunk (no more than a window, or one document where that is larger), the tokens of a piece (16
//! sequences) and [`AHEAD`] finished sequences; each thread, while it reads, a page of a Parquet file. Where a source is
//! compressed and has to be read from its start, each row also keeps the source's reader with its buffers. A text of up to
//! 64 MiB is held as a whole. Of the corpus there is the manifest: one entry a shard, or a partition of a source.

mod chunks;
mod count;
mod permutation;
mod piece;
mod pool;
mod row;
mod text;
mod validation;

use std::sync::{Arc, Mutex, PoisonError};

use psann_core::tokens::{BatchStream, Cursor, RowCursor, RowSources, Skip, StreamCounters, TokenBatch};
use psann_core::{Error, Result, Tokenizer};
use rayon::prelude::*;

pub use count::{TokenCounts, count_tokens};
pub use text::TrainingText;
pub use validation::{HeldOutOptions, validation_batches};

use chunks::Layout;
use pool::{Lanes, Pool};
use row::{Place, Recipe, RowStream, Sequence, Stretch};

/// What decides the batches, and who gets which rows.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Bytes of text, over all rows, that are shuffled among themselves.
    pub window: u64,
    /// Batches that are left out.
    pub skip: Vec<Skip>,
    /// Tokeniser threads; 0 for a quarter of the cores.
    pub threads: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            seq_len: 256,
            rows: 16,
            seed: 0,
            rank: 0,
            ranks: 1,
            separate_documents: false,
            window: 64 << 20,
            skip: Vec::new(),
            threads: 0,
        }
    }
}

/// Sequences of each row that are made ahead of the trainer.
pub const AHEAD: usize = 8;
/// Sequences of a piece, by the bytes of a token: long documents are cut, so that rows do not all read the same book.
const PIECE_SEQUENCES: u64 = 16;
/// Bytes that English text takes for a token.
const BYTES_PER_TOKEN: u64 = 4;
/// Least and greatest window of a row.
const WINDOW: (u64, u64) = (64 << 10, 4 << 20);

impl LoaderOptions {
    /// The sizes that the division of the text follows from.
    fn layout(&self) -> Layout {
        let rows = self.rows as u64;
        let window = (self.window / rows).clamp(WINDOW.0, WINDOW.1);
        Layout { rows, piece: piece_bytes(self.seq_len), window, least: 0 }
    }

    fn check(&self) -> Result<()> {
        if self.seq_len == 0 || self.rows == 0 {
            return Err(Error::usage("`seq_len` and `batch` must be at least 1"));
        }
        if self.ranks == 0 || self.rank >= self.ranks {
            return Err(Error::usage(format!("there is no rank {} among {}", self.rank, self.ranks)));
        }
        if self.rows < self.ranks {
            return Err(Error::usage(format!(
                "a batch of {} sequences cannot be shared among {} processes",
                self.rows, self.ranks
            ))
            .hint("raise `batch` to one sequence for each process at least, or start fewer"));
        }
        check_skips(&self.skip)
    }
}

fn check_skips(skips: &[Skip]) -> Result<()> {
    match skips.iter().find(|skip| skip.0 == 0 || skip.0 > skip.1) {
        None => Ok(()),
        Some(Skip(first, last)) => Err(Error::usage(format!("`skip` has the range [{first}, {last}]"))
            .hint("write the first and the last batch to leave out, counted from 1")),
    }
}

/// Bytes of a piece of a document.
fn piece_bytes(seq_len: usize) -> u64 {
    PIECE_SEQUENCES * BYTES_PER_TOKEN * seq_len as u64
}

/// The token that ends documents, without which they cannot be told apart.
fn end_of_document(tokenizer: &dyn Tokenizer) -> Result<u32> {
    tokenizer.special().eos.ok_or_else(|| {
        Error::new("the tokenizer has no token that ends a document (EOS)")
            .hint("add one to the tokenizer, or name it as `eos_token` in special_tokens_map.json")
    })
}

/// The stream of the rows of one rank.
pub struct Loader {
    options: LoaderOptions,
    recipe: Arc<Recipe>,
    /// Behind a lock because where the stream stands includes the hash of what comes next, which may have to be waited for.
    pool: Mutex<Pool>,
    rows: Vec<RowCursor>,
    batches: u64,
    drawn: u64,
    last: Vec<Vec<Stretch>>,
}

impl Loader {
    /// Starts at the first batch. Nothing but the manifest is read yet, unless the text is small.
    ///
    /// # Errors
    /// When there is no text, a file of it is missing or changed, or a batch has fewer rows than there are ranks.
    pub fn new(text: &TrainingText, tokenizer: Arc<dyn Tokenizer>, options: LoaderOptions) -> Result<Self> {
        options.check()?;
        let (special, eos) = (tokenizer.special(), end_of_document(tokenizer.as_ref())?);
        let layout = options.layout();
        let chunks = text.chunks(layout)?;
        if chunks.count() == 0 {
            return Err(text::empty(text));
        }
        let named = text.clone();
        let recipe = Arc::new(Recipe {
            chunks,
            tokenizer,
            seq_len: options.seq_len,
            rows: layout.rows,
            window: layout.window,
            seed: options.seed,
            bos: special.bos,
            eos,
            empty: Box::new(move || text::empty(&named)),
        });
        let rows: Vec<RowCursor> = (options.rank..options.rows)
            .step_by(options.ranks)
            .map(|row| RowCursor { row: row as u64, ..RowCursor::default() })
            .collect();
        let streams = rows.iter().map(|row| RowStream::new(Arc::clone(&recipe), row.row)).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores.div_ceil(4) } else { options.threads };
        let pool = Mutex::new(Pool::new(streams, threads, AHEAD));
        Ok(Self { options, recipe, pool, rows, batches: 0, drawn: 0, last: Vec::new() })
    }

    /// What the user should know of the text.
    pub fn notes(&self) -> Vec<String> {
        self.recipe.chunks.notes()
    }

    /// Global batches served.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Where this rank's rows stand, without what comes next.
    pub fn rows(&self) -> &[RowCursor] {
        &self.rows
    }

    fn pool(&mut self) -> &mut Pool {
        self.pool.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&mut self) -> Result<Vec<Sequence>> {
        let sequences = self.pool().next()?;
        self.drawn += 1;
        for (row, sequence) in self.rows.iter_mut().zip(&sequences) {
            let Place { epoch, chunk, start, piece, offset } = sequence.next;
            (row.epoch, row.chunk, row.start, row.piece, row.offset) = (epoch, chunk, start, piece, offset);
        }
        Ok(sequences)
    }

    fn batch(&self, sequences: &[Sequence]) -> TokenBatch {
        let numbers = |sequence: &Sequence| -> Vec<u32> {
            let stretches = sequence.stretches.iter().zip(0..);
            stretches.flat_map(|(stretch, number)| std::iter::repeat_n(number, stretch.tokens as usize)).collect()
        };
        TokenBatch {
            rows: sequences.len(),
            columns: self.options.seq_len + 1,
            tokens: sequences.iter().flat_map(|sequence| sequence.tokens.iter().copied()).collect(),
            documents: self.options.separate_documents.then(|| sequences.iter().flat_map(numbers).collect()),
        }
    }

    /// The rows of `cursor` that are this rank's.
    fn mine(&self, cursor: &Cursor) -> Result<Vec<RowCursor>> {
        if cursor.rows.len() != self.options.rows {
            return Err(changed(&format!(
                "the batch has {} rows now and had {}",
                self.options.rows,
                cursor.rows.len()
            )));
        }
        let find = |mine: &RowCursor| cursor.rows.iter().find(|row| row.row == mine.row).cloned();
        let mine: Option<Vec<RowCursor>> = self.rows.iter().map(find).collect();
        mine.ok_or_else(|| Error::new("the checkpoint's data cursor does not hold every row of the batch"))
    }

    /// Fails where a row's next sequence is not the one that `rows` tell.
    fn compare(&mut self, rows: &[RowCursor]) -> Result<()> {
        let digests = self.pool().digests()?;
        for (index, (row, digest)) in rows.iter().zip(digests).enumerate() {
            let is_same = digest.is_some_and(|digest| hexadecimal(&digest) == row.next);
            // Empty where the row could not be read when the cursor was taken.
            if !is_same && !row.next.is_empty() {
                let place = self.pool().place(index).unwrap_or_default();
                return Err(changed(&format!("row {} of the next batch would differ; it now reads {place}", row.row)));
            }
        }
        Ok(())
    }
}

fn changed(what: &str) -> Error {
    Error::new(format!("the training text is not the one the checkpoint was made with: {what}"))
        .hint("restore the text, or start over with `--fresh`")
}

fn hexadecimal(digest: &[u8; 16]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rolling hash of a row after one more sequence.
fn roll(hash: &str, digest: &[u8; 16]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hash.as_bytes());
    hasher.update(digest);
    hasher.finalize().to_hex()[..32].to_owned()
}

impl BatchStream for Loader {
    fn next_batch(&mut self) -> Result<TokenBatch> {
        loop {
            let sequences = self.draw()?;
            if self.options.skip.iter().any(|skip| skip.holds(self.drawn)) {
                continue;
            }
            self.batches += 1;
            for (row, sequence) in self.rows.iter_mut().zip(&sequences) {
                row.hash = roll(&row.hash, &sequence.digest);
            }
            let batch = self.batch(&sequences);
            self.last = sequences.into_iter().map(|sequence| sequence.stretches).collect();
            return Ok(batch);
        }
    }

    fn cursor(&self) -> Cursor {
        let digests = self.pool.lock().unwrap_or_else(PoisonError::into_inner).digests().unwrap_or_default();
        let mut rows = self.rows.clone();
        for (row, digest) in rows.iter_mut().zip(digests) {
            row.next = digest.as_ref().map(hexadecimal).unwrap_or_default();
        }
        Cursor::new(self.batches, self.drawn, self.options.skip.clone(), rows)
    }

    fn drawn(&self) -> u64 {
        self.drawn
    }

    fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        let rows = self.mine(cursor)?;
        let recipe = &self.recipe;
        let stream = |row: &RowCursor| {
            RowStream::at(Arc::clone(recipe), row.row, Place::from(row)).map_err(|e| changed(&e.to_string()))
        };
        // Each row fills its window again.
        let streams = rows.par_iter().map(stream).collect::<Result<Vec<_>>>()?;
        let before = self.pool().replace(Lanes::from(streams));
        if let Err(error) = self.compare(&rows) {
            self.pool().replace(before);
            return Err(error);
        }
        (self.rows, self.batches, self.drawn) = (rows, cursor.batches, cursor.drawn);
        self.last = Vec::new();
        for skip in &cursor.skip {
            if !self.options.skip.contains(skip) {
                self.options.skip.push(*skip);
            }
        }
        Ok(())
    }

    fn skip(&mut self, batches: Skip) -> Result<()> {
        check_skips(&[batches])?;
        self.options.skip.push(batches);
        Ok(())
    }

    fn sources(&self) -> Vec<RowSources> {
        let rows = self.rows.iter().zip(&self.last);
        rows.map(|(row, stretches)| RowSources { row: row.row, spans: stretches.iter().map(Stretch::span).collect() })
            .collect()
    }

    fn counters(&self) -> StreamCounters {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).counters()
    }
}
