//! A stream of tokens that any program can make: `x ← x · 6364136223846793005 + 1442695040888963407 mod 2⁶⁴` from the
//! seed, token = `(x >> 33) mod vocabulary`. Row n of the run is tokens `n·seq ..= n·seq + seq`.

use psann_core::tokens::TokenBatch;

use super::BenchOptions;

/// The stream, cut into batches.
pub struct SyntheticTokens {
    state: u64,
    vocabulary: u64,
    rows: usize,
    seq: usize,
    /// Last token of the row before, which is the first of the next.
    carried: Option<u32>,
}

impl SyntheticTokens {
    /// For the batches of a bench.
    pub fn new(options: &BenchOptions) -> Self {
        Self {
            state: options.seed,
            vocabulary: options.vocab.max(1),
            rows: (options.batch * options.accumulation) as usize,
            seq: options.seq as usize,
            carried: None,
        }
    }

    /// The micro-batches of the next step, one after the other.
    pub fn next_batch(&mut self) -> TokenBatch {
        let mut tokens = Vec::with_capacity(self.rows * (self.seq + 1));
        for _ in 0..self.rows {
            let first = self.carried.unwrap_or_else(|| self.draw());
            tokens.push(first);
            tokens.extend((0..self.seq).map(|_| self.draw()));
            self.carried = tokens.last().copied();
        }
        TokenBatch { rows: self.rows, columns: self.seq + 1, tokens, documents: None }
    }

    fn draw(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 33) % self.vocabulary) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_overlap_by_one_token_and_follow_the_recurrence() {
        let options =
            BenchOptions { batch: 1, accumulation: 2, seq: 3, vocab: 1 << 31, seed: 1, ..BenchOptions::default() };
        let batch = SyntheticTokens::new(&options).next_batch();
        assert_eq!((batch.rows, batch.columns), (2, 4));
        assert_eq!(batch.tokens[3], batch.tokens[4]);
        // 6364136223846793005 + 1442695040888963407 = 7806831264735756412; >> 33 = 908833337.
        assert_eq!(batch.tokens[0], (7_806_831_264_735_756_412_u64 >> 33) as u32);
    }
}
