//! Exceptions that came apart: in `f(x):` the last two marks are taken off one by one, but `):` is an exception.
//!
//! spaCy looks for sequences of words that equal an exception split without exceptions, longest first, and where their
//! text is the exception puts it in their place. A sequence with a single space inside is found, changes nothing, and
//! still keeps shorter ones from the words it covers; so the search runs over the whole text.

use std::collections::HashMap;

use super::Span;
use super::exceptions::Exceptions;
use super::hash::{eight, first, index};
use super::spacy::split_without_exceptions;

/// The sequences to look for, as a tree.
#[derive(Debug)]
pub struct Patterns {
    nodes: Vec<Node>,
    /// Bit map of the first two words of all sequences.
    pairs: Box<[u64; 1 << BITS >> 6]>,
}

#[derive(Debug, Default)]
struct Node {
    next: HashMap<String, usize>,
    last: bool,
}

/// Size of the bit map as a power of two.
const BITS: u32 = 14;

impl Patterns {
    /// One sequence for each exception that has an affix of any kind. Those of one word change nothing.
    pub fn new(exceptions: &Exceptions) -> Self {
        let mut patterns = Self { nodes: vec![Node::default()], pairs: Box::new([0; 1 << BITS >> 6]) };
        for exception in &exceptions.all {
            let text = exception.text.as_str();
            let words = split_without_exceptions(text);
            if words.len() < 2 {
                continue;
            }
            let bit = pair(text, words[0], words[1]);
            patterns.pairs[bit / 64] |= 1 << (bit % 64);
            let mut node = 0;
            for word in &words {
                let fresh = patterns.nodes.len();
                node = *patterns.nodes[node].next.entry(word.of(text).to_owned()).or_insert(fresh);
                if node == fresh {
                    patterns.nodes.push(Node::default());
                }
            }
            patterns.nodes[node].last = true;
        }
        patterns
    }

    /// Whether there is a sequence among `words`.
    pub fn any(&self, text: &str, words: &[Span]) -> bool {
        words.windows(2).any(|two| self.may_begin(text, two[0], two[1])) && !self.find(text, words).is_empty()
    }

    #[inline]
    fn may_begin(&self, text: &str, one: Span, two: Span) -> bool {
        let bit = pair(text, one, two);
        self.pairs[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// Puts together what belongs together.
    pub fn merge(&self, text: &str, exceptions: &Exceptions, words: &mut Vec<Span>) {
        let mut found = self.find(text, words);
        if found.is_empty() {
            return;
        }
        found.sort_by_key(|&(first, last)| (first as i64 - last as i64, first));
        let mut taken = vec![false; words.len()];
        let mut chosen = Vec::new();
        for (first, last) in found {
            if !taken[first] && !taken[last] {
                chosen.push((first, last));
            }
            taken[first..=last].fill(true);
        }
        chosen.sort_unstable();
        let mut merged = Vec::with_capacity(words.len());
        let mut done = 0;
        for (first, last) in chosen {
            let (start, end) = (words[first].start as usize, words[last].end as usize);
            if let Some(exception) = exceptions.find(text.as_bytes(), start, end) {
                merged.extend_from_slice(&words[done..first]);
                let mut from = start;
                for &part in &exception.ends {
                    merged.push(Span::new(from, start + usize::from(part)));
                    from = start + usize::from(part);
                }
                done = last + 1;
            }
        }
        merged.extend_from_slice(&words[done..]);
        words.clone_from(&merged);
    }

    /// All sequences, as (first, last) word.
    fn find(&self, text: &str, words: &[Span]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for first in 0..words.len().saturating_sub(1) {
            if !self.may_begin(text, words[first], words[first + 1]) {
                continue;
            }
            let (mut node, mut last) = (0, first);
            while let Some(&next) = self.nodes[node].next.get(words[last].of(text)) {
                node = next;
                if self.nodes[node].last {
                    found.push((first, last));
                }
                last += 1;
                if last == words.len() || !adjacent(text, words[last - 1], words[last]) {
                    break;
                }
            }
        }
        found
    }
}

/// Whether nothing or a single space is between two words; other blanks are a word to spaCy.
pub fn adjacent(text: &str, one: Span, two: Span) -> bool {
    matches!(&text.as_bytes()[one.end as usize..two.start as usize], [] | [b' '])
}

#[inline]
fn pair(text: &str, one: Span, two: Span) -> usize {
    let start = |word: Span| first(eight(text.as_bytes(), word.start as usize), (word.end - word.start) as usize);
    index(start(one), start(two), BITS)
}
