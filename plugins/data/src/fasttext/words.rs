//! Words of a text, and the summed rows of those that were seen.
//!
//! English text of any size is mostly a few thousand words, while the rows of one word are some twenty additions at
//! places all over a matrix. [`Sums`] remembers the sum, in a table of pairs. A word that was met twice in a pair keeps
//! its place there while newcomers replace one another, so that names and numbers that occur once do not wash out the
//! frequent words.
//!
//! Words are compared whole, never by hash alone: an entry is the word's bytes, padded with zeros, which no word
//! contains. Longer words than fit are summed anew each time; in English they are addresses and the like.

use super::subwords::is_blank;

/// Longest word that is remembered, in bytes.
const LONGEST: usize = 24;
/// Memory for sums at most, per thread, and words that have one. More words were no faster with lid.176: what is seldom
/// met is then fetched from far away.
const BYTES: usize = 8 << 20;
const WORDS: usize = 1 << 16;

/// A remembered word.
type Key = [u64; LONGEST / 8];

/// Two words that share a place. One line of memory.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    keys: [Key; 2],
    values: [u32; 2],
    /// The one that was met again last.
    kept: u32,
}

/// Summed rows of words, with a number for each.
#[derive(Debug)]
pub(super) struct Sums {
    width: usize,
    pairs: Vec<Pair>,
    /// Two sums for each pair.
    rows: Vec<f32>,
    /// For the words that are not remembered.
    other: Vec<f32>,
}

impl Sums {
    /// Room for sums of `width` numbers.
    pub(super) fn new(width: usize) -> Self {
        let words = (BYTES / 4 / width).clamp(2, WORDS);
        Self::with_pairs(width, 1 << (words / 2).ilog2())
    }

    fn with_pairs(width: usize, pairs: usize) -> Self {
        Self { width, pairs: vec![Pair::default(); pairs], rows: vec![0.0; pairs * 2 * width], other: vec![0.0; width] }
    }

    /// The sum and the number of a word of `text`, which `make` writes when they are not known.
    #[inline]
    pub(super) fn of(&mut self, text: &[u8], word: Word, make: impl FnOnce(&mut [f32]) -> u32) -> (&[f32], u32) {
        let Some(key) = key(text, word) else {
            self.other.fill(0.0);
            let value = make(&mut self.other);
            return (&self.other, value);
        };
        let place = place(&key, self.pairs.len());
        let pair = &mut self.pairs[place];
        let kept = pair.kept as usize & 1;
        let (way, known) = if pair.keys[kept] == key { (kept, true) } else { (1 - kept, pair.keys[1 - kept] == key) };
        let sum = &mut self.rows[(place * 2 + way) * self.width..][..self.width];
        if known {
            pair.kept = way as u32;
        } else {
            sum.fill(0.0);
            pair.values[way] = make(sum);
            pair.keys[way] = key;
        }
        (sum, pair.values[way])
    }
}

/// Where a word stands in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The words of a text, in order. Line ends separate words like any other blank.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = Word> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() && BLANK[usize::from(text[at])] {
            at += 1;
        }
        let start = at;
        while at < text.len() && !BLANK[usize::from(text[at])] {
            at += 1;
        }
        (start < at).then_some(Word { start, end: at })
    })
}

const BLANK: [bool; 256] = {
    let mut blank = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        blank[byte] = is_blank(byte as u8);
        byte += 1;
    }
    blank
};

#[inline]
fn key(text: &[u8], word: Word) -> Option<Key> {
    let length = word.end - word.start;
    if length > LONGEST {
        return None;
    }
    // Reading on into the following words and masking them away is faster than copying an odd number of bytes.
    let mut bytes = [0; LONGEST];
    match text.get(word.start..word.start + LONGEST) {
        Some(window) => bytes.copy_from_slice(window),
        None => bytes[..length].copy_from_slice(&text[word.start..word.end]),
    }
    let mut key = [0; LONGEST / 8];
    let (eights, _) = bytes.as_chunks::<8>();
    for (index, (part, eight)) in key.iter_mut().zip(eights).enumerate() {
        let used = length.saturating_sub(index * 8).min(8) as u32;
        *part = u64::from_le_bytes(*eight) & u64::MAX.checked_shr(64 - used * 8).unwrap_or(0);
    }
    Some(key)
}

/// Mixes by multiplication; the high bits depend on all bytes.
fn place(key: &Key, places: usize) -> usize {
    let mixed = key[0].wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ key[1].wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(23)
        ^ key[2].wrapping_mul(0x1656_67b1_9e37_79f9).rotate_left(41);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        words(text.as_bytes()).map(|word| &text[word.start..word.end]).collect()
    }

    #[test]
    fn words_are_split_at_ascii_blanks_and_zero_bytes_only() {
        assert_eq!(split(" one\ttwo\r\nthree\u{b}four\u{c}five\0six "), ["one", "two", "three", "four", "five", "six"]);
        assert_eq!(split("a\u{a0}b c\u{3000}d\u{85}e"), ["a\u{a0}b", "c\u{3000}d\u{85}e"]);
        assert_eq!(split(""), Vec::<&str>::new());
        assert_eq!(split(" \n"), Vec::<&str>::new());
    }

    #[test]
    fn a_key_is_the_word_alone_wherever_it_stands() {
        let text = b"abcdefghi tail that goes on and on, abcdefghi";
        let here = key(text, Word { start: 0, end: 9 }).unwrap();
        assert_eq!(here, key(text, Word { start: 36, end: 45 }).unwrap());
        assert_eq!(here, [u64::from_le_bytes(*b"abcdefgh"), u64::from(b'i'), 0]);
        assert!(key(text, Word { start: 0, end: 24 }).is_some());
        assert!(key(text, Word { start: 0, end: 25 }).is_none());
    }

    #[test]
    fn sums_are_right_whatever_is_forgotten() {
        let mut sums = Sums::with_pairs(3, 256);
        let text: String = (0..4000).map(|i| format!("{} ", i * i % 1777)).collect();
        let mut made = 0;
        for word in words(text.as_bytes()) {
            let number: u32 = text[word.start..word.end].parse().unwrap();
            let (sum, value) = sums.of(text.as_bytes(), word, |sum| {
                made += 1;
                sum[0] += number as f32;
                number
            });
            assert_eq!((sum[0], value), (number as f32, number));
        }
        assert!(made < 4000, "nothing was remembered");
    }

    #[test]
    fn a_word_met_twice_outlives_words_met_once() {
        let mut sums = Sums::with_pairs(3, 1);
        let text: String = "the the ".to_owned() + &(0..5000).map(|i| format!("w{i} the ")).collect::<String>();
        let mut made = 0;
        for word in words(text.as_bytes()) {
            let is_the = &text[word.start..word.end] == "the";
            sums.of(text.as_bytes(), word, |_| {
                made += u32::from(is_the);
                0
            });
        }
        assert_eq!(made, 1);
    }
}
