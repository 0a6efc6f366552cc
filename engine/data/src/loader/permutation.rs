//! A keyed bijection on 0..n without any table: a four-round Feistel network on the next even power of two, walked until
//! it lands below n (Black and Rogaway 2002). It orders the pieces of an epoch in no memory, however many there are.

/// A permutation of 0..n.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    count: u64,
    /// Bits of one half.
    half: u32,
    keys: [u64; 4],
}

impl Permutation {
    /// The permutation of 0..count for this seed and epoch.
    pub fn new(count: u64, seed: u64, epoch: u64) -> Self {
        let bits = 64 - count.saturating_sub(1).leading_zeros();
        let half = bits.div_ceil(2).max(1);
        let mut state = mix(seed ^ mix(epoch));
        let keys = std::array::from_fn(|_| {
            state = mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15));
            state
        });
        Self { count, half, keys }
    }

    /// Where `index` goes.
    pub fn at(&self, index: u64) -> u64 {
        let mut value = index;
        // The domain is less than four times as large as 0..n, so this takes few turns.
        loop {
            value = self.network(value);
            if value < self.count {
                return value;
            }
        }
    }

    fn network(&self, value: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half | right
    }
}

/// SplitMix64's finaliser.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_appears_once(count in 1_u64..2000, seed: u64, epoch in 0_u64..5) {
            let permutation = Permutation::new(count, seed, epoch);
            let mut found: Vec<u64> = (0..count).map(|index| permutation.at(index)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seeds_and_epochs_give_other_orders() {
        let order = |seed, epoch| (0..100).map(|i| Permutation::new(100, seed, epoch).at(i)).collect::<Vec<_>>();
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), (0..100).collect::<Vec<_>>());
    }
}
