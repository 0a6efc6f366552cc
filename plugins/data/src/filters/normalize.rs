//! `normalize`: the same text always looks the same: one form of each letter, one kind of line end, no control
//! characters, no runs of empty lines. Later filters and the tokenizer count on it.

use std::borrow::Cow;

use psann_core::{Batch, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

psann_core::register!(Filter, "normalize", NormalizeOptions, Normalize::new, version = 2);

/// Unifies characters and line ends, caps empty lines; drops documents that end up empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each rule is switched on its own")]
pub struct NormalizeOptions {
    /// Compose letters and accents (Unicode NFC).
    pub nfc: bool,
    /// Remove control characters other than line ends and tabs, and byte order marks at the start.
    pub control: bool,
    /// Make `\r\n` and `\r` line ends `\n`.
    pub line_ends: bool,
    /// Remove white space at the end of lines and of the text.
    pub trailing_space: bool,
    /// Most line ends in a row; 0 keeps all.
    pub newlines: usize,
}

impl Default for NormalizeOptions {
    fn default() -> Self {
        Self { nfc: true, control: true, line_ends: true, trailing_space: false, newlines: 2 }
    }
}

/// The filter.
#[derive(Debug)]
pub struct Normalize {
    options: NormalizeOptions,
}

const EMPTY: u16 = 0;

impl Normalize {
    /// Any options are fine.
    pub fn new(options: NormalizeOptions) -> Result<Self> {
        Ok(Self { options })
    }

    /// The text in its normal form, which is a fixed point.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if self.options.line_ends && text.contains('\r') {
            text = Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"));
        }
        if self.options.control {
            if has_control(&text) {
                text = Cow::Owned(text.chars().filter(|c| !is_removed(*c)).collect());
            }
            let kept = text.trim_start_matches('\u{feff}').len();
            if kept < text.len() {
                text = Cow::Owned(text[text.len() - kept..].to_owned());
            }
        }
        if self.options.nfc && !text.is_ascii() && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            text = Cow::Owned(text.nfc().collect());
        }
        if self.options.trailing_space && has_trailing_space(&text) {
            text = Cow::Owned(trim_lines(&text));
        }
        if self.options.newlines > 0 && has_newlines(&text, self.options.newlines + 1) {
            text = Cow::Owned(cap_newlines(&text, self.options.newlines));
        }
        text
    }
}

/// Whether the control rule removes it.
fn is_removed(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t' | '\r')
}

fn has_control(text: &str) -> bool {
    // Written for the compiler's vectoriser; control characters beyond ASCII start with 0xC2 and are rare enough to be
    // looked for one by one.
    let suspect =
        |byte: u8| (byte < 0x20 && byte != b'\n' && byte != b'\t' && byte != b'\r') || byte == 0x7f || byte == 0xc2;
    let any = text.as_bytes().chunks(64).any(|block| block.iter().fold(false, |any, byte| any | suspect(*byte)));
    any && text.chars().any(is_removed)
}

fn has_newlines(text: &str, count: usize) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = memchr::memchr(b'\n', rest) {
        let run = rest[at..].iter().take_while(|byte| **byte == b'\n').count();
        if run >= count {
            return true;
        }
        rest = &rest[at + run..];
    }
    false
}

fn has_trailing_space(text: &str) -> bool {
    text.split('\n').any(|line| line.ends_with(char::is_whitespace)) || text.ends_with('\n')
}

fn trim_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        out.push_str(line.trim_end());
    }
    out.truncate(out.trim_end().len());
    out
}

fn cap_newlines(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = 0;
    for c in text.chars() {
        run = if c == '\n' { run + 1 } else { 0 };
        if run <= most {
            out.push(c);
        }
    }
    out
}

impl Filter for Normalize {
    fn reasons(&self) -> &[&'static str] {
        &["empty"]
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut changed = 0;
        for (row, text) in batch.texts().enumerate() {
            let normal = self.text(text);
            if normal.trim().is_empty() {
                verdicts.dropped[row] = Some(EMPTY);
            } else if let Cow::Owned(normal) = normal {
                changed += 1;
                verdicts.rewrite(row, normal);
            }
        }
        verdicts.count("documents changed", changed);
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use psann_core::{BatchBuilder, Document};

    use super::*;

    fn normal(text: &str) -> String {
        Normalize::new(NormalizeOptions::default()).unwrap().text(text).into_owned()
    }

    #[test]
    fn each_rule_does_what_it_says() {
        assert_eq!(normal("caf\u{65}\u{301}"), "caf\u{e9}");
        assert_eq!(normal("a\r\nb\rc"), "a\nb\nc");
        assert_eq!(normal("\u{feff}a\u{0}b\u{1b}c\td\u{85}\u{feff}"), "abc\td\u{feff}");
        let trimming = NormalizeOptions { trailing_space: true, ..NormalizeOptions::default() };
        assert_eq!(Normalize::new(trimming).unwrap().text("a  \nb\t\n\n"), "a\nb");
        assert_eq!(normal("a\n\n\n\n\nb"), "a\n\nb");
        assert_eq!(normal("  indented\n    more"), "  indented\n    more");
    }

    #[test]
    fn every_rule_can_be_switched_off() {
        let off = NormalizeOptions { nfc: false, control: false, line_ends: false, trailing_space: false, newlines: 0 };
        let text = "e\u{301}\u{0} \r\n\n\n\n";
        assert_eq!(Normalize::new(off).unwrap().text(text), text);
    }

    #[test]
    fn empty_documents_are_dropped_with_their_reason() {
        let mut batch = BatchBuilder::default();
        for text in ["fine", " \r\n ", "x\r\n"] {
            batch.push(Document { text: text.into(), ..Document::default() });
        }
        let verdicts = Normalize::new(NormalizeOptions::default()).unwrap().apply(&batch.finish().unwrap()).unwrap();
        assert_eq!(verdicts.dropped, [None, Some(0), None]);
        assert_eq!(verdicts.rewritten[2].as_deref(), Some("x\n"));
        assert_eq!(verdicts.counts["documents changed"], 1);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC*|[a-z \\n\\r\\t\\u{300}-\\u{310}]{0,40}") {
            let once = normal(&text);
            prop_assert_eq!(normal(&once), once);
        }
    }
}
