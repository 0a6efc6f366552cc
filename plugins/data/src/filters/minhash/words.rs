//! The form of a text that near copies share: lower-case words of letters, numbers as `0`, no punctuation, no accents.
//!
//! It is datatrove's `simplify_text` (0.10.1, default settings). Text is simplified into a buffer first, in a loop that
//! the compiler vectorises for ASCII, and words are then hashed out of the buffer.

use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Marks that separate words beside white space and the control characters, outside ASCII.
const PUNCTUATION: &str = "—”：％１〈、━【「」，】；“《„’∶´．（–？！：～«〉》）。…►»";

/// Marks between the digits of a number, beside full stop and comma.
const SEPARATORS: [char; 5] = ['،', '٫', '⎖', '⎗', '⎘'];

/// Bytes looked at together.
const BLOCK: usize = 64;

/// The simplified text: words with one space or more between them.
#[derive(Debug, Default)]
pub struct Simplifier {
    buffer: Vec<u8>,
}

/// What an ASCII byte is: a letter (as its lower case), a digit, or a space.
fn lower(byte: u8) -> u8 {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    if letter {
        byte | 0x20
    } else if digit {
        byte
    } else {
        b' '
    }
}

impl Simplifier {
    /// The simplified text, with several spaces where there would be one, and possibly some at its ends.
    pub fn simplify(&mut self, text: &str) -> &[u8] {
        self.buffer.clear();
        self.buffer.reserve(text.len() + text.len() / 8);
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let run = ascii_run(&bytes[at..]);
            self.ascii(&bytes[at..at + run]);
            at += run;
            for c in text[at..].chars().take_while(|c| !c.is_ascii()) {
                if c == 'Σ' {
                    // Its lower case depends on what stands around it.
                    self.any_numbers(&text.to_lowercase());
                    return &self.buffer;
                }
                if SEPARATORS.contains(&c) || c.general_category() == GeneralCategory::DecimalNumber {
                    // A number that may go on across scripts.
                    self.any_numbers(text);
                    return &self.buffer;
                }
                at += c.len_utf8();
                self.foreign(c);
            }
        }
        &self.buffer
    }

    /// The same for texts with digits of any script.
    fn any_numbers(&mut self, text: &str) {
        self.buffer.clear();
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.general_category() == GeneralCategory::DecimalNumber);
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if !is_digit(Some(c)) {
                if c.is_ascii() {
                    self.buffer.push(lower(c as u8));
                } else {
                    self.foreign(c);
                }
                continue;
            }
            let digits =
                |rest: &mut std::str::Chars<'_>| while is_digit(rest.clone().next()) && rest.next().is_some() {};
            digits(&mut rest);
            let mut ahead = rest.clone();
            if ahead.next().is_some_and(|c| matches!(c, '.' | ',') || SEPARATORS.contains(&c))
                && is_digit(ahead.clone().next())
            {
                digits(&mut ahead);
                rest = ahead;
            }
            self.buffer.push(b'0');
        }
    }

    /// Letters become lower case and numbers `0`, a decimal part included.
    fn ascii(&mut self, bytes: &[u8]) {
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let mut at = 0;
        while at < bytes.len() {
            let end = at + BLOCK.min(bytes.len() - at);
            if let Ok(block) = <&[u8; BLOCK]>::try_from(&bytes[at..end])
                && !block.iter().fold(false, |any, byte| any | (byte.wrapping_sub(b'0') < 10))
            {
                self.buffer.extend_from_slice(&block.map(lower));
                at = end;
                continue;
            }
            while at < end {
                let others = bytes[at..end].iter().take_while(|byte| !byte.is_ascii_digit()).count();
                self.buffer.extend(bytes[at..at + others].iter().map(|byte| lower(*byte)));
                at += others;
                if at == end {
                    break;
                }
                while is_digit(at) {
                    at += 1;
                }
                if matches!(bytes.get(at), Some(b'.' | b',')) && is_digit(at + 1) {
                    at += 1;
                    while is_digit(at) {
                        at += 1;
                    }
                }
                self.buffer.push(b'0');
            }
        }
    }

    fn foreign(&mut self, c: char) {
        for c in c.to_lowercase() {
            if c.is_whitespace() || ('\u{80}'..'\u{a0}').contains(&c) || PUNCTUATION.contains(c) {
                self.buffer.push(b' ');
            } else {
                decompose_canonical(c, |part| {
                    if part.general_category() != GeneralCategory::NonspacingMark {
                        let mut bytes = [0; 4];
                        self.buffer.extend_from_slice(part.encode_utf8(&mut bytes).as_bytes());
                    }
                });
            }
        }
    }
}

/// Length of the ASCII prefix.
fn ascii_run(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(32).take_while(|block| block.is_ascii()).count() * 32;
    blocks + bytes[blocks..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// Collects the hash of every word of a simplified text.
///
/// Where words start and end is found for 64 bytes at a time as bit masks, so that hashing one word need not wait for the
/// end of the one before.
pub fn hash_words(simplified: &[u8], words: &mut Vec<u64>) {
    words.clear();
    // Whether the byte before the block belongs to a word, and where that word starts.
    let (mut within, mut start) = (0, 0);
    for (number, block) in simplified.chunks(BLOCK).enumerate() {
        let base = number * BLOCK;
        let letters = !spaces(block);
        let before = letters << 1 | within;
        let (mut starts, mut ends) = (letters & !before, !letters & before);
        within = letters >> 63;
        if before & 1 == 0 && starts != 0 {
            start = base + starts.trailing_zeros() as usize;
            starts &= starts - 1;
        }
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            words.push(hash_word(simplified, start, end - start));
            if starts != 0 {
                start = base + starts.trailing_zeros() as usize;
                starts &= starts - 1;
            }
        }
    }
    if within == 1 {
        words.push(hash_word(simplified, start, simplified.len() - start));
    }
}

const SPACES: u64 = 0x2020_2020_2020_2020;
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A bit for each of up to 64 bytes that is a space; what is behind a short block counts as space.
fn spaces(block: &[u8]) -> u64 {
    let mut mask = 0;
    let mut chunks = block.chunks_exact(8);
    let mut shift = 0;
    for eight in &mut chunks {
        mask |= spaces_of(u64::from_le_bytes(eight.try_into().unwrap_or_default())) << shift;
        shift += 8;
    }
    if shift < 64 {
        let mut eight = [b' '; 8];
        eight[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        mask |= spaces_of(u64::from_le_bytes(eight)) << shift;
        if shift < 56 {
            mask |= u64::MAX << (shift + 8);
        }
    }
    mask
}

/// A bit for each of eight bytes that is a space.
fn spaces_of(eight: u64) -> u64 {
    let differing = eight ^ SPACES;
    // The highest bit of every byte that differs nowhere, without carries between bytes.
    let equal = !(((differing & LOW) + LOW) | differing | LOW);
    // Gathers the eight bits in the top byte.
    (equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Masks for the first n of eight bytes.
const FIRST: [u64; 9] = {
    let mut masks = [u64::MAX; 9];
    let mut bytes = 0;
    while bytes < 8 {
        masks[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    masks
};

/// The hash of a word: of its first sixteen bytes in one multiplication, for nearly all words the only one.
fn hash_word(bytes: &[u8], start: usize, length: usize) -> u64 {
    let low = load(bytes, start) & FIRST[length.min(8)];
    let high = load(bytes, start + 8) & FIRST[length.saturating_sub(8).min(8)];
    let mut hash = fold(low ^ SEED, high ^ FACTOR);
    if length > 16 {
        for at in (start + 16..start + length).step_by(8) {
            hash = fold(hash ^ SEED, load(bytes, at) & FIRST[(start + length - at).min(8)] ^ FACTOR);
        }
    }
    hash
}

/// Eight bytes from `at`, zeros where the text has ended.
fn load(bytes: &[u8], at: usize) -> u64 {
    if let Some(Ok(eight)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        return u64::from_le_bytes(eight);
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(eight)
}

const SEED: u64 = 0xa076_1d64_78bd_642f;
const FACTOR: u64 = 0xe703_7ed1_a0b4_28db;

/// The two halves of a 128-bit product put together: every bit of the inputs reaches every bit of the result. It is part
/// of what an index stores and must never change.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ (product >> 64) as u64
}

/// A well-mixed hash of a number.
pub fn mix(value: u64) -> u64 {
    fold(value ^ FACTOR, SEED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use psann_golden::rows;

    use super::*;

    fn simple(text: &str) -> String {
        let simplified = String::from_utf8(Simplifier::default().simplify(text).to_vec()).unwrap();
        simplified.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn hashes(text: &str) -> Vec<u64> {
        let mut words = Vec::new();
        hash_words(Simplifier::default().simplify(text), &mut words);
        words
    }

    #[test]
    fn golden_data_simplify() {
        for row in rows::lines("data", "normalise/simplify.jsonl.gz") {
            let (input, output) = (row["input"].as_str().unwrap(), row["output"].as_str().unwrap());
            assert_eq!(simple(input), output, "{input:?}");
        }
    }

    #[test]
    fn words_of_any_length_have_their_own_hash() {
        let text = "a ab abc abcdefg abcdefgh abcdefghi abcdefghijklmnop abcdefghijklmnopq b";
        let mut found = hashes(text);
        assert_eq!(found.len(), text.split(' ').count());
        assert_eq!(hashes(&format!("  {text}!? ")), found);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), text.split(' ').count());
    }

    proptest! {
        #[test]
        fn the_hash_of_a_word_depends_on_the_word_alone(words in prop::collection::vec("[a-z]{1,30}", 1..40)) {
            let alone: Vec<u64> = words.iter().flat_map(|word| hashes(word)).collect();
            prop_assert_eq!(hashes(&words.join(" ")), alone);
        }

        #[test]
        fn any_text_is_simplified(text in "\\PC*") {
            let words = simple(&text).split(' ').filter(|word| !word.is_empty()).count();
            prop_assert_eq!(hashes(&text).len(), words);
        }
    }
}
