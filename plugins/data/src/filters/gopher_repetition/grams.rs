//! Repeated n-grams, counted as datatrove does.
//!
//! The rules ask nine questions of every word, and nearly always the answer is "not repeated". Two observations, both
//! exact, spare most of the work. An n-gram occurs at most as often as its first n-1 words. And datatrove compares longer
//! n-grams by their letters without blanks, so two of them can only be equal if the first 12 bytes from there on are:
//! only words where that is so ([`Grams::mark_repeats`]) are looked at again.

use super::counts::Scratch;
use crate::words::Words;
use crate::words::hash::{chars_from, eight, hash, hash_from, mix};

/// The n-grams of a text; its words are in the [`Scratch`] it was made with.
pub struct Grams {
    words: usize,
    ascii: bool,
    /// The most frequent n-gram of the largest `n` asked for so far occurs this often.
    most: usize,
}

/// Words from which 12 bytes are equal may begin equal n-grams. More would leave more n-grams too short to tell.
const WINDOW: u32 = 12;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Grams {
    pub fn new(words: Words, scratch: &mut Scratch) -> Self {
        let Scratch { joined, starts, char_starts, hashes, .. } = scratch;
        let source = words.source.as_bytes();
        let length: usize = words.spans.iter().map(|span| (span.end - span.start) as usize).sum();
        if joined.len() < length + 8 {
            joined.resize(length + 8, 0);
        }
        starts.clear();
        hashes.clear();
        let mut to = 0;
        for span in words.spans {
            let (start, end) = (span.start as usize, span.end as usize);
            let word = eight(source, start);
            starts.push(to as u32);
            hashes.push(hash_from(word, source, start, end));
            // 8 bytes are quicker than as many as there are; the next word overwrites those too many.
            if let Some(place) = joined[to..].first_chunk_mut() {
                *place = word.to_le_bytes();
            }
            if end - start > 8 {
                joined[to..to + end - start].copy_from_slice(&source[start..end]);
            }
            to += end - start;
        }
        starts.push(to as u32);
        char_starts.clear();
        let ascii = joined[..to].is_ascii();
        if !ascii {
            let mut chars = 0;
            char_starts.push(0);
            char_starts.extend(starts.windows(2).map(|word| {
                let (start, end) = (word[0] as usize, word[1] as usize);
                chars += chars_from(eight(joined, start), joined, start, end) as u32;
                chars
            }));
        }
        Self { words: words.len(), ascii, most: words.len() }
    }

    fn char_starts<'s>(&self, scratch: &'s Scratch) -> &'s [u32] {
        if self.ascii { &scratch.starts } else { &scratch.char_starts }
    }

    /// A bound of [`Grams::top_chars`].
    pub fn most_top_chars(&self, n: usize, scratch: &Scratch) -> usize {
        let starts = self.char_starts(scratch);
        let ends = starts.get(n..).unwrap_or_default();
        let longest = starts.iter().zip(ends).fold(0, |most, (from, to)| to.wrapping_sub(*from).max(most));
        (longest as usize + n - 1) * self.most
    }

    /// Characters in all occurrences of the most frequent n-gram, words joined by a space; of several the first one.
    pub fn top_chars(&mut self, n: usize, scratch: &mut Scratch) -> usize {
        if self.words < n {
            return 0;
        }
        let Scratch { hashes, firsts, keys, counts, .. } = scratch;
        keys.clear();
        let key = |gram: &[u64]| gram[1..].iter().fold(gram[0], |key, &word| mix(key ^ ODD, word));
        keys.extend(hashes.windows(n).map(key));
        counts.clear();
        counts.resize(keys.len(), 0);
        firsts.clear(keys.len());
        let (mut most, mut best) = (0, 0);
        for position in 0..keys.len() {
            let first = firsts.first(keys, position);
            let count = counts[first] + 1;
            counts[first] = count;
            if count > most || count == most && first < best {
                (most, best) = (count, first);
            }
        }
        self.most = most as usize;
        let starts = self.char_starts(scratch);
        ((starts[best + n] - starts[best]) as usize + n - 1) * self.most
    }

    /// Finds the words that may begin a repeated n-gram, for all `n` from `least` on.
    pub fn mark_repeats(&self, least: usize, scratch: &mut Scratch) {
        let Scratch { joined, starts, firsts, keys, marked, marks, .. } = scratch;
        marks.clear();
        if self.words < least {
            return;
        }
        let grams = self.words - least + 1;
        keys.clear();
        keys.extend(starts[..grams].iter().map(|&start| {
            let start = start as usize;
            mix(eight(joined, start) ^ ODD, eight(joined, start + WINDOW as usize - 8))
        }));
        marked.clear();
        marked.resize(grams, false);
        firsts.clear(grams);
        for (position, (start, end)) in starts.iter().zip(&starts[least..]).enumerate() {
            let first = firsts.first(keys, position);
            if first != position {
                marked[position] = true;
                marked[first] = true;
            } else if end - start < WINDOW {
                // Too short to tell.
                marked[position] = true;
            }
        }
        marks.extend((0..grams as u32).filter(|&position| marked[position as usize]));
    }

    /// Characters in repeated n-grams, words joined by nothing: going from word to word, each n-gram that came before
    /// counts and is jumped over. [`Grams::mark_repeats`] was called with this `n` or a smaller one.
    pub fn duplicate_chars(&self, n: usize, scratch: &mut Scratch) -> usize {
        if self.words < n || scratch.marks.is_empty() {
            return 0;
        }
        let Scratch { joined, starts, char_starts, firsts, keys, marks, .. } = scratch;
        let char_starts = if self.ascii { &*starts } else { &*char_starts };
        firsts.clear(marks.len());
        keys.clear();
        let (mut chars, mut from) = (0, 0);
        for &mark in &*marks {
            let position = mark as usize;
            if position < from || position + n > self.words {
                continue;
            }
            keys.push(hash(joined, starts[position] as usize, starts[position + n] as usize));
            let last = keys.len() - 1;
            if firsts.first(keys, last) != last {
                chars += (char_starts[position + n] - char_starts[position]) as usize;
                from = position + n;
            }
        }
        chars
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::super::counts::Counts;
    use super::super::{DUPLICATE, TOP};
    use super::*;
    use crate::words::Splitter;

    /// datatrove's two functions, word for word.
    fn plain_top(words: &[&str], n: usize) -> usize {
        let grams: Vec<String> = words.windows(n).map(|gram| gram.join(" ")).collect();
        let mut counts = HashMap::new();
        for gram in &grams {
            *counts.entry(gram).or_insert(0) += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        grams.iter().find(|gram| counts[gram] == most).map_or(0, |gram| gram.chars().count() * most)
    }

    fn plain_duplicate(words: &[&str], n: usize) -> usize {
        let (mut seen, mut chars, mut at) = (HashSet::new(), 0, 0);
        while at + n <= words.len() {
            let gram = words[at..at + n].concat();
            let length = gram.chars().count();
            if seen.insert(gram) {
                at += 1;
            } else {
                chars += length;
                at += n;
            }
        }
        chars
    }

    fn check(text: &str) {
        let mut spans = Vec::new();
        Splitter::Whitespace.split(text, &mut spans);
        let words = Words { source: text, spans: &spans };
        let counts = Counts::of(text, words, &mut Scratch::default());
        let words: Vec<&str> = words.iter().collect();
        assert_eq!(counts.top, TOP.map(|n| plain_top(&words, n)), "{text}");
        assert_eq!(counts.duplicate, DUPLICATE.map(|n| plain_duplicate(&words, n)), "{text}");
    }

    #[test]
    fn letters_decide_not_words() {
        // The second five words have the same letters as the first.
        check("ab c d e f a bc d e f");
        check("abcdefgh ijklmn o p q abcdefg hijklmn o p q");
        // Five words of the first are shorter than the window, those of the second are not.
        check("a b c d e fghijkl mnopqr x abc d efg hij kl mnop qr");
    }

    proptest! {
        #[test]
        fn counts_equal_the_plain_definition(
            words in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "ba", "\u{e9}", "longerword", "aa"]), 0..60)
        ) {
            check(&words.join(" "));
        }

        #[test]
        fn so_they_do_in_texts_of_long_words(words in prop::collection::vec("[ab]{1,2}|abcdefghij|[cd]{9}", 0..80)) {
            check(&words.join(" "));
        }
    }
}
