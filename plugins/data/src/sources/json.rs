//! One JSON object of a line, read for a few of its members. A full parser builds a tree of every value only to throw
//! most of it away; this scanner checks the syntax in one pass, remembers where the wanted members lie, and copies
//! nothing.
//!
//! It only has to be right when it says yes. Whatever is rare (escaped or repeated keys, exponents, lone surrogates, deep
//! nesting) or wrong makes it give up, and the caller asks `serde_json`, which decides and explains. So a line is accepted
//! exactly when `serde_json` accepts it as an object.

use std::ops::Range;

/// Deeper values are left to the full parser, which has its own limit.
const DEPTH: u32 = 64;
/// With more members than this, looking for repeated keys would cost more than the full parser.
const MEMBERS: usize = 64;

/// A value as it stands in the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A string without its quotes; whether it holds escapes.
    String(Range<usize>, bool),
    /// A number or a truth value.
    Scalar(Range<usize>),
    /// `null`.
    Null,
    /// An array or an object.
    Nested,
}

/// What [`scan`] found; kept between lines for its memory.
#[derive(Debug, Default)]
pub struct Members {
    /// The wanted members, in the order of the keys that were asked for.
    pub wanted: [Option<Found>; 4],
    /// The other members: key, and from the key's quote to the value's end.
    pub rest: Vec<(Range<usize>, Range<usize>)>,
}

impl Members {
    /// The other members as a JSON object.
    pub fn write_rest(&self, line: &str, out: &mut String) {
        out.push('{');
        for (index, (key, member)) in self.rest.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            // Blanks around the colon are no part of the value.
            out.push_str(&line[member.start..=key.end]);
            out.push(':');
            let value = line[key.end + 1..member.end].trim_start_matches([' ', '\t', '\r', '\n']);
            out.push_str(value[1..].trim_start_matches([' ', '\t', '\r', '\n']));
        }
        out.push('}');
    }
}

/// Finds the members called `keys` in the object that `line` is. `None`: ask a full parser.
pub fn scan(line: &str, keys: [&str; 4], members: &mut Members) -> Option<()> {
    members.wanted = [const { None }; 4];
    members.rest.clear();
    let mut scanner = Scanner { bytes: line.as_bytes(), at: 0 };
    scanner.blanks();
    scanner.expect(b'{')?;
    scanner.blanks();
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            let start = scanner.at;
            let (key, escaped) = scanner.string()?;
            if escaped {
                return None;
            }
            scanner.colon()?;
            let value = scanner.value(0)?;
            let name = &line[key.clone()];
            if let Some(index) = keys.iter().position(|wanted| *wanted == name) {
                if members.wanted[index].replace(value).is_some() {
                    return None;
                }
            } else {
                let repeated = members.rest.iter().any(|(other, _)| line[other.clone()] == *name);
                if repeated || members.rest.len() == MEMBERS {
                    return None;
                }
                members.rest.push((key, start..scanner.at));
            }
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    scanner.blanks();
    (scanner.at == scanner.bytes.len()).then_some(())
}

/// Appends the text of a string that [`scan`] found.
pub fn unescape(escaped: &str, out: &mut String) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let (character, length) = match rest.as_bytes()[at + 1] {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => {
                let high = hex(rest.as_bytes(), at + 2).unwrap_or_default();
                if let 0xd800..=0xdbff = high {
                    let low = hex(rest.as_bytes(), at + 8).unwrap_or_default();
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
                } else {
                    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
                }
            }
            same => (char::from(same), 2),
        };
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn colon(&mut self) -> Option<()> {
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Some(())
    }

    /// Behind a member or item: whether another follows, or `close` ends the list.
    fn more(&mut self, close: u8) -> Option<bool> {
        self.blanks();
        let byte = self.peek()?;
        self.at += 1;
        if byte == close {
            return Some(false);
        }
        self.blanks();
        (byte == b',').then_some(true)
    }

    fn value(&mut self, depth: u32) -> Option<Found> {
        let start = self.at;
        match self.peek()? {
            b'"' => self.string().map(|(range, escaped)| Found::String(range, escaped)),
            b'-' | b'0'..=b'9' => self.number().map(|()| Found::Scalar(start..self.at)),
            b't' => self.word(b"true").map(|()| Found::Scalar(start..self.at)),
            b'f' => self.word(b"false").map(|()| Found::Scalar(start..self.at)),
            b'n' => self.word(b"null").map(|()| Found::Null),
            b'{' | b'[' if depth < DEPTH => self.nested(depth).map(|()| Found::Nested),
            _ => None,
        }
    }

    fn nested(&mut self, depth: u32) -> Option<()> {
        let close = if self.peek()? == b'{' { b'}' } else { b']' };
        self.at += 1;
        self.blanks();
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.colon()?;
            }
            self.value(depth + 1)?;
            if !self.more(close)? {
                return Some(());
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// A number that no parser can find too large: no exponent, few digits.
    fn number(&mut self) -> Option<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        (self.at - start < 64 && !matches!(self.peek(), Some(b'e' | b'E' | b'0'..=b'9'))).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// A string, from its opening quote; returns what is between the quotes, and whether that holds escapes.
    fn string(&mut self) -> Option<(Range<usize>, bool)> {
        self.expect(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += special(&self.bytes[self.at..])?;
            match self.bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Some((start..self.at - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character.
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.at += match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => match hex(self.bytes, self.at + 2)? {
                0xd800..=0xdbff => {
                    let pair = self.bytes.get(self.at + 6..self.at + 8)? == b"\\u";
                    let low = hex(self.bytes, self.at + 8)?;
                    (pair && (0xdc00..=0xdfff).contains(&low)).then_some(12)?
                }
                0xdc00..=0xdfff => return None,
                _ => 6,
            },
            _ => return None,
        };
        Some(())
    }
}

/// Position of the first quote, backslash or control character.
fn special(bytes: &[u8]) -> Option<usize> {
    const CHUNK: usize = 32;
    let is_special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < b' ';
    let mut at = 0;
    // Without branches inside, the compiler turns a chunk into a few vector instructions.
    for chunk in bytes.chunks_exact(CHUNK) {
        if chunk.iter().fold(0, |any, byte| any | u8::from(is_special(byte))) != 0 {
            break;
        }
        at += CHUNK;
    }
    bytes[at..].iter().position(is_special).map(|found| at + found)
}
