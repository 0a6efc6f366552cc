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

/// The end of the closure that `text` starts with: where the list, the call or the statement around it goes on.
pub(crate) fn closure(text: &str) -> usize {
    let parameters = text[1..].find('|').map_or(1, |end| end + 2);
    end_of_code(text, parameters, &[',', ';'])
}

/// From byte `from` to what ends the code there: a bracket that it did not open, or one of `separators`.
fn end_of_code(text: &str, from: usize, separators: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            c if depth == 0 && separators.contains(&c) => break,
            _ => {}
        }
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if c == '"' || c == '\'' {
            string(rest, c).unwrap_or(rest.len())
        } else if c == '`' {
            interpolated(rest)
        } else if rest.starts_with("#\"") || rest.starts_with("##") {
            raw_string(rest)
        } else {
            c.len_utf8()
        };
    }
    at
}

/// The end of a comment, which may hold others.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The end of a string in back-ticks, with the code in its `${…}`. Two back-ticks stand for one.
fn interpolated(text: &str) -> usize {
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match c {
            '`' if !rest.starts_with("``") => return at + 1,
            '`' => 2,
            '$' if rest.starts_with("${") => end_of_code(rest, 2, &[]),
            c => c.len_utf8(),
        };
    }
    at
}

/// The end of `#"…"#`, with any number of `#`.
fn raw_string(text: &str) -> usize {
    let marks = text.len() - text.trim_start_matches('#').len();
    let Some(inside) = text[marks..].strip_prefix('"') else { return marks };
    let close = format!("\"{}", "#".repeat(marks));
    inside.find(&close).map_or(text.len(), |end| marks + 1 + end + close.len())
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
    fn a_closure_reaches_to_where_its_surroundings_go_on() {
        for (text, whole) in [
            ("|doc| doc.words > 3) | filter::x()", "|doc| doc.words > 3"),
            ("|d| if d.words < 5 { \"a, b)\" } else { true }, #{})", "|d| if d.words < 5 { \"a, b)\" } else { true }"),
            ("|d| [d.id, '\"', ')'].len() == 3; x", "|d| [d.id, '\"', ')'].len() == 3"),
            ("|d| { // it's ) }\n /* ) /* } */ ; */ true };", "|d| { // it's ) }\n /* ) /* } */ ; */ true }"),
            ("|d| `a) ${f(#{ a: `)` })} ``) é` == d.text)", "|d| `a) ${f(#{ a: `)` })} ``) é` == d.text"),
            ("|d| #\"a\")\"# == d.text)", "|d| #\"a\")\"# == d.text"),
            ("|| true, 3", "|| true"),
            ("|d| \"open", "|d| \"open"),
        ] {
            assert_eq!(&text[..closure(text)], whole, "{text}");
        }
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
