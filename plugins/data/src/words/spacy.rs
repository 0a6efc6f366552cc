//! The words of spaCy's blank English pipeline.
//!
//! spaCy cuts at blanks. From each piece it takes punctuation off both ends until nothing comes off or an exception is
//! left, keeps addresses whole, and cuts what remains at hyphens and the like ([`super::affixes`]). At the end
//! exceptions that came apart are put together again ([`super::merge`]). Nine pieces in ten are letters, or letters and
//! one mark: those never reach the general rules.

use std::sync::LazyLock;

use super::affixes::{infix, prefix, suffix};
use super::bytes::{BEYOND, BLANK, DIGIT, LETTER, MARK, MAY_BE_INFIX, STOP, byte_class};
use super::exceptions::{Exception, Exceptions};
use super::hash::eight;
use super::merge::Patterns;
use super::url::is_url;
use super::{Span, blank, bytes};

struct Rules {
    exceptions: Exceptions,
    patterns: Patterns,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let exceptions = Exceptions::english();
    let patterns = Patterns::new(&exceptions);
    Rules { exceptions, patterns }
});

/// Appends the words of `text`.
pub fn split(text: &str, words: &mut Vec<Span>) {
    let rules = &*RULES;
    let mut pieces = Pieces { text, exceptions: &rules.exceptions, patterns: Some(&rules.patterns), apart: false };
    pieces.split(words);
    if pieces.apart {
        rules.patterns.merge(text, &rules.exceptions, words);
    }
}

/// The words of `text` if there were no exceptions.
pub fn split_without_exceptions(text: &str) -> Vec<Span> {
    let mut words = Vec::new();
    Pieces { text, exceptions: &Exceptions::none(), patterns: None, apart: false }.split(&mut words);
    words
}

struct Pieces<'a> {
    text: &'a str,
    exceptions: &'a Exceptions,
    patterns: Option<&'a Patterns>,
    /// Whether an exception may have come apart.
    apart: bool,
}

impl Pieces<'_> {
    fn split(&mut self, words: &mut Vec<Span>) {
        let text = self.text.as_bytes();
        let mut start = 0;
        while start < text.len() {
            // Letters, 8 at a time: most words end within the first, without a branch for each letter.
            let word = eight(text, start);
            let mut letters = bytes::letters(word);
            let mut at = start + letters;
            while letters == 8 {
                letters = bytes::letters(eight(text, at));
                at += letters;
            }
            let class = byte_class(text, at);
            if class & BLANK != 0 {
                if at > start {
                    self.whole(word, start, at, words);
                }
                start = at + 1;
            } else if at > start && class & (MARK | STOP) != 0 && byte_class(text, at + 1) & BLANK != 0 {
                self.marked(word, start, at, words);
                start = at + 2;
            } else {
                start = self.other(start, at, words);
            }
        }
    }

    /// A piece that is not letters and a mark only; `at` is after its first letters. Returns where to go on.
    fn other(&mut self, start: usize, mut at: usize, words: &mut Vec<Span>) -> usize {
        let bytes = self.text.as_bytes();
        while byte_class(bytes, at) & (LETTER | DIGIT) != 0 {
            at += 1;
        }
        // Numbers are as simple as words; `10km` and `8D` are not.
        if at > start && bytes[at - 1].is_ascii_digit() {
            let class = byte_class(bytes, at);
            if class & BLANK != 0 {
                self.whole(eight(bytes, start), start, at, words);
                return at + 1;
            }
            if class & (MARK | STOP) != 0 && byte_class(bytes, at + 1) & BLANK != 0 {
                self.marked(eight(bytes, start), start, at, words);
                return at + 2;
            }
        }
        let end = self.piece_end(at);
        if end > start {
            self.piece(start, end, words);
        }
        end + self.blank_at(end).max(1)
    }

    /// Where the piece ends that goes on at `at`.
    fn piece_end(&self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        loop {
            let class = byte_class(bytes, at);
            if class & BLANK != 0 || class & BEYOND != 0 && self.blank_at(at) > 0 {
                return at;
            }
            at += 1;
        }
    }

    /// The length of the blank beyond ASCII at `at`; 0 if there is none.
    fn blank_at(&self, at: usize) -> usize {
        match self.text.as_bytes().get(at) {
            // U+0085 and U+00A0; U+1680; U+2000 to U+205F; U+3000.
            Some(0xc2 | 0xe1..=0xe3) => self.text[at..].chars().next().filter(|&c| blank(c)).map_or(0, char::len_utf8),
            _ => 0,
        }
    }

    /// Letters and digits that no rule takes apart; `word` is the 8 bytes from `start` on.
    #[inline]
    fn whole(&self, word: u64, start: usize, end: usize, words: &mut Vec<Span>) {
        match self.exceptions.find_from(word, self.text.as_bytes(), start, end) {
            Some(exception) => push_parts(exception, start, words),
            None => words.push(Span::new(start, end)),
        }
    }

    /// The same with a mark at `end`.
    #[inline]
    fn marked(&mut self, word: u64, start: usize, end: usize, words: &mut Vec<Span>) {
        let bytes = self.text.as_bytes();
        let splits = bytes[end] != b'.' || {
            // `J.` and `McD.` stay whole.
            let small = !bytes[end - 1].is_ascii_uppercase();
            small || end - start > 1 && bytes[end - 2].is_ascii_uppercase()
        };
        if !splits || self.exceptions.find_from(word, bytes, start, end + 1).is_some() {
            return self.whole(word, start, end + 1, words);
        }
        let before = words.len();
        self.whole(word, start, end, words);
        words.push(Span::new(end, end + 1));
        self.apart |= words.len() - before > 2;
    }

    /// Any piece without blanks.
    fn piece(&mut self, start: usize, end: usize, words: &mut Vec<Span>) {
        let bytes = self.text.as_bytes();
        if let Some(exception) = self.exceptions.find(bytes, start, end) {
            return push_parts(exception, start, words);
        }
        let first = words.len();
        let (mut from, mut to) = (start, end);
        // Suffixes lie behind one another: their starts, from the end inwards.
        let mut suffixes = Suffixes::default();
        let mut exception = None;
        while from < to {
            let before = prefix(&self.text[from..to]);
            if before > 0 && from + before < to {
                exception = self.exceptions.find(bytes, from + before, to);
                if exception.is_some() {
                    words.push(Span::new(from, from + before));
                    from += before;
                    break;
                }
            }
            let after = suffix(&self.text[from + before..to]);
            if after > 0 && from + after < to {
                exception = self.exceptions.find(bytes, from, to - after);
                if exception.is_some() {
                    suffixes.push(to - after);
                    to -= after;
                    break;
                }
            }
            if before == 0 && after == 0 {
                break;
            }
            if before > 0 {
                words.push(Span::new(from, from + before));
                from += before;
            }
            if after > 0 {
                suffixes.push(to - after);
                to -= after;
            }
            exception = if from < to { self.exceptions.find(bytes, from, to) } else { None };
            if exception.is_some() {
                break;
            }
        }
        match exception {
            Some(exception) => push_parts(exception, from, words),
            None if from < to => self.inside(from, to, words),
            None => {}
        }
        suffixes.drain(end, words);
        if let Some(patterns) = self.patterns
            && words.len() - first > 1
        {
            self.apart = self.apart || patterns.any(self.text, &words[first..]);
        }
    }

    /// What is left between prefixes and suffixes: an address, or words with infixes between them.
    fn inside(&self, from: usize, to: usize, words: &mut Vec<Span>) {
        let piece = &self.text[from..to];
        if is_url(piece) {
            words.push(Span::new(from, to));
            return;
        }
        let (mut word, mut at) = (0, 0);
        while let Some(next) = piece.as_bytes()[at..].iter().position(|&byte| MAY_BE_INFIX[byte as usize]) {
            at += next;
            let length = infix(piece, at);
            if length > 0 && at > 0 {
                if word < at {
                    words.push(Span::new(from + word, from + at));
                }
                words.push(Span::new(from + at, from + at + length));
                word = at + length;
            }
            at += if length > 0 { length } else { piece[at..].chars().next().map_or(1, char::len_utf8) };
        }
        if word < piece.len() {
            words.push(Span::new(from + word, to));
        }
    }
}

fn push_parts(exception: &Exception, start: usize, words: &mut Vec<Span>) {
    let mut from = start;
    for &end in &exception.ends {
        let end = start + usize::from(end);
        words.push(Span::new(from, end));
        from = end;
    }
}

/// Starts of suffixes; hardly ever more than four.
#[derive(Default)]
struct Suffixes {
    few: [usize; 4],
    count: usize,
    many: Vec<usize>,
}

impl Suffixes {
    fn push(&mut self, start: usize) {
        match self.few.get_mut(self.count) {
            Some(place) => *place = start,
            None => self.many.push(start),
        }
        self.count += 1;
    }

    /// Appends them in the order of the text, which ends at `end`.
    fn drain(&self, end: usize, words: &mut Vec<Span>) {
        let few = &self.few[..self.count.min(self.few.len())];
        let first = words.len();
        let mut to = end;
        for &start in few.iter().chain(&self.many) {
            words.push(Span::new(start, to));
            to = start;
        }
        words[first..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &str) {
        let mut words = Vec::new();
        split(text, &mut words);
        let words: Vec<&str> = words.iter().map(|word| word.of(text)).collect();
        assert_eq!(words.join("|"), expect, "{text}");
    }

    #[test]
    fn words_are_those_of_spacy() {
        check("", "");
        check(" \n\t ", "");
        check("Hello, world! (It's me.)", "Hello|,|world|!|(|It|'s|me|.|)");
        check("I don't, can't and won't've.", "I|do|n't|,|ca|n't|and|wo|n't|'ve|.");
        check(
            "Mr. Smith of the U.S. paid $5.00 (US$6) for 10km.",
            "Mr.|Smith|of|the|U.S.|paid|$|5.00|(|US$|6|)|for|10|km|.",
        );
        check("See http://example.com/a?b=c, or me@example.com.", "See|http://example.com/a?b=c|,|or|me@example.com|.");
        check("well-known end.Begin a/b 1-2 x--y", "well|-|known|end|.|Begin|a|/|b|1|-|2|x|--|y");
        check("“Quoted”—dash… wait...", "“|Quoted”—dash|…|wait|...");
        check("caf\u{e9}\u{a0}na\u{ef}ve\u{3000}x", "caf\u{e9}|na\u{ef}ve|x");
    }

    #[test]
    fn exceptions_that_came_apart_are_put_together() {
        check("f(x): hello:) :-) itd.", "f(x|):|hello|:)|:-)|it|d.");
    }

    proptest! {
        #[test]
        fn words_are_all_but_the_blanks(text in "\\PC{0,60}|([a-zA-Z.,'’():!?\"0-9\\-_/@ \u{a0}\n]{1,12} ?){0,20}") {
            let mut words = Vec::new();
            split(&text, &mut words);
            prop_assert!(words.iter().all(|word| word.start < word.end));
            prop_assert!(words.windows(2).all(|two| two[0].end <= two[1].start));
            let joined: String = words.iter().map(|word| word.of(&text)).collect();
            prop_assert_eq!(joined, text.chars().filter(|&c| !blank(c)).collect::<String>());
        }
    }

    #[test]
    fn a_huge_piece_takes_linear_time() {
        let text = "(".repeat(200_000) + &"a-".repeat(200_000) + &")".repeat(200_000);
        let mut words = Vec::new();
        split(&text, &mut words);
        assert_eq!(words.len(), 799_999);
    }
}
