//! Lines in two conventions: Python's `splitlines`, which knows eleven line ends, and `\n` alone.

use memchr::{memchr, memmem};

use super::blank;

/// The lines of `text` as Python's `str.splitlines` cuts it: a line end at the end of the text begins no line.
pub fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let plain = !has_rare_line_ends(text);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = if plain { memchr(b'\n', rest.as_bytes()).map(|at| (at, 1)) } else { next_line_end(rest) };
        let (line, ending) = found.unwrap_or((rest.len(), 0));
        let line_of = &rest[..line];
        rest = &rest[line + ending..];
        Some(line_of)
    })
}

/// Whether a text has line ends other than `\n`.
fn has_rare_line_ends(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Without a branch for each byte, so that many are looked at at once.
    let rare = |byte: u8| u8::from(byte.wrapping_sub(0xb) < 3) | u8::from(byte.wrapping_sub(0x1c) < 3);
    let (mut any, mut beyond) = (0, 0);
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        for &byte in block {
            any |= rare(byte);
            beyond |= byte;
        }
    }
    for &byte in rest {
        any |= rare(byte);
        beyond |= byte;
    }
    any != 0
        || !beyond.is_ascii()
            && ["\u{85}", "\u{2028}", "\u{2029}"].iter().any(|end| memmem::find(bytes, end.as_bytes()).is_some())
}

/// Position and length of the first line end.
fn next_line_end(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + bytes[from..].iter().position(|&byte| MAY_END_LINE[byte as usize])?;
        let length = match bytes[at..] {
            [b'\r', b'\n', ..] | [0xc2, 0x85, ..] => 2,
            [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
            [..0x80, ..] => 1,
            _ => 0,
        };
        if length > 0 {
            return Some((at, length));
        }
        from = at + 1;
    }
}

/// First bytes of line ends: LF, VT, FF, CR, FS, GS, RS, NEL, LS and PS.
const MAY_END_LINE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'\n'..=b'\r' | 0x1c..=0x1e | 0xc2 | 0xe2);
        byte += 1;
    }
    table
};

/// What stands between `\n`, like `text.split('\n')` and faster.
pub fn split_newlines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b'\n', text.as_bytes());
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// Python's `str.strip`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newlines_are_between_lines() {
        for text in ["", "\n", "a", "a\n\nb", "\na\n"] {
            assert!(split_newlines(text).eq(text.split('\n')));
        }
    }

    #[test]
    fn every_line_end_of_python_ends_a_line() {
        let check = |text: &str, expect: &[&str]| assert_eq!(split_lines(text).collect::<Vec<_>>(), expect);
        check("", &[]);
        check("\n", &[""]);
        check("a\r\nb\rc\n\nd", &["a", "b", "c", "", "d"]);
        check("a\u{b}b\u{c}c\u{1c}d\u{1d}e\u{1e}f\u{85}g\u{2028}h\u{2029}", &["a", "b", "c", "d", "e", "f", "g", "h"]);
        check("a\u{a0}\u{2029}\u{1f}b\u{2019}c", &["a\u{a0}", "\u{1f}b\u{2019}c"]);
    }
}
