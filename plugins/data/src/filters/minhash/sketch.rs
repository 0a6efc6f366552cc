//! The signature of a set of shingles: fast similarity sketching (Dahlgaard, Knudsen, Thorup: "Fast Similarity Sketching",
//! FOCS 2017).
//!
//! Every shingle falls into one slot by its hash, and each slot keeps the smallest value; rounds with fresh hashes go on
//! until no slot is empty. One round is enough for most documents, so the work is O(n + k log k) where classic MinHash
//! takes O(n·k), with the same estimator: two sets agree in a slot with the probability of their Jaccard similarity.

use super::words::mix;

/// Marks an empty slot: larger than any value.
const EMPTY: u64 = u64::MAX;
/// Makes the hashes of each round independent of those of the others.
const ROUND: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fills `slots` with the signature of `shingles`, which are well-mixed hashes; repeats do not matter.
///
/// Without shingles all slots stay empty.
pub fn sketch(shingles: &[u64], slots: &mut [u64]) {
    slots.fill(EMPTY);
    if shingles.is_empty() {
        return;
    }
    let count = slots.len() as u64;
    // A value carries its round in front, so that a later round never takes a slot that an earlier one filled.
    for shingle in shingles {
        offer(slots, *shingle, count, 0);
    }
    // The paper's first phase takes as many rounds as there are slots; a second one fills what is left without chance.
    for round in 1..=count {
        if !slots.contains(&EMPTY) {
            return;
        }
        let (salt, tag) = (round.wrapping_mul(ROUND), round << 32);
        for shingle in shingles {
            offer(slots, mix(shingle ^ salt), count, tag);
        }
    }
    for (number, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| **slot == EMPTY) {
        let salt = (count + number as u64 + 1).wrapping_mul(ROUND);
        *slot = shingles.iter().map(|shingle| mix(shingle ^ salt)).min().unwrap_or(EMPTY);
    }
}

/// Puts a hash into its slot: the high half chooses the slot, the low half is the value behind `tag`.
#[inline]
fn offer(slots: &mut [u64], hash: u64, count: u64, tag: u64) {
    let slot = &mut slots[(((hash >> 32) * count) >> 32) as usize];
    // Without a branch: about every second value is a new minimum, which no processor can foresee.
    *slot = (tag | (hash & 0xffff_ffff)).min(*slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shingles(from: u64, count: u64) -> Vec<u64> {
        (from..from + count).map(|n| mix(mix(n) ^ 0x11)).collect()
    }

    fn signature(shingles: &[u64], slots: usize) -> Vec<u64> {
        let mut found = vec![0; slots];
        sketch(shingles, &mut found);
        found
    }

    #[test]
    fn order_and_repeats_do_not_matter() {
        for count in [1, 4, 20, 200, 2000] {
            let mut set = shingles(5, count);
            let found = signature(&set, 112);
            assert!(!found.contains(&EMPTY), "{count}");
            set.reverse();
            set.extend_from_within(..);
            assert_eq!(signature(&set, 112), found, "{count}");
        }
        assert!(signature(&[], 112).iter().all(|slot| *slot == EMPTY));
    }

    /// Mean and standard deviation of the estimated similarity of pairs that share `common` of `each` shingles.
    fn estimate(common: u64, each: u64, slots: usize, pairs: u64) -> (f64, f64) {
        let of_pair = |pair: u64| {
            let base = pair * 1_000_000;
            let a = signature(&shingles(base, each), slots);
            let b = signature(&shingles(base + each - common, each), slots);
            a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / slots as f64
        };
        let found: Vec<f64> = (0..pairs).map(of_pair).collect();
        let mean = found.iter().sum::<f64>() / pairs as f64;
        let variance = found.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / pairs as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn the_estimate_is_unbiased_and_not_wider_than_the_binomial() {
        for (common, each) in [(16, 20), (49, 60), (165, 200), (178, 200), (711, 800), (600, 800)] {
            let similarity = common as f64 / (2 * each - common) as f64;
            let (mean, deviation) = estimate(common, each, 112, 1000);
            let binomial = (similarity * (1.0 - similarity) / 112.0).sqrt();
            assert!((mean - similarity).abs() < 4.0 * binomial / 1000_f64.sqrt(), "{each}: {mean} for {similarity}");
            assert!(deviation < binomial * 1.08, "{each}: {deviation} against {binomial}");
        }
    }

    #[test]
    fn bands_meet_as_often_as_theory_says() {
        for (common, each) in [(165, 200), (178, 200), (600, 800)] {
            let similarity: f64 = common as f64 / (2 * each - common) as f64;
            let theory = 1.0 - (1.0 - similarity.powi(8)).powi(14);
            let pairs = 1500;
            let meets = |pair: u64| {
                let base = pair * 1_000_000;
                let a = signature(&shingles(base, each), 112);
                let b = signature(&shingles(base + each - common, each), 112);
                a.chunks(8).zip(b.chunks(8)).any(|(a, b)| a == b)
            };
            let rate = (0..pairs).filter(|pair| meets(*pair)).count() as f64 / pairs as f64;
            let deviation = (theory * (1.0 - theory) / pairs as f64).sqrt();
            assert!((rate - theory).abs() < 4.5 * deviation, "{similarity}: {rate}, theory {theory}");
        }
    }
}
