//! [`Pass`]: several sequences in one forward, each as far as it happens to be.
//!
//! Generating for many readers, scoring many endings of one text, reading a prompt while others are answered: all are
//! runs of tokens that see what came before them in their own sequence. They stand one behind the other in one row of
//! ids, so nothing is padded, and what came before is in a cache, or in an earlier run of the same pass.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::model::Cache;
use crate::{Error, Result};

/// Consecutive tokens of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Their places in the row of ids.
    pub tokens: Range<i64>,
    /// What the sequence had before them.
    pub past: Past,
}

/// What came before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing, and nothing of the run is kept.
    Nothing,
    /// What the cache of this number remembers; it will remember the run too.
    Cache(usize),
    /// An earlier run of this pass that began with nothing: several runs may continue it, and nothing of them is kept.
    Run(usize),
}

/// Runs that are computed together, and the caches they continue.
#[derive(Debug, Default)]
pub struct Pass {
    runs: Vec<Run>,
    /// The caches that runs name.
    pub caches: Vec<Cache>,
    /// What the model computed for this pass in one segment and uses in the others, such as tables of positions.
    pub tables: Vec<Tensor>,
}

impl Pass {
    /// A pass over `runs`, which follow one another from token 0.
    ///
    /// # Errors
    /// When they do not, name a cache that is not there or that another run names, or a run that cannot be continued.
    pub fn new(runs: Vec<Run>, caches: Vec<Cache>) -> Result<Self> {
        let mut next = 0;
        let mut named = vec![false; caches.len()];
        for (index, run) in runs.iter().enumerate() {
            let continues = match run.past {
                Past::Nothing => true,
                Past::Cache(cache) => named.get_mut(cache).is_some_and(|named| !std::mem::replace(named, true)),
                Past::Run(earlier) => earlier < index && runs[earlier].past == Past::Nothing,
            };
            if run.tokens.start != next || run.tokens.is_empty() || !continues {
                return Err(Error::new(format!("run {index} of a pass, {run:?}, does not continue what is there")));
            }
            next = run.tokens.end;
        }
        Ok(Self { runs, caches, tables: Vec::new() })
    }

    /// The runs.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Tokens of all runs.
    pub fn tokens(&self) -> i64 {
        self.runs.last().map_or(0, |run| run.tokens.end)
    }

    /// Tokens of its sequence that came before a run.
    pub fn past(&self, run: &Run) -> i64 {
        match run.past {
            Past::Nothing => 0,
            Past::Cache(cache) => self.caches[cache].length,
            Past::Run(earlier) => self.runs[earlier].tokens.end - self.runs[earlier].tokens.start,
        }
    }

    /// The position of each token in its sequence: int64 `[tokens]`.
    pub fn positions(&self, device: Device) -> Tensor {
        let of_run = |run: &Run| {
            let past = self.past(run);
            past..past + run.tokens.end - run.tokens.start
        };
        let positions: Vec<i64> = self.runs.iter().flat_map(of_run).collect();
        Tensor::from_slice(&positions).to_kind(Kind::Int64).to_device(device)
    }

    /// Moves the lengths of all caches behind their runs; the last step of a pass.
    pub fn remember_lengths(&mut self) {
        for run in &self.runs {
            if let Past::Cache(cache) = run.past {
                self.caches[cache].length += run.tokens.end - run.tokens.start;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_from_what_each_run_continues() {
        let run = |tokens, past| Run { tokens, past };
        let mut cache = Cache::new(1);
        cache.length = 7;
        let runs =
            vec![run(0..3, Past::Nothing), run(3..5, Past::Run(0)), run(5..6, Past::Cache(0)), run(6..8, Past::Run(0))];
        let mut pass = Pass::new(runs, vec![cache]).unwrap();
        let positions = Vec::<i64>::try_from(pass.positions(Device::Cpu)).unwrap();
        assert_eq!(positions, [0, 1, 2, 3, 4, 7, 3, 4]);
        pass.remember_lengths();
        assert_eq!(pass.caches[0].length, 8);
    }

    #[test]
    fn runs_that_continue_nothing_there_are_refused() {
        let run = |tokens, past| Run { tokens, past };
        let twice = vec![run(0..1, Past::Cache(0)), run(1..2, Past::Cache(0))];
        let gap = vec![run(0..1, Past::Nothing), run(2..3, Past::Nothing)];
        let grandchild = vec![run(0..1, Past::Nothing), run(1..2, Past::Run(0)), run(2..3, Past::Run(1))];
        let itself = vec![run(0..1, Past::Run(0))];
        for runs in [twice, gap, grandchild, itself, vec![run(0..0, Past::Nothing)], vec![run(0..1, Past::Cache(1))]] {
            assert!(Pass::new(runs, vec![Cache::new(0)]).is_err());
        }
    }
}
