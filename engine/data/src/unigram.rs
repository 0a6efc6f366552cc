//! Token counts of the training text. A model that knows only how frequent each token is has a perplexity that follows
//! from them; any model worth its training beats it by far.

/// How often each token of a vocabulary occurs.
pub fn unigram<'a>(documents: impl IntoIterator<Item = &'a [u32]>, vocabulary: usize) -> Vec<u64> {
    let mut counts = vec![0; vocabulary];
    for token in documents.into_iter().flatten() {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_counted() {
        let documents: [&[u32]; 2] = [&[0, 2, 2], &[2, 1]];
        assert_eq!(super::unigram(documents, 4), [1, 1, 3, 0]);
    }
}
