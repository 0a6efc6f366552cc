//! The form of a text that near copies share: lower-case words of letters, numbers as `0`, no punctuation, no accents.
//!
//! It is datatrove's `simplify_text` (0.10.1, default settings). Text is simplified into a buffer first, in a loop that
//! the compiler vectorises for ASCII, and words are then hashed out of the buffer eight bytes at a time.

use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Marks that separate words beside white space and the control characters, outside ASCII.
const PUNCTUATION: &str = "—”：％１〈、━【「」，】；“《„’∶´．（–？！：～«〉》）。…►»";

/// Marks between the digits of a number, beside full stop and comma.
const SEPARATORS: [char; 5] = ['،', '٫', '⎖', '⎗', '⎘'];

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
                    self.buffer.push(lower(c as u8))
                } else {
                    self.foreign(c)
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

    fn ascii(&mut self, bytes: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend(bytes.iter().map(|byte| lower(*byte)));
        let digits: u8 = self.buffer[start..].iter().fold(0, |any, byte| any | u8::from(byte.wrapping_sub(b'0') < 10));
        if digits > 0 {
            self.numbers(bytes, start);
        }
    }

    /// Numbers become `0`, a decimal part included: what follows moves forward.
    fn numbers(&mut self, bytes: &[u8], start: usize) {
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let (mut from, mut to) = (0, start);
        while from < bytes.len() {
            if !is_digit(from) {
                self.buffer[to] = lower(bytes[from]);
                (from, to) = (from + 1, to + 1);
                continue;
            }
            while is_digit(from) {
                from += 1;
            }
            if matches!(bytes.get(from), Some(b'.' | b',')) && is_digit(from + 1) {
                from += 1;
                while is_digit(from) {
                    from += 1;
                }
            }
            self.buffer[to] = b'0';
            to += 1;
        }
        self.buffer.truncate(to);
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

const SPACES: u64 = 0x2020_2020_2020_2020;
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Calls `word` with the hash of every word of a simplified text.
pub fn each_word(simplified: &[u8], mut word: impl FnMut(u64)) {
    let mut at = 0;
    let mut hash = 0;
    while at < simplified.len() {
        let eight = load(simplified, at);
        // The highest bit of each byte that is a space; bits above the first one may be wrong, which does no harm.
        let spread = eight ^ SPACES;
        let spaces = spread.wrapping_sub(LOW) & !spread & HIGH;
        let length = spaces.trailing_zeros() as usize / 8;
        if length == 8 {
            hash = mix(hash ^ eight);
            at += 8;
            continue;
        }
        let part = eight & !(u64::MAX << (length * 8));
        if length > 0 || hash != 0 {
            word(mix(hash ^ part ^ SEED));
        }
        hash = 0;
        at += length + 1;
    }
    if hash != 0 {
        word(mix(hash ^ SEED));
    }
}

/// Eight bytes from `at`, spaces where the text has ended.
fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8) {
        Some(eight) => u64::from_le_bytes(eight.try_into().unwrap_or_default()),
        None => {
            let mut eight = [b' '; 8];
            eight[..bytes.len() - at].copy_from_slice(&bytes[at..]);
            u64::from_le_bytes(eight)
        }
    }
}

const SEED: u64 = 0xa076_1d64_78bd_642f;
const FACTOR: u64 = 0xe703_7ed1_a0b4_28db;

/// The two halves of a 128-bit product folded together: every bit of the input reaches every bit of the result. It is
/// part of what an index stores and must never change.
pub fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ FACTOR) * u128::from(SEED);
    (product as u64) ^ (product >> 64) as u64
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
        each_word(Simplifier::default().simplify(text), |word| words.push(word));
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
        fn the_hash_of_a_word_depends_on_the_word_alone(words in prop::collection::vec("[a-z]{1,20}", 1..20)) {
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
