//! Which parameters belong to which segment, and which rows of them to which rank.

use std::ops::Range;

use psann_core::model::{ParameterSpec, SegmentSpec};
use psann_core::optimizer::BLOCK;
use psann_core::{Error, Result};
use tch::Tensor;

/// Where the shards of each segment stand in the list of all shards.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// First shard of each segment, and the number of all.
    starts: Vec<usize>,
}

impl Segments {
    /// One shard per parameter, in segment and spec order.
    pub fn of(segments: &[SegmentSpec]) -> Self {
        let mut starts = vec![0];
        for segment in segments {
            starts.push(starts[starts.len() - 1] + segment.parameters.len());
        }
        Self { starts }
    }

    /// Number of segments.
    pub fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The shards of `segment`.
    pub fn range(&self, segment: usize) -> Result<Range<usize>> {
        if segment >= self.count() {
            return Err(Error::new(format!("segment {segment} was never installed")));
        }
        Ok(self.starts[segment]..self.starts[segment + 1])
    }

    /// Fails unless there is an entry for each parameter of `segment`.
    pub fn check_gradients(&self, segment: usize, gradients: &[Option<Tensor>]) -> Result<()> {
        let parameters = self.range(segment)?.len();
        if parameters == gradients.len() {
            return Ok(());
        }
        Err(Error::new(format!("segment {segment} has {parameters} parameters, got {} gradients", gradients.len())))
    }
}

/// First row of each of `ranks` ranks, and the number of all rows: equal shares of dimension 0, rounded up to whole blocks
/// of 256 elements. The last ranks may get less, or nothing.
pub fn row_starts(spec: &ParameterSpec, ranks: usize) -> Vec<i64> {
    let rows = spec.shape.first().copied().unwrap_or(1);
    let inner: i64 = spec.shape.iter().skip(1).product();
    let unit = BLOCK / gcd(inner.max(1), BLOCK);
    let share = (rows as u64).div_ceil(ranks.max(1) as u64).next_multiple_of(unit as u64) as i64;
    (0..=ranks as i64).map(|rank| (rank * share).min(rows)).collect()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(shape: &[i64]) -> ParameterSpec {
        ParameterSpec { name: "w".into(), shape: shape.to_vec(), decays: true, trainable: true }
    }

    #[test]
    fn rows_are_shared_in_whole_blocks() {
        assert_eq!(row_starts(&spec(&[384, 384]), 2), [0, 192, 384]);
        assert_eq!(row_starts(&spec(&[5, 384]), 2), [0, 4, 5], "two rows are three blocks");
        assert_eq!(row_starts(&spec(&[384]), 4), [0, 256, 384, 384, 384]);
        assert_eq!(row_starts(&spec(&[1]), 3), [0, 1, 1, 1]);
        assert_eq!(row_starts(&spec(&[50257, 3072]), 1), [0, 50257]);
    }

    proptest! {
        #[test]
        fn every_row_has_one_owner_and_no_border_cuts_a_block(
            shape in prop::collection::vec(1_i64..600, 1..4), ranks in 1_usize..9
        ) {
            let spec = spec(&shape);
            let starts = row_starts(&spec, ranks);
            prop_assert_eq!((starts.len(), starts[0], starts[ranks]), (ranks + 1, 0, shape[0]));
            prop_assert!(starts.is_sorted());
            let inner: i64 = shape[1..].iter().product();
            prop_assert!(starts[..ranks].iter().all(|start| *start == shape[0] || start * inner % BLOCK == 0));
        }
    }
}
