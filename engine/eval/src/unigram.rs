//! The simplest language model there is, as a yardstick: how often each token occurred, and nothing about order.
//!
//! A trained model whose perplexity is not far below this one has learnt the words but no sentence.

/// Token frequencies with one added to each count (Laplace), so that no token is impossible.
#[derive(Debug, Clone, PartialEq)]
pub struct Unigram {
    counts: Vec<u64>,
    total: f64,
}

impl Unigram {
    /// A model of training text in which token i occurred `counts[i]` times, over `vocabulary` tokens (at least as many
    /// as there are counts).
    pub fn new(counts: &[u64], vocabulary: usize) -> Self {
        let mut counts = counts.to_vec();
        counts.resize(counts.len().max(vocabulary), 0);
        let total = counts.iter().map(|count| *count as f64 + 1.0).sum();
        Self { counts, total }
    }

    /// Negative log-likelihood of a token in nats. Tokens beyond the vocabulary count as never seen.
    pub fn nats(&self, token: u32) -> f64 {
        let count = self.counts.get(token as usize).copied().unwrap_or(0);
        -((count as f64 + 1.0) / self.total).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::Unigram;

    #[test]
    fn probabilities_add_up_to_one_and_follow_the_counts() {
        let unigram = Unigram::new(&[5, 0, 2], 4);
        let probabilities: Vec<f64> = (0..4).map(|token| (-unigram.nats(token)).exp()).collect();
        for (found, expected) in probabilities.iter().zip([6.0 / 11.0, 1.0 / 11.0, 3.0 / 11.0, 1.0 / 11.0]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}
