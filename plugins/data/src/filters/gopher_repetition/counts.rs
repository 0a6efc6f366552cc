//! Repeated lines and paragraphs, and all that the rules look at.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::grams::Grams;
use super::{DUPLICATE, RULES, TOP};
use crate::filters::seen::{Firsts, Repeated, Seen};
use crate::words::lines::strip;
use crate::words::{Span, Words};

/// What the rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Characters of the text.
    pub chars: usize,
    /// Paragraphs: parts with two or more line ends between them.
    pub paragraphs: usize,
    /// Paragraphs that came before.
    pub dup_paragraphs: usize,
    /// Characters in those.
    pub dup_paragraph_chars: usize,
    /// Lines; empty ones only at the ends.
    pub lines: usize,
    /// Lines that came before.
    pub dup_lines: usize,
    /// Characters in those.
    pub dup_line_chars: usize,
    /// Characters in all occurrences of the most frequent 2-, 3- and 4-gram.
    pub top: [usize; TOP.len()],
    /// Characters in repeated 5- to 10-grams.
    pub duplicate: [usize; DUPLICATE.len()],
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("chars", &self.chars)?;
        map.serialize_entry("paragraphs", &self.paragraphs)?;
        map.serialize_entry("dup_paragraphs", &self.dup_paragraphs)?;
        map.serialize_entry("dup_paragraph_chars", &self.dup_paragraph_chars)?;
        map.serialize_entry("lines", &self.lines)?;
        map.serialize_entry("dup_lines", &self.dup_lines)?;
        map.serialize_entry("dup_line_chars", &self.dup_line_chars)?;
        for (n, chars) in TOP.iter().zip(self.top) {
            map.serialize_entry(&format!("top_{n}"), &chars)?;
        }
        for (n, chars) in DUPLICATE.iter().zip(self.duplicate) {
            map.serialize_entry(&format!("dup_{n}"), &chars)?;
        }
        map.end()
    }
}

impl Counts {
    /// All counts of a text whose words are given.
    pub fn of(text: &str, words: Words, scratch: &mut Scratch) -> Self {
        let judged = Text::new(text);
        let (paragraphs, lines) = (judged.paragraphs(scratch), judged.lines(scratch));
        let mut grams = Grams::new(words, scratch);
        let top = TOP.map(|n| grams.top_chars(n, scratch));
        grams.mark_repeats(DUPLICATE[0], scratch);
        Self {
            chars: judged.chars,
            paragraphs: paragraphs.pieces,
            dup_paragraphs: paragraphs.copies,
            dup_paragraph_chars: paragraphs.chars,
            lines: lines.pieces,
            dup_lines: lines.copies,
            dup_line_chars: lines.chars,
            top,
            duplicate: DUPLICATE.map(|n| grams.duplicate_chars(n, scratch)),
        }
    }

    /// The share that each rule looks at.
    pub fn shares(&self) -> [f64; RULES] {
        let all = self.chars as f64;
        let mut shares = [0.0; RULES];
        shares[0] = self.dup_paragraphs as f64 / self.paragraphs as f64;
        shares[1] = self.dup_paragraph_chars as f64 / all;
        shares[2] = self.dup_lines as f64 / self.lines as f64;
        shares[3] = self.dup_line_chars as f64 / all;
        for (share, &chars) in shares[4..].iter_mut().zip(self.top.iter().chain(&self.duplicate)) {
            *share = chars as f64 / all;
        }
        shares
    }
}

/// Room that is used again for each document.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) spans: Vec<Span>,
    seen: Seen,
    pub(super) firsts: Firsts,
    /// The words without what is between them, and some bytes of no meaning.
    pub(super) joined: Vec<u8>,
    /// Where each word begins in `joined`, and the end of the last.
    pub(super) starts: Vec<u32>,
    /// The same in characters; empty when all are ASCII.
    pub(super) char_starts: Vec<u32>,
    /// A hash of each word.
    pub(super) hashes: Vec<u64>,
    /// A hash of each n-gram.
    pub(super) keys: Vec<u64>,
    /// How often the n-gram that begins here occurs, where it is the first.
    pub(super) counts: Vec<u32>,
    pub(super) marked: Vec<bool>,
    pub(super) marks: Vec<u32>,
}

/// A text under judgement.
pub struct Text<'a> {
    text: &'a str,
    /// Number of characters.
    pub chars: usize,
}

impl<'a> Text<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, chars: text.chars().count() }
    }

    /// Parts of the stripped text with two or more `\n` between them.
    pub fn paragraphs(&self, scratch: &mut Scratch) -> Repeated {
        let text = strip(self.text);
        pieces(text, 2, &mut scratch.seen)
    }

    /// Parts of the text with one or more `\n` between them.
    pub fn lines(&self, scratch: &mut Scratch) -> Repeated {
        pieces(self.text, 1, &mut scratch.seen)
    }
}

fn pieces(text: &str, least: usize, seen: &mut Seen) -> Repeated {
    let most = memchr::memchr_iter(b'\n', text.as_bytes()).count() / least + 1;
    if most == 1 {
        return Repeated { pieces: 1, ..Repeated::default() };
    }
    Repeated::among(split_at_runs(text, least), most, seen)
}

/// Splits at runs of `least` or more `\n`.
fn split_at_runs(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut rest = Some(0);
    std::iter::from_fn(move || {
        let start = rest?;
        let mut from = start;
        while let Some(at) = memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at) {
            let run = bytes[at..].iter().take_while(|&&byte| byte == b'\n').count();
            from = at + run;
            if run >= least {
                rest = Some(from);
                return Some(&text[start..at]);
            }
        }
        rest = None;
        Some(&text[start..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_split_at_runs_of_line_ends() {
        let check = |text: &str, least, expect: &[&str]| {
            assert_eq!(split_at_runs(text, least).collect::<Vec<_>>(), expect);
        };
        check("", 1, &[""]);
        check("\n\na\nb\n", 1, &["", "a", "b", ""]);
        check("a\nb\n\n\nc", 2, &["a\nb", "c"]);
        check("\n\n", 2, &["", ""]);
    }
}
