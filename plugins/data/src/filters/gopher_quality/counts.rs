//! What Gopher's quality rules count, with the counting of datatrove and with that of DCLM.

use memchr::memmem;
use serde::Serialize;

use super::Preset;
use crate::filters::fineweb::END_MARKS;
use crate::words::hash::{chars_from, eight, first, index};
use crate::words::lines::{split_lines, split_newlines, strip};
use crate::words::{Words, blank, letter};

/// What the rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Words.
    pub words: usize,
    /// Words that are not punctuation only; of `dclm` Unicode words.
    pub words_nonsymbol: usize,
    /// Characters of those; of `dclm` of all words.
    pub chars_nonsymbol: usize,
    /// Hash signs.
    pub hashes: usize,
    /// Ellipses.
    pub ellipses: usize,
    /// Lines.
    pub lines: usize,
    /// Lines that begin with a bullet.
    pub bullet_lines: usize,
    /// Lines that end with an ellipsis.
    pub ellipsis_lines: usize,
    /// Words with a letter.
    pub alpha_words: usize,
    /// Different stop words; of `dclm` all of them.
    pub stop_words_distinct: usize,
}

impl Counts {
    /// The counts of a text whose words are given, with the counting of `gopher`.
    pub fn of(text: &str, words: Words, stop_words: &StopWords) -> Self {
        let mut counts = Self {
            words: words.len(),
            hashes: memchr::memchr_iter(b'#', text.as_bytes()).count(),
            ellipses: count(text, "...") + count(text, "…"),
            ..Self::default()
        };
        let bytes = words.source.as_bytes();
        let ascii = bytes.is_ascii();
        let mut distinct = 0u64;
        for span in words.spans {
            let (start, end) = (span.start as usize, span.end as usize);
            let length = end - start;
            let word = eight(bytes, start);
            // A letter in front decides already, and so does a character that is all.
            let byte = word as u8;
            let kind = if length == 1 || byte.is_ascii_alphabetic() {
                KINDS[byte as usize]
            } else {
                kind(span.of(words.source))
            };
            counts.alpha_words += usize::from(kind & ALPHABETIC);
            let nonsymbol = usize::from(kind & NONSYMBOL != 0);
            counts.words_nonsymbol += nonsymbol;
            counts.chars_nonsymbol += nonsymbol * if ascii { length } else { chars_from(word, bytes, start, end) };
            distinct |= stop_words.bit(word, length, || span.of(words.source));
        }
        counts.stop_words_distinct = distinct.count_ones() as usize;
        for line in split_lines(text) {
            counts.lines += 1;
            counts.bullet_lines += usize::from(line.trim_start_matches(blank).starts_with(['•', '-']));
            let line = line.trim_end_matches(blank);
            counts.ellipsis_lines += usize::from(line.ends_with("...") || line.ends_with('…'));
        }
        counts
    }

    /// The same with the counting of `dclm`; `words` are what stands between blanks.
    pub fn dclm(text: &str, words: Words, unicode_words: usize, stop_words: &StopWords) -> Self {
        let mut counts = Self {
            words: words.len(),
            words_nonsymbol: unicode_words,
            hashes: memchr::memchr_iter(b'#', text.as_bytes()).count(),
            ellipses: count(text, "...") + count(text, ". . .") + count(text, "…"),
            ..Self::default()
        };
        for word in words.iter() {
            counts.chars_nonsymbol += word.chars().count();
            counts.alpha_words += usize::from(kind(word) & ALPHABETIC);
            counts.stop_words_distinct += usize::from(stop_words.contains(&word.to_lowercase()));
        }
        for line in split_newlines(text).map(strip).filter(|line| !line.is_empty()) {
            counts.lines += 1;
            counts.bullet_lines += usize::from(line.starts_with(['●', '•', '*', '-']));
            let ellipsis = ["...", ". . .", "…"].iter().any(|ellipsis| line.ends_with(ellipsis));
            counts.ellipsis_lines += usize::from(ellipsis);
        }
        counts
    }

    /// Mean length of a word in characters; NaN without words.
    pub fn mean_word_length(&self, preset: Preset) -> f64 {
        let words = if preset == Preset::Gopher { self.words_nonsymbol } else { self.words };
        self.chars_nonsymbol as f64 / words as f64
    }
}

fn count(text: &str, needle: &str) -> usize {
    memmem::find_iter(text.as_bytes(), needle).count()
}

/// A word has a letter.
const ALPHABETIC: u8 = 1;
/// A word is not only symbols.
const NONSYMBOL: u8 = 2;

/// [`kind`] of a word of one byte, or that begins with a letter.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let letter = (byte as u8).is_ascii_alphabetic();
        kinds[byte] = if letter { ALPHABETIC | NONSYMBOL } else { NONSYMBOL * !is_ascii_symbol(byte as u8) as u8 };
        byte += 1;
    }
    kinds
};

/// [`ALPHABETIC`] and [`NONSYMBOL`] of a word.
fn kind(word: &str) -> u8 {
    (u8::from(word.chars().any(letter)) * ALPHABETIC) | (u8::from(!word.chars().all(is_symbol)) * NONSYMBOL)
}

const fn is_ascii_symbol(byte: u8) -> bool {
    byte.is_ascii_punctuation() || byte.is_ascii_control() && byte != b'\t' && byte != b'\n'
}

/// datatrove's punctuation: marks of several scripts, end marks of all, most control characters. (`１` is in its list, the
/// other full-width digits are not.)
fn is_symbol(c: char) -> bool {
    if c.is_ascii() {
        is_ascii_symbol(c as u8)
    } else {
        !c.is_alphabetic() && (matches!(c, '\u{80}'..='\u{9f}') || SYMBOLS.contains(c) || END_MARKS.contains(c))
    }
}

/// Those beyond ASCII (Apache 2.0, datatrove's utils/text.py).
const SYMBOLS: &str = "«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～";

/// Up to 64 words to look for.
#[derive(Debug)]
pub struct StopWords {
    all: Vec<String>,
    /// Index into `all` plus one, by first 8 bytes and length; open addressing.
    slots: [u8; 1 << SLOT_BITS],
}

const SLOT_BITS: u32 = 8;

impl StopWords {
    pub fn new(mut all: Vec<String>) -> Self {
        all.retain(|word| !word.is_empty());
        let mut slots = [0; 1 << SLOT_BITS];
        for (place, word) in (1..).zip(&all) {
            let mut slot = index(eight(word.as_bytes(), 0), word.len() as u64, SLOT_BITS);
            while slots[slot] != 0 {
                slot = (slot + 1) % slots.len();
            }
            slots[slot] = place;
        }
        Self { all, slots }
    }

    fn contains(&self, word: &String) -> bool {
        self.all.contains(word)
    }

    /// The bit of the stop word that begins with the bytes `start`, has this `length` and is `word`; 0 for none.
    #[inline]
    fn bit<'a>(&self, start: u64, length: usize, word: impl Fn() -> &'a str) -> u64 {
        let mut slot = index(first(start, length), length as u64, SLOT_BITS);
        while let Some(place) = self.slots[slot].checked_sub(1) {
            if self.all[usize::from(place)] == word() {
                return 1 << place;
            }
            slot = (slot + 1) % self.slots.len();
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stop_words_are_compared_whole() {
        let words = StopWords::new(["", "the", "notwithstanding", "notwithal"].map(str::to_owned).into());
        let bit = |word: &str| words.bit(eight(word.as_bytes(), 0), word.len(), || word);
        assert_eq!(["the", "notwithstanding", "notwithal", "notwithstandinX", "th", ""].map(bit), [1, 2, 4, 0, 0, 0]);
    }

    #[test]
    fn symbols_are_not_letters() {
        assert!(SYMBOLS.chars().chain(END_MARKS.chars()).chain("#\u{7f}\u{85}\u{0}".chars()).all(is_symbol));
        for byte in 0..128u8 {
            assert_eq!(KINDS[byte as usize], kind(&char::from(byte).to_string()));
        }
        assert!(!"a1\t\n \u{e9}\u{ff12}\u{2022}".chars().any(is_symbol));
    }
}
