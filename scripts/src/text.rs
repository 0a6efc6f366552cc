//! Places in a script's text.
//!
//! Rhai counts lines and characters, from one and in sixteen bits; terminals and miette want bytes. Rhai also
//! knows only where a thing starts, so how far it reaches is read off the text.

use rhai::Position;

/// Brackets longer than this are shown by where they open.
const LONGEST: usize = 80;

/// The byte at which `position` lies; positions beyond a line's end mean its end.
pub(crate) fn offset(text: &str, position: Position) -> usize {
    let Some(line) = position.line() else { return 0 };
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text[start..].split('\n').next().unwrap_or_default();
    let column = position.position().map_or(0, |column| column - 1);
    start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte)
}

/// How many bytes the thing at byte `start` covers: a name with its path, a string, a bracket with what is in it
/// (if it closes on the same line), a number, an operator.
pub(crate) fn extent(text: &str, start: usize) -> usize {
    let line = text[start..].split('\n').next().unwrap_or_default();
    let mut characters = line.chars();
    match characters.next() {
        None => 0,
        Some('#') if characters.next() == Some('{') => closed(line, 1).filter(|end| *end <= LONGEST).unwrap_or(2),
        Some('[' | '(' | '{') => closed(line, 0).filter(|end| *end <= LONGEST).unwrap_or(1),
        Some(quote @ ('"' | '`')) => string(line, quote).unwrap_or(line.trim_end().len()),
        Some(first) if first.is_ascii_digit() => number(line),
        Some(first) if is_word(first) => path(line),
        Some(first) if is_operator(first) => line.find(|c| !is_operator(c)).unwrap_or(line.len()),
        Some(first) => first.len_utf8(),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_operator(c: char) -> bool {
    "=<>!&|+-*/%~^".contains(c)
}

/// `source::jsonl`.
fn path(line: &str) -> usize {
    let mut end = 0;
    loop {
        end += line[end..].find(|c| !is_word(c)).unwrap_or(line.len() - end);
        let goes_on = line[end..].strip_prefix("::").is_some_and(|rest| rest.starts_with(is_word));
        if !goes_on {
            return end;
        }
        end += "::".len();
    }
}

/// `1_000`, `2.5`, `3e-4`.
fn number(line: &str) -> usize {
    let mut end = 0;
    for (byte, c) in line.char_indices() {
        let after_exponent = matches!(c, '+' | '-') && line[..byte].ends_with(['e', 'E']);
        if !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || after_exponent) {
            break;
        }
        end = byte + c.len_utf8();
    }
    end
}

/// The end of the string that `line` starts with, quotes included.
fn string(line: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (byte, c) in line.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(byte + 1),
            _ => {}
        }
    }
    None
}

/// The end of the bracket that opens at byte `from` of `line`.
fn closed(line: &str, from: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(c) = line[at..].chars().next() {
        match c {
            '"' | '`' => {
                at += string(&line[at..], c)?;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_bytes_come_out() {
        let text = "let a = 1;\n\"é\" + grün;\n";
        assert_eq!(&text[offset(text, Position::new(2, 7))..], "grün;\n");
        assert_eq!(offset(text, Position::new(1, 99)), 10);
        assert_eq!(offset(text, Position::new(9, 1)), text.len());
        assert_eq!(offset(text, Position::NONE), 0);
    }

    #[test]
    fn a_thing_reaches_to_its_own_end() {
        for (line, whole) in [
            ("source::jsonl(1)", "source::jsonl"),
            ("\"a \\\" b\" | x", "\"a \\\" b\""),
            ("#{ a: \"}\", b: [1] }) x", "#{ a: \"}\", b: [1] }"),
            ("#{", "#{"),
            ("[1, 2]; x", "[1, 2]"),
            ("3e-4, x", "3e-4"),
            ("| y", "|"),
            ("\"open", "\"open"),
            ("é + 1", "é"),
            ("", ""),
        ] {
            assert_eq!(&line[..extent(line, 0)], whole, "{line}");
        }
    }
}
