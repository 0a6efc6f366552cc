//! Batches of held-out text for the loss during training: the documents in order, once, nothing shuffled. Only as much
//! text is read as the batches take.

use psann_core::tokens::TokenBatch;
use psann_core::{Document, Result, Tokenizer};

use super::end_of_document;

/// What decides the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldOutOptions {
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Sequences of a batch, over all ranks.
    pub rows: usize,
    /// Batches, at most.
    pub batches: usize,
    /// This process's number.
    pub rank: usize,
    /// Number of processes; rank r gets the sequences s with s mod ranks = r.
    pub ranks: usize,
    /// Whether to number the documents within a row.
    pub separate_documents: bool,
}

/// Windows of `seq_len + 1` tokens over the strung-together documents, `rows` to a batch. What does not fill a window at
/// the end is left out; a text shorter than one window gives one shorter window. Ranks get the same number of batches, the
/// last of which may be without a row.
pub fn validation_batches(
    documents: impl IntoIterator<Item = Result<Document>>,
    tokenizer: &dyn Tokenizer,
    options: HeldOutOptions,
) -> Result<Vec<TokenBatch>> {
    let HeldOutOptions { seq_len, rows, batches, .. } = options;
    let wanted = seq_len.saturating_mul(rows).saturating_mul(batches).saturating_add(1);
    let (mut tokens, mut numbers) = (Vec::new(), Vec::new());
    if wanted > 1 {
        let (bos, eos) = (tokenizer.special().bos, end_of_document(tokenizer)?);
        for (document, number) in documents.into_iter().zip(0..) {
            tokens.extend(bos);
            tokens.extend(tokenizer.encode(&document?.text)?);
            tokens.push(eos);
            numbers.resize(tokens.len(), number);
            if tokens.len() >= wanted {
                break;
            }
        }
    }
    tokens.truncate(wanted);
    Ok(windows(&tokens, &numbers, options))
}

fn windows(tokens: &[u32], numbers: &[u32], options: HeldOutOptions) -> Vec<TokenBatch> {
    let seq_len = options.seq_len.min(tokens.len().saturating_sub(1));
    if seq_len == 0 {
        return Vec::new();
    }
    let starts: Vec<usize> = (0..(tokens.len() - 1) / seq_len).map(|n| n * seq_len).collect();
    let of_batch = |part: &[usize]| {
        let mine: Vec<usize> = part.iter().copied().skip(options.rank).step_by(options.ranks.max(1)).collect();
        let of_row = |values: &[u32]| mine.iter().flat_map(|start| values[*start..=start + seq_len].to_vec()).collect();
        TokenBatch {
            rows: mine.len(),
            columns: seq_len + 1,
            tokens: of_row(tokens),
            documents: options.separate_documents.then(|| of_row(numbers)),
        }
    };
    starts.chunks(options.rows).map(of_batch).collect()
}
