//! Documents in pieces: a row reads a book for a few sequences and then something else, so that the rows of a batch do
//! not all read the same book, and a small corpus feeds every row.
//!
//! Text is cut where a word begins, by bytes, so that a piece can be tokenised without the rest of its document. A
//! byte-level BPE splits text at the same places before it merges anything, so that its tokens are those of the whole.

use std::ops::Range;
use std::sync::Arc;

/// Bytes that are searched for the start of a word.
const SEARCH: usize = 1 << 10;

/// A document, as provenance and messages name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the part of it.
    pub file: Arc<str>,
    /// Document in the file, from 0.
    pub document: u64,
    /// The source's id, or the place in the source.
    pub id: Option<String>,
}

/// Part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The document.
    pub origin: Arc<Origin>,
    /// Where the piece starts in the document's text, in bytes.
    pub start: u64,
    /// The text.
    pub text: String,
    /// Whether the document begins here.
    pub first: bool,
    /// Whether the document ends here.
    pub last: bool,
}

/// The ranges of `text` that its pieces of about `longest` bytes take; at least one. They cover the text.
pub fn cut(text: &str, longest: usize) -> Vec<Range<usize>> {
    let count = text.len().div_ceil(longest.max(1)).max(1);
    let mut pieces = Vec::with_capacity(count);
    let mut start = 0;
    for number in 1..count {
        // In 128 bits: a document of gigabytes in pieces of bytes.
        let wanted = (text.len() as u128 * number as u128 / count as u128) as usize;
        let end = word_start(text, wanted);
        if end > start && end < text.len() {
            pieces.push(start..end);
            start = end;
        }
    }
    pieces.push(start..text.len());
    pieces
}

/// The first place from `wanted` on at which a blank stands alone between two words, or else the next character.
fn word_start(text: &str, wanted: usize) -> usize {
    let bytes = text.as_bytes();
    let is_blank = |at: usize| bytes[at] == b' ' || bytes[at] == b'\n';
    let is_word = |at: usize| bytes[at].is_ascii_graphic();
    let end = (wanted + SEARCH).min(bytes.len().saturating_sub(1));
    (wanted.max(1)..end)
        .find(|at| is_blank(*at) && is_word(at - 1) && is_word(at + 1))
        .unwrap_or_else(|| text.ceil_char_boundary(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_cut_before_a_word() {
        let text = "one two three four";
        let pieces: Vec<&str> = cut(text, 7).into_iter().map(|range| &text[range]).collect();
        assert_eq!(pieces, ["one two", " three", " four"]);
        assert_eq!(cut("", 7), vec![0..0; 1]);
        assert_eq!(cut("word", 7), vec![0..4; 1]);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_text_in_order(text in "[a é\n]{0,200}", longest in 1_usize..50) {
            let mut end = 0;
            for range in cut(&text, longest) {
                prop_assert_eq!(range.start, end);
                prop_assert!(text.is_char_boundary(range.end));
                prop_assert!(!range.is_empty() || text.is_empty());
                end = range.end;
            }
            prop_assert_eq!(end, text.len());
        }
    }
}
