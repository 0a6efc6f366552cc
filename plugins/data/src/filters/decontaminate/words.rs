//! Text as a row of word hashes: NFKC, lower case, whatever is not alphanumeric separates words. Both sides of the
//! comparison go through here, so re-cased, re-punctuated and re-wrapped copies look the same.
//!
//! Nearly all bytes are ASCII, and for ASCII NFKC changes nothing. So a copy in lower case is cut into words 64 bytes at
//! a time: one bit per byte tells whether it belongs to a word, and words begin and end where the bit changes. The
//! processor guesses wrong once per block and not at each of its ten words. Only a word with other bytes in it is
//! normalised letter by letter.

use std::ops::Range;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes that are classified at once.
const BLOCK: usize = 64;
/// Words of at most this many bytes are hashed without a loop or a branch.
const SHORT: usize = 16;

/// Buffers that are reused from text to text.
#[derive(Debug, Default)]
pub struct Scratch {
    lower: Vec<u8>,
    composed: String,
    word: String,
}

/// Calls `word` with the hash of each word of `text` and the bytes it was made of, in order.
pub fn each_word(text: &str, scratch: &mut Scratch, mut word: impl FnMut(u64, Range<usize>)) {
    let Scratch { lower, composed, word: letters } = scratch;
    lower.clear();
    lower.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    // Zeros end the last word and may be read behind it.
    lower.resize((text.len() / BLOCK + 1) * BLOCK + SHORT, 0);
    let (mut start, mut inside) = (0, false);
    // Whether a byte that is not ASCII may be in the open word.
    let mut foreign = false;
    let (blocks, _) = lower.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let base = index * BLOCK;
        let (words, other) = classes(block);
        foreign |= other;
        let mut edges = words ^ (words << 1 | u64::from(inside));
        while edges != 0 {
            let at = base + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            inside = !inside;
            if inside {
                start = at;
            } else if foreign && !text.as_bytes()[start..at].is_ascii() {
                // An accent that follows composes with a letter before it, so the span is taken whole. It ends at an
                // ASCII separator: whatever composes with one of those is no letter either.
                unicode_words(&text[start..at], composed, letters, |hash| word(hash, start..at));
            } else {
                word(hash_at(lower, start, at), start..at);
            }
        }
        foreign = other || (foreign && inside);
    }
}

/// One bit per byte that belongs to a word, and whether there are bytes that are not ASCII. Those belong to words until
/// their characters tell.
fn classes(block: &[u8; BLOCK]) -> (u64, bool) {
    let flags = block.map(|byte| u8::from(byte.is_ascii_lowercase()) | u8::from(byte.is_ascii_digit()) | byte >> 7);
    let other = block.iter().fold(0, |all, byte| all | byte) >= 128;
    let mut bits = 0;
    for (index, flags) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Moves the lowest bits of eight bytes side by side into the highest byte.
        let packed = u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= packed << (8 * index);
    }
    (bits, other)
}

/// The hash of the word at `start..end` of a buffer that has [`SHORT`] bytes behind every word.
#[inline]
fn hash_at(buffer: &[u8], start: usize, end: usize) -> u64 {
    match buffer[start..].first_chunk::<SHORT>() {
        Some(bytes) if end - start <= SHORT => hash_short(u128::from_le_bytes(*bytes), end - start),
        _ => xxh3_64(&buffer[start..end]),
    }
}

/// The same hash of a word that stands for itself.
fn hash(word: &[u8]) -> u64 {
    if word.len() > SHORT {
        return xxh3_64(word);
    }
    let mut bytes = [0; SHORT];
    bytes[..word.len()].copy_from_slice(word);
    hash_short(u128::from_le_bytes(bytes), word.len())
}

/// Two folded multiplications, as rapidhash and wyhash mix their last 16 bytes; `length` is 1 to 16.
#[inline]
fn hash_short(bytes: u128, length: usize) -> u64 {
    const SECRET: [u64; 3] = [0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3];
    let word = bytes << (8 * (SHORT - length));
    let first = u128::from(word as u64 ^ SECRET[0]) * u128::from((word >> 64) as u64 ^ SECRET[1]);
    let second = u128::from(first as u64 ^ SECRET[2]) * u128::from((first >> 64) as u64 ^ length as u64);
    second as u64 ^ (second >> 64) as u64
}

fn unicode_words(span: &str, composed: &mut String, letters: &mut String, mut word: impl FnMut(u64)) {
    let span = if is_nfkc_quick(span.chars()) == IsNormalized::Yes {
        span
    } else {
        composed.clear();
        composed.extend(span.nfkc());
        composed.as_str()
    };
    letters.clear();
    // A letter may become several in lower case, some of which are no letters (`İ`).
    for c in span.chars().flat_map(char::to_lowercase).chain([' ']) {
        if c.is_alphanumeric() {
            letters.push(c);
        } else if !letters.is_empty() {
            word(hash(letters.as_bytes()));
            letters.clear();
        }
    }
}

/// All words of `text`.
pub fn words(text: &str) -> Vec<u64> {
    let mut hashes = Vec::new();
    each_word(text, &mut Scratch::default(), |hash, _| hashes.push(hash));
    hashes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(one: &str, other: &str) {
        assert_eq!(words(one), words(other), "{one:?} and {other:?}");
    }

    #[test]
    fn case_marks_and_blanks_do_not_matter() {
        same("The cat's 3.5 mats, twice", "the CAT s 3 5\n\tmats (TWICE)!");
        same("", " \n--  ");
        assert_eq!(words("a b c").len(), 3);
    }

    #[test]
    fn compatible_letters_are_the_same() {
        same("ＦＵＬＬ ｗｉｄｔｈ", "full width");
        same("e\u{301}t\u{e9}", "\u{c9}TE\u{301}");
        same("\u{fb01}ne\u{a0}print", "fine print");
        same("don\u{2019}t\u{2014}stop\u{2026}now", "don't stop now");
        same("x\u{b2}", "x2");
    }

    #[test]
    fn other_scripts_have_words_too() {
        assert_eq!(words("Война и мир").len(), 3);
        same("ВОЙНА и МИР", "война и мир");
        assert_ne!(words("война"), words("воина"));
    }

    /// Words by the definition, without blocks and short cuts.
    fn plain(text: &str) -> Vec<u64> {
        let text: String =
            text.nfkc().flat_map(char::to_lowercase).map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        text.split_whitespace().map(|word| hash(word.as_bytes())).collect()
    }

    proptest! {
        #[test]
        fn blocks_change_nothing(text in "([a-zA-Z0-9]{0,20}[ .,\u{e9}\u{301}\u{2019}\u{ff21}\u{fb01}\u{130}]{0,2}){0,30}") {
            prop_assert_eq!(words(&text), plain(&text));
        }

        #[test]
        fn any_text_has_its_words(text in "\\PC*") {
            prop_assert_eq!(words(&text), plain(&text));
        }
    }

    #[test]
    fn positions_are_bytes_of_the_text() {
        let text = "Él, caf\u{e9}-noir  x";
        let mut found = Vec::new();
        each_word(text, &mut Scratch::default(), |_, range| found.push(&text[range]));
        assert_eq!(found, ["Él", "café", "noir", "x"]);
    }
}
