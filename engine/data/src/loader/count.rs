//! The tokens of a whole text, counted by all cores without keeping any: what an epoch is, and how frequent each token is.
//! Counting reads everything, so the result is kept in a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use psann_core::{Error, Event, Observer, Result, Tokenizer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::chunks::Layout;
use super::row::Recipe;
use super::{TrainingText, end_of_document, piece_bytes};
use crate::files;

/// Task name of progress events.
const TASK: &str = "counting tokens";
/// Chunks from one event of progress to the next.
const CHUNKS_OF_EVENT: u64 = 64;

/// What a text comes to in tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Pieces that documents begin with: documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Tokens, those that begin and end documents included.
    pub tokens: u64,
    /// How often each id occurs.
    pub counts: Vec<u64>,
}

/// A file of counts.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What was counted, and how.
    key: String,
    #[serde(flatten)]
    counts: TokenCounts,
}

impl TokenCounts {
    fn add(mut self, other: Self) -> Self {
        if self.counts.is_empty() {
            return other;
        }
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.tokens += other.tokens;
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self
    }
}

/// Counts the tokens of `text` as the loader cuts it for sequences of `seq_len`, or reads what an earlier call left in
/// `folder` for the same text and tokenizer.
///
/// # Errors
/// When a file is not what its manifest says, or cannot be read; an interruption that the observer asks for.
pub fn count_tokens(
    text: &TrainingText,
    tokenizer: &Arc<dyn Tokenizer>,
    seq_len: usize,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<TokenCounts> {
    let piece = piece_bytes(seq_len);
    let key = format!("{}\n{}\n{piece}", text.identity()?, tokenizer.identity());
    let key = blake3::hash(key.as_bytes()).to_hex().to_string();
    let path = folder.join(format!("tokens-{}.json", &key[..16]));
    let kept: Option<Kept> = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(kept) = kept.filter(|kept| kept.key == key) {
        return Ok(kept.counts);
    }
    text.verify()?;
    let counts = count(text, tokenizer, piece, observer)?;
    let kept = Kept { key, counts };
    let json = serde_json::to_vec(&kept).map_err(|e| Error::new("cannot write token counts").because(e))?;
    // Ranks may count at the same time; each writes a file of its own.
    let mine = path.with_added_extension(std::process::id().to_string());
    files::write(&mine, &json)?;
    fs::rename(&mine, &path).map_err(|e| files::cannot_write(&path, e))?;
    Ok(kept.counts)
}

fn count(
    text: &TrainingText,
    tokenizer: &Arc<dyn Tokenizer>,
    piece: u64,
    observer: &dyn Observer,
) -> Result<TokenCounts> {
    // One row: where chunks have to share a partition, fewer of them read it fewer times.
    let chunks = text.chunks(Layout { rows: 1, piece, window: u64::MAX, least: 0 })?;
    let recipe = Recipe {
        tokenizer: Arc::clone(tokenizer),
        seq_len: 0,
        rows: 1,
        window: 0,
        seed: 0,
        bos: tokenizer.special().bos,
        eos: end_of_document(tokenizer.as_ref())?,
        empty: Box::new(|| Error::new("there is no text")),
        chunks: Arc::clone(&chunks),
    };
    let (vocabulary, done) = (tokenizer.vocabulary(), AtomicU64::new(0));
    let none = || TokenCounts { counts: vec![0; vocabulary], ..TokenCounts::default() };
    let of_chunk = |mut counts: TokenCounts, chunk: u64| -> Result<TokenCounts> {
        if observer.stop_requested() {
            return Err(Error::interrupted("stopped while tokens were counted"));
        }
        for piece in chunks.open(chunk)? {
            let piece = piece?;
            let tokens = recipe.tokens(&piece)?;
            counts.documents += u64::from(piece.first);
            counts.bytes += piece.text.len() as u64;
            counts.tokens += tokens.len() as u64;
            for token in tokens {
                if let Some(count) = counts.counts.get_mut(token as usize) {
                    *count += 1;
                }
            }
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(CHUNKS_OF_EVENT) {
            let total = Some(chunks.count());
            observer.event(Event::Progress { task: TASK.into(), done, total, unit: "chunks", detail: String::new() });
        }
        Ok(counts)
    };
    let counted = (0..chunks.count())
        .into_par_iter()
        .try_fold(none, of_chunk)
        .try_reduce(TokenCounts::default, |sum, other| Ok(sum.add(other)));
    observer.event(Event::Done { task: TASK.into() });
    counted
}
