//! Words, sentences and lines, as the published filters count them.
//!
//! "At least 50 words" means nothing before it is said what a word is. datatrove, whose thresholds most people use, asks
//! spaCy: punctuation marks are words, `don't` is two. [`Splitter::Spacy`] gives the same words without Python;
//! the others are the conventions of other tools. Everything here yields byte ranges into the text, into a buffer that
//! the caller keeps: a corpus has more words than there is time to allocate.

mod affixes;
mod bytes;
mod classes;
mod exceptions;
pub mod hash;
pub mod lines;
mod merge;
mod recent;
pub mod sentences;
mod spacy;
mod url;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

pub use classes::{blank, digit, letter};

/// What counts as a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Splitter {
    /// As spaCy's blank English pipeline, blanks left out: punctuation marks are words.
    #[default]
    Spacy,
    /// What stands between blanks.
    Whitespace,
    /// Unicode word boundaries (UAX 29), pieces without a letter or digit left out.
    Uax29,
}

impl Splitter {
    /// Puts the words of `text` into `spans`, in order. Words that begin after the first 4 GiB are left out.
    pub fn split(self, text: &str, spans: &mut Vec<Span>) {
        spans.clear();
        let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
        match self {
            Self::Spacy => recent::recall(text, spans, spacy::split),
            Self::Whitespace => {
                let mut end = 0;
                while let Some(start) = text[end..].find(|c| !blank(c)).map(|from| end + from) {
                    end = text[start..].find(blank).map_or(text.len(), |length| start + length);
                    spans.push(Span::new(start, end));
                }
            }
            Self::Uax29 => spans.extend(text.unicode_word_indices().map(|(at, word)| Span::new(at, at + word.len()))),
        }
    }
}

/// A byte range of a text under 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

/// The words of a text.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The text that the spans point into.
    pub source: &'a str,
    /// One range per word, in order.
    pub spans: &'a [Span],
}

impl<'a> Words<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Each word.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let source = self.source;
        self.spans.iter().map(move |span| span.of(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_splitter_has_its_own_idea_of_a_word() {
        let check = |splitter: Splitter, expect: &[&str]| {
            let (text, mut spans) = ("Don't stop,  \u{a0}it's 3.5!\u{1c}", Vec::new());
            splitter.split(text, &mut spans);
            assert_eq!(Words { source: text, spans: &spans }.iter().collect::<Vec<_>>(), expect);
        };
        check(Splitter::Spacy, &["Do", "n't", "stop", ",", "it", "'s", "3.5", "!"]);
        check(Splitter::Whitespace, &["Don't", "stop,", "it's", "3.5!"]);
        check(Splitter::Uax29, &["Don't", "stop", "it's", "3.5"]);
    }
}
