//! Batches of held-out text for the loss during training: the documents in order, once, nothing shuffled.

use psann_core::tokens::TokenBatch;

use super::corpus::Corpus;

/// Windows of `seq_len + 1` tokens over the strung-together documents, `rows` to a batch, at most `limit` batches. What
/// does not fill a window at the end is left out; a text shorter than one window gives one shorter window.
pub fn validation_batches(corpus: &Corpus, seq_len: usize, rows: usize, limit: Option<usize>) -> Vec<TokenBatch> {
    let tokens: Vec<u32> = corpus.documents().flatten().copied().collect();
    let seq_len = seq_len.min(tokens.len().saturating_sub(1));
    if seq_len == 0 || rows == 0 {
        return Vec::new();
    }
    let windows: Vec<&[u32]> =
        (0..(tokens.len() - 1) / seq_len).map(|n| &tokens[n * seq_len..=(n + 1) * seq_len]).collect();
    windows
        .chunks(rows)
        .take(limit.unwrap_or(usize::MAX))
        .map(|part| TokenBatch { rows: part.len(), columns: seq_len + 1, tokens: part.concat(), documents: None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_there_once_in_order() {
        let corpus = Corpus::new([vec![1, 2, 3, 4], vec![5, 6, 7]]);
        let batches = validation_batches(&corpus, 2, 2, None);
        let rows: Vec<Vec<u32>> =
            batches.iter().flat_map(|b| b.tokens.chunks(b.columns).map(<[u32]>::to_vec)).collect();
        assert_eq!(rows, [[1, 2, 3], [3, 4, 5], [5, 6, 7]]);
        assert_eq!((batches[0].rows, batches[1].rows), (2, 1));
        assert_eq!(validation_batches(&corpus, 2, 2, Some(1)).len(), 1);
        assert_eq!(validation_batches(&corpus, 100, 2, None)[0].columns, 7);
        assert!(validation_batches(&Corpus::default(), 2, 2, None).is_empty());
    }
}
