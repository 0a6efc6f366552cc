//! Text as a row of word hashes: NFKC, lower case, whatever is not alphanumeric separates words. Both sides of the
//! comparison go through here, so re-cased, re-punctuated and re-wrapped copies look the same.
//!
//! Nearly all bytes are ASCII, and for ASCII NFKC changes nothing: a copy in lower case (which the compiler vectorises)
//! and a table of 256 classes are all it takes. Only a word with other bytes in it is normalised letter by letter.

use std::ops::Range;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use xxhash_rust::xxh3::xxh3_64;

/// Buffers that are reused from text to text.
#[derive(Debug, Default)]
pub struct Scratch {
    lower: Vec<u8>,
    composed: String,
    word: String,
}

const SEPARATOR: u8 = 0;
const LETTER: u8 = 1;
/// Also bytes of 128 and more: what they are, only the character tells.
const OTHER: u8 = 2;

const CLASS: [u8; 256] = {
    let mut class = [SEPARATOR; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte >= 128 {
            class[byte] = OTHER;
        } else if (byte as u8).is_ascii_alphanumeric() {
            class[byte] = LETTER;
        }
        byte += 1;
    }
    class
};

/// Calls `word` with the hash of each word of `text` and the bytes it was made of, in order.
pub fn each_word(text: &str, scratch: &mut Scratch, mut word: impl FnMut(u64, Range<usize>)) {
    let Scratch { lower, composed, word: letters } = scratch;
    lower.clear();
    lower.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    let bytes = lower.as_slice();
    let mut at = 0;
    while at < bytes.len() {
        if CLASS[usize::from(bytes[at])] == SEPARATOR {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && CLASS[usize::from(bytes[at])] == LETTER {
            at += 1;
        }
        if at < bytes.len() && CLASS[usize::from(bytes[at])] == OTHER {
            // An accent that follows composes with a letter before it, so the span is taken whole. It ends at an ASCII
            // separator: whatever composes with one of those is no letter either.
            while at < bytes.len() && CLASS[usize::from(bytes[at])] != SEPARATOR {
                at += 1;
            }
            unicode_words(&text[start..at], composed, letters, |hash| word(hash, start..at));
        } else {
            word(xxh3_64(&bytes[start..at]), start..at);
        }
    }
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
            word(xxh3_64(letters.as_bytes()));
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

    #[test]
    fn positions_are_bytes_of_the_text() {
        let text = "Él, caf\u{e9}-noir  x";
        let mut found = Vec::new();
        each_word(text, &mut Scratch::default(), |_, range| found.push(&text[range]));
        assert_eq!(found, ["Él", "café", "noir", "x"]);
    }
}
