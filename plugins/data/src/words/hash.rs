//! A hash of short byte strings that are parts of a longer one, so that a word costs one load and one multiplication.
//!
//! 64 bits are the identity of a word or line below: with a million of them in a document, a false match has a
//! probability of 3e-8.

const SECRET: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f];

/// A 128-bit product folded to 64 bits.
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Up to 8 bytes from `at`, as a little-endian number.
#[inline]
fn load(bytes: &[u8], at: usize, length: usize) -> u64 {
    if let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let all = u64::from_le_bytes(*eight);
        return if length >= 8 { all } else { all & !(u64::MAX << (8 * length)) };
    }
    // The last bytes of the text.
    bytes[at..at + length].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The hash of `bytes[start..end]`.
#[inline]
pub fn hash(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    let seed = SECRET[1] ^ length as u64;
    if length <= 8 {
        return mix(load(bytes, start, length) ^ SECRET[0], seed);
    }
    let mut hash = seed;
    let mut at = start;
    while end - at > 16 {
        hash = mix(load(bytes, at, 8) ^ SECRET[0], load(bytes, at + 8, 8) ^ hash);
        at += 16;
    }
    // The last 16 bytes, which may overlap the ones before, or all of 9 to 16.
    let from = if length < 16 { start } else { end - 16 };
    hash = mix(load(bytes, from, 8) ^ SECRET[0], load(bytes, end - 8, 8) ^ hash);
    mix(hash ^ SECRET[2], SECRET[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_the_bytes_alone() {
        let text: Vec<u8> = (0..100u8).collect();
        let mut seen = std::collections::BTreeSet::new();
        for start in 0..60 {
            for end in start..=text.len() {
                let copy = text[start..end].to_vec();
                assert_eq!(hash(&text, start, end), hash(&copy, 0, copy.len()));
                seen.insert(hash(&copy, 0, copy.len()));
            }
        }
        let nonempty: usize = (0..60).map(|start| text.len() - start).sum();
        assert_eq!(seen.len(), nonempty + 1);
    }
}
