//! A stream of tokens that any program can make: `x ← x · 6364136223846793005 + 1442695040888963407 mod 2⁶⁴` from the
//! seed, token = `(x >> 33) mod vocabulary`. Row n of the run is tokens `n·seq ..= n·seq + seq`; of each micro-batch the
//! ranks take `batch` rows one after the other.

use psann_core::tokens::TokenBatch;

use super::BenchOptions;

/// The stream, cut into batches.
pub struct SyntheticTokens {
    state: u64,
    vocabulary: u64,
    batch: usize,
    accumulation: usize,
    seq: usize,
    rank: usize,
    ranks: usize,
    /// Last token of the row before, which is the first of the next.
    carried: Option<u32>,
}

impl SyntheticTokens {
    /// For the batches of one rank of a bench.
    pub fn new(options: &BenchOptions, rank: usize, ranks: usize) -> Self {
        Self {
            state: options.seed,
            vocabulary: options.vocab.max(1),
            batch: options.batch as usize,
            accumulation: options.accumulation as usize,
            seq: options.seq as usize,
            rank,
            ranks,
            carried: None,
        }
    }

    /// This rank's micro-batches of the next step, one after the other.
    pub fn next_batch(&mut self) -> TokenBatch {
        let rows = self.batch * self.accumulation;
        let mut tokens = Vec::with_capacity(rows * (self.seq + 1));
        for row in 0..rows * self.ranks {
            let first = self.carried.unwrap_or_else(|| self.draw());
            let start = tokens.len();
            tokens.push(first);
            tokens.extend((0..self.seq).map(|_| self.draw()));
            self.carried = tokens.last().copied();
            if row / self.batch % self.ranks != self.rank {
                tokens.truncate(start);
            }
        }
        TokenBatch { rows, columns: self.seq + 1, tokens, documents: None }
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
        let batch = SyntheticTokens::new(&options, 0, 1).next_batch();
        assert_eq!((batch.rows, batch.columns), (2, 4));
        assert_eq!(batch.tokens[3], batch.tokens[4]);
        // 6364136223846793005 + 1442695040888963407 = 7806831264735756412; >> 33 = 908833337.
        assert_eq!(batch.tokens[0], (7_806_831_264_735_756_412_u64 >> 33) as u32);
    }

    #[test]
    fn ranks_take_the_rows_of_each_micro_batch_in_turn() {
        let options = BenchOptions { batch: 2, accumulation: 2, seq: 3, vocab: 97, ..BenchOptions::default() };
        let all = SyntheticTokens::new(&BenchOptions { batch: 4, ..options.clone() }, 0, 1).next_batch();
        let of = |rank| SyntheticTokens::new(&options, rank, 2).next_batch().tokens;
        let rows = |from: usize, to: usize| all.tokens[from * 4..to * 4].to_vec();
        assert_eq!(of(0), [rows(0, 2), rows(4, 6)].concat());
        assert_eq!(of(1), [rows(2, 4), rows(6, 8)].concat());
    }
}
