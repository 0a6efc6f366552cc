//! Python's `random.Random`: MT19937 and what is drawn from it.
//!
//! Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random number
//! generator" (1998), seeded by their `init_by_array`. How CPython turns its words into indices has been the same since
//! 3.2; a few-shot prompt is right only if every one of these draws is.

/// Words of state.
const N: usize = 624;
/// Offset of the word that a new one is mixed with.
const M: usize = 397;

/// The generator.
#[derive(Clone)]
pub struct MersenneTwister {
    state: [u32; N],
    next: usize,
}

impl MersenneTwister {
    /// Seeded as `random.seed(seed)` does it: by the absolute value.
    pub fn new(seed: i64) -> Self {
        let seed = seed.unsigned_abs();
        let high = (seed >> 32) as u32;
        if high == 0 { Self::from_key(&[seed as u32]) } else { Self::from_key(&[seed as u32, high]) }
    }

    /// Seeded by the 32-bit words of a number of any size, the lowest first. An empty key counts as 0.
    pub fn from_key(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0] } else { key };
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        let wrap = |state: &mut [u32; N], i: &mut usize| {
            *i += 1;
            if *i == N {
                state[0] = state[N - 1];
                *i = 1;
            }
        };
        for _ in 0..N.max(key.len()) {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            wrap(&mut state, &mut i);
            j = (j + 1) % key.len();
        }
        for _ in 0..N - 1 {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ mixed).wrapping_sub(i as u32);
            wrap(&mut state, &mut i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let (high, low) = (self.u32() >> 5, self.u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A number below `limit`, which is at least 1: as many bits as `limit` has, drawn again while too large.
    pub fn below(&mut self, limit: u64) -> u64 {
        let bits = 64 - limit.leading_zeros();
        loop {
            let drawn = self.bits(bits);
            if drawn < limit {
                return drawn;
            }
        }
    }

    /// `count` different indices below `population`, in the order drawn; `count` is at most `population`.
    ///
    /// A small population is drawn from as from a bag, a large one by drawing again what was drawn before. Which of the
    /// two it is decides which numbers come, and Python decides by the memory that either would take.
    pub fn sample(&mut self, population: u64, count: usize) -> Vec<u64> {
        let mut bag_limit = 21_u64;
        if count > 5 {
            let mut power = 1_u64;
            while power < 3 * count as u64 {
                power *= 4;
            }
            bag_limit += power;
        }
        let mut drawn = Vec::with_capacity(count);
        if population <= bag_limit {
            let mut bag: Vec<u64> = (0..population).collect();
            for left in (0..population).rev().take(count) {
                let at = self.below(left + 1) as usize;
                drawn.push(bag[at]);
                bag[at] = bag[left as usize];
            }
        } else {
            let mut seen = std::collections::HashSet::with_capacity(count);
            while drawn.len() < count {
                let index = self.below(population);
                if seen.insert(index) {
                    drawn.push(index);
                }
            }
        }
        drawn
    }

    /// An index below `population`, as `choices` draws each of its values: with replacement.
    pub fn choice(&mut self, population: usize) -> usize {
        (self.random() * population as f64) as usize
    }

    /// Shuffles in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// The next `count` bits, at most 64: whole words from the lowest, the last one cut from its top.
    fn bits(&mut self, count: u32) -> u64 {
        if count <= 32 {
            return u64::from(self.u32() >> (32 - count));
        }
        let low = u64::from(self.u32());
        low | u64::from(self.u32() >> (64 - count)) << 32
    }

    fn refill(&mut self) {
        for i in 0..N {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if joined & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_the_numbers_that_python_gives() {
        let mut random = MersenneTwister::new(1234);
        let words: Vec<u32> = (0..3).map(|_| random.u32()).collect();
        assert_eq!(words, [4_150_886_329, 3_342_196_574, 1_892_932_127]);
        assert_eq!(MersenneTwister::new(1234).random(), 0.966_453_535_692_138_8);
        assert_eq!(MersenneTwister::new(-1234).u32(), 4_150_886_329);
        assert_eq!(MersenneTwister::new(0).u32(), MersenneTwister::from_key(&[]).u32());
    }

    #[test]
    fn samples_are_those_of_the_reference() {
        let mut random = MersenneTwister::new(1234);
        assert_eq!(random.sample(39_905, 6), [28_883, 7_657, 490, 5_940, 38_156, 2_288]);
        assert_eq!(random.sample(39_905, 6), [5_500, 6_450, 23_241, 15_519, 1_142, 2_019]);
        let mut everything = random.sample(21, 21);
        everything.sort_unstable();
        assert_eq!(everything, (0..21).collect::<Vec<u64>>());
    }
}
