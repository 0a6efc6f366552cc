//! Repetition as DCLM counts it (Li et al. 2024, arXiv 2406.11794): every copy of a repeated piece counts, the first one
//! included, and shares are of the characters in pieces and in words.

use std::collections::HashMap;

use super::counts::Scratch;
use super::{DUPLICATE, RULES, TOP};
use crate::words::lines::strip;
use crate::words::{Splitter, Words};

/// The shares that [`super::GopherRepetition::verdict`] judges.
pub fn shares(text: &str, splitter: Splitter, scratch: &mut Scratch) -> [f64; RULES] {
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    let paragraphs = Pieces::of(text.split("\n\n"));
    let lines = Pieces::of(text.split('\n'));
    splitter.split(text, &mut scratch.spans);
    let words: Vec<&str> = Words { source: text, spans: &scratch.spans }.iter().collect();
    let lengths: Vec<usize> = words.iter().map(|word| word.chars().count()).collect();
    let all: usize = lengths.iter().sum();
    let mut shares = [0.0; RULES];
    shares[0] = share(paragraphs.copies, paragraphs.all);
    shares[1] = share(paragraphs.copied_chars, paragraphs.chars);
    shares[2] = share(lines.copies, lines.all);
    shares[3] = share(lines.copied_chars, lines.chars);
    let top = TOP.map(|n| top_chars(&words, &lengths, n));
    let duplicate = DUPLICATE.map(|n| duplicate_chars(&words, &lengths, n));
    for (to, chars) in shares[4..].iter_mut().zip(top.into_iter().chain(duplicate)) {
        *to = share(chars, all);
    }
    shares
}

#[derive(Default)]
struct Pieces {
    all: usize,
    chars: usize,
    copies: usize,
    copied_chars: usize,
}

impl Pieces {
    fn of<'a>(pieces: impl Iterator<Item = &'a str>) -> Self {
        let pieces: Vec<&str> = pieces.map(strip).filter(|piece| !piece.is_empty()).collect();
        let mut counts = HashMap::new();
        for piece in &pieces {
            *counts.entry(*piece).or_insert(0) += 1;
        }
        let mut found = Self { all: pieces.len(), ..Self::default() };
        for piece in pieces {
            let chars = piece.chars().count();
            found.chars += chars;
            if counts[piece] > 1 {
                found.copies += 1;
                found.copied_chars += chars;
            }
        }
        found
    }
}

/// How often each n-gram occurs.
fn frequencies<'a>(words: &'a [&'a str], n: usize) -> HashMap<&'a [&'a str], usize> {
    let mut counts = HashMap::new();
    for gram in words.windows(n) {
        *counts.entry(gram).or_insert(0) += 1;
    }
    counts
}

/// Characters in the most frequent n-gram that repeats; of several the longest.
fn top_chars(words: &[&str], lengths: &[usize], n: usize) -> usize {
    let counts = frequencies(words, n);
    let grams = words.windows(n).zip(lengths.windows(n));
    let best = grams.map(|(gram, lengths)| (counts[gram], lengths.iter().sum::<usize>())).max();
    best.filter(|best| best.0 > 1).map_or(0, |(count, chars)| count * chars)
}

/// Characters of all words in n-grams that repeat.
fn duplicate_chars(words: &[&str], lengths: &[usize], n: usize) -> usize {
    let counts = frequencies(words, n);
    let (mut chars, mut covered) = (0, 0);
    for (position, gram) in words.windows(n).enumerate() {
        if counts[gram] > 1 {
            let from = covered.max(position);
            covered = position + n;
            chars += lengths[from..covered].iter().sum::<usize>();
        }
    }
    chars
}
