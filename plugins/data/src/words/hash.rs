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

/// The 8 bytes from `at` on as a little-endian number, zeros after the end of `bytes`.
#[inline]
pub fn eight(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => tail(bytes, at),
    }
}

#[cold]
fn tail(bytes: &[u8], at: usize) -> u64 {
    bytes.iter().skip(at).take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The first `length` bytes of `word`, zeros after them; all 8 if there are more.
#[inline]
pub fn first(word: u64, length: usize) -> u64 {
    if length >= 8 { word } else { word & !(u64::MAX << (8 * length)) }
}

/// Number of characters in `bytes[start..end]`, which are UTF-8, given the 8 bytes from `start` on.
#[inline]
pub fn chars_from(word: u64, bytes: &[u8], start: usize, end: usize) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let length = end - start;
    if length <= 8 {
        // All but the bytes `10xxxxxx`.
        let word = first(word, length);
        return length - (word & !(word << 1) & HIGH).count_ones() as usize;
    }
    bytes[start..end].iter().filter(|&&byte| (byte as i8) >= -0x40).count()
}

/// The hash of `bytes[start..end]`.
#[inline]
pub fn hash(bytes: &[u8], start: usize, end: usize) -> u64 {
    hash_from(eight(bytes, start), bytes, start, end)
}

/// The same, given the 8 bytes from `start` on.
#[inline]
pub fn hash_from(word: u64, bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    let seed = seed(length);
    match length {
        0..=8 => mix(first(word, length) ^ SECRET[0], seed),
        9..=16 => mix(word ^ SECRET[0], eight(bytes, end - 8) ^ seed),
        _ => long(bytes, start, end),
    }
}

/// Lengths differ in all bits here: letters that differ in a few must not make up for another length.
#[inline]
fn seed(length: usize) -> u64 {
    SECRET[1] ^ (length as u64).wrapping_mul(SECRET[2])
}

fn long(bytes: &[u8], start: usize, end: usize) -> u64 {
    let mut hash = seed(end - start);
    let mut at = start;
    while end - at > 16 {
        hash = mix(eight(bytes, at) ^ SECRET[0], eight(bytes, at + 8) ^ hash);
        at += 16;
    }
    // The last 16 bytes, which may overlap the ones before.
    hash = mix(eight(bytes, end - 16) ^ SECRET[0], eight(bytes, end - 8) ^ hash);
    mix(hash ^ SECRET[2], SECRET[0])
}

/// A quick index below 2^`bits` of two words, for bit maps that answer "surely not".
#[inline]
pub fn index(one: u64, two: u64, bits: u32) -> usize {
    ((one.wrapping_mul(SECRET[0]) ^ two.wrapping_mul(SECRET[1]).rotate_left(23)).wrapping_mul(SECRET[2]) >> (64 - bits))
        as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_do_not_make_up_for_the_length() {
        let hash_of = |text: &str| hash(text.as_bytes(), 0, text.len());
        assert_ne!(hash_of("aaaaaabba"), hash_of("aaaaaabbba"));
        let mut seen = std::collections::BTreeSet::new();
        let mut texts = vec![String::new()];
        for _ in 0..14 {
            texts = texts.iter().flat_map(|text| [format!("{text}a"), format!("{text}b")]).collect();
            assert!(texts.iter().all(|text| seen.insert(hash_of(text))));
        }
    }

    #[test]
    fn characters_are_counted() {
        let text = "a\u{e9}\u{20ac}\u{1f600}bc\u{e9}\u{20ac}\u{1f600}z";
        let places: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
        for &start in &places {
            for &end in places.iter().filter(|&&end| end >= start) {
                let found = chars_from(eight(text.as_bytes(), start), text.as_bytes(), start, end);
                assert_eq!(found, text[start..end].chars().count());
            }
        }
    }

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
