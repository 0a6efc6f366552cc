//! What spaCy splits off a piece between blanks: at its start, at its end, and inside.
//!
//! Each function is one of its regular expressions (lang/punctuation.py), matched by hand.

use super::bytes::is_mark;
use super::classes::{BEFORE_STOP, CAPITAL, LETTER, PREFIX, QUOTE, SMALL, SUFFIX, SYMBOL, class, is};

/// Units that are split off the number before them, and currencies.
fn is_unit(tail: &str) -> bool {
    // `тбكم` is one word because spaCy's list lacks a blank there.
    #[rustfmt::skip]
    let unit = matches!(
        tail,
        "km" | "km²" | "km³" | "m" | "m²" | "m³" | "dm" | "dm²" | "dm³" | "cm" | "cm²" | "cm³" | "mm" | "mm²"
            | "mm³" | "ha" | "µm" | "nm" | "yd" | "in" | "ft" | "kg" | "g" | "mg" | "µg" | "t" | "lb" | "oz"
            | "m/s" | "km/h" | "kmh" | "mph" | "hPa" | "Pa" | "mbar" | "mb" | "MB" | "kb" | "KB" | "gb" | "GB"
            | "tb" | "TB" | "T" | "G" | "M" | "K" | "%" | "км" | "км²" | "км³" | "м" | "м²" | "м³" | "дм"
            | "дм²" | "дм³" | "см" | "см²" | "см³" | "мм" | "мм²" | "мм³" | "нм" | "кг" | "г" | "мг" | "м/с"
            | "км/ч" | "кПа" | "Па" | "мбар" | "Кб" | "КБ" | "кб" | "Мб" | "МБ" | "мб" | "Гб" | "ГБ" | "гб"
            | "Тб" | "ТБ" | "тбكم" | "كم²" | "كم³" | "م" | "م²" | "م³" | "سم" | "سم²" | "سم³" | "مم" | "مم²"
            | "مم³" | "كم" | "غرام" | "جرام" | "جم" | "كغ" | "ملغ" | "كوب" | "اكواب"
            | "US$" | "C$" | "A$" | "+"
    );
    let mut characters = tail.chars();
    unit || characters.next().is_some_and(is_currency) && characters.next().is_none()
}

fn is_currency(c: char) -> bool {
    matches!(c, '$' | '£' | '€' | '¥' | '฿' | '₽' | '﷼' | '\u{20a0}'..='\u{20b0}' | '\u{20b1}'..='\u{20bf}')
}

/// Longest unit or currency in bytes.
const LONGEST_UNIT: usize = 10;

/// The affix classes of ASCII, where nearly all words begin and end.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            mark if is_mark(mark) => PREFIX | SUFFIX,
            b'$' | b'%' | b'+' | b'=' => PREFIX,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The length of what is split off the start of `piece`; 0 for nothing.
pub fn prefix(piece: &str) -> usize {
    let bytes = piece.as_bytes();
    match bytes {
        [] | [b'+', b'0'..=b'9', ..] => 0,
        [b'.', b'.', ..] => bytes.iter().take_while(|&&b| b == b'.').count(),
        [b'U', b'S', b'$', ..] => 3,
        [b'C' | b'A', b'$', ..] => 2,
        [byte @ ..0x80, ..] => usize::from(ASCII[*byte as usize] & PREFIX != 0),
        _ => piece.chars().next().filter(|&c| class(c) & PREFIX != 0).map_or(0, char::len_utf8),
    }
}

/// The length of what is split off the end of `piece`; 0 for nothing. Of several the longest.
pub fn suffix(piece: &str) -> usize {
    let bytes = piece.as_bytes();
    let Some(&last) = bytes.last() else { return 0 };
    match last {
        b'.' => return full_stops(piece),
        b'0'..=b'9' => return 0,
        // No unit ends with one of these.
        ..0x80 if ASCII[last as usize] & SUFFIX != 0 => return 1,
        b's' | b'S' => {
            let rest = &piece[..piece.len() - 1];
            if let Some(quote) = rest.chars().next_back().filter(|c| matches!(c, '\'' | '\u{2019}')) {
                return 1 + quote.len_utf8();
            }
        }
        _ => {}
    }
    // A unit follows a digit: it is what stands behind the last one, if that is near.
    let near = &bytes[bytes.len().saturating_sub(LONGEST_UNIT + 1)..];
    if let Some(at) = near.iter().rposition(u8::is_ascii_digit) {
        let length = near.len() - at - 1;
        if is_unit(&piece[piece.len() - length..]) {
            return length;
        }
    }
    match piece.chars().next_back() {
        Some('…') if piece.ends_with("……") => 6,
        Some(c) if !c.is_ascii() && class(c) & SUFFIX != 0 => c.len_utf8(),
        _ => 0,
    }
}

/// Two or more full stops go together; one goes after most things, but `J.` keeps it.
fn full_stops(piece: &str) -> usize {
    let rest = piece.trim_end_matches('.');
    let stops = piece.len() - rest.len();
    if stops > 1 {
        return stops;
    }
    let mut before = rest.chars().rev();
    let (last, second) = (before.next(), before.next());
    let degree = matches!(last, Some('F' | 'f' | 'C' | 'c' | 'K' | 'k')) && second == Some('°');
    usize::from(is(last, BEFORE_STOP) || degree || is(last, CAPITAL) && is(second, CAPITAL))
}

/// The length of what is a word of its own at byte `at` inside `piece`; 0 for nothing.
pub fn infix(piece: &str, at: usize) -> usize {
    let bytes = piece.as_bytes();
    if bytes[at].is_ascii_alphanumeric() {
        return 0;
    }
    let before = piece[..at].chars().next_back();
    let mut rest = piece[at..].chars();
    let Some(here) = rest.next() else { return 0 };
    let after = rest.clone().next();
    let digit_before = before.is_some_and(|c| c.is_ascii_digit());
    match here {
        '.' if after == Some('.') => piece[at..].bytes().take_while(|&b| b == b'.').count(),
        '.' => usize::from(is(before, SMALL | QUOTE) && is(after, CAPITAL | QUOTE)),
        ',' => usize::from(is(before, LETTER) && is(after, LETTER)),
        '+' | '*' | '^' | '-' if digit_before && after.is_some_and(|c| c.is_ascii_digit() || c == '-') => 1,
        '-' | '–' | '—' | '~' if digit_before || is(before, LETTER) => hyphen(here, &piece[at..]),
        ':' | '<' | '>' | '=' | '/' => usize::from((digit_before || is(before, LETTER)) && is(after, LETTER)),
        '…' => here.len_utf8(),
        _ if here.is_ascii() => 0,
        _ if class(here) & SYMBOL != 0 => here.len_utf8(),
        _ => 0,
    }
}

/// Up to three hyphens, or two long dashes, before a letter.
fn hyphen(kind: char, rest: &str) -> usize {
    let most = match kind {
        '-' => 3,
        '—' => 2,
        _ => 1,
    };
    let mut after = rest.chars();
    let count = after.by_ref().take_while(|&c| c == kind).count();
    let next = rest[count * kind.len_utf8()..].chars().next();
    if count <= most && is(next, LETTER) { count * kind.len_utf8() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_ascii_is_that_of_the_classes() {
        for byte in 0..128u8 {
            let expect = if byte.is_ascii_alphanumeric() { 0 } else { class(byte as char) & (PREFIX | SUFFIX) };
            assert_eq!(ASCII[byte as usize], expect, "{}", byte as char);
        }
    }

    #[test]
    fn suffixes() {
        let check = |piece: &str, expect: usize| assert_eq!(suffix(piece), expect, "{piece}");
        for (piece, expect) in [
            ("word", 0),
            ("word.", 1),
            ("word...", 3),
            ("J.", 0),
            ("USA.", 1),
            ("10.", 1),
            ("20°C.", 1),
            ("word's", 2),
            ("word’s", 4),
            ("word)", 1),
            ("10km", 2),
            ("10km/h", 4),
            ("10%", 1),
            ("10US$", 3),
            ("10€", 3),
            ("x€", 0),
            ("5+", 1),
            ("x+", 0),
            ("……", 6),
            ("…", 3),
            ("km", 0),
            ("5xkm", 0),
            ("🙂", 4),
            ("", 0),
            ("m²", 0),
        ] {
            check(piece, expect);
        }
    }

    #[test]
    fn prefixes() {
        for (piece, expect) in [
            ("word", 0),
            ("(word", 1),
            ("+1", 0),
            ("+x", 1),
            ("...x", 3),
            (".x", 0),
            ("US$5", 3),
            ("$5", 1),
            ("C$", 2),
            ("“x", 3),
        ] {
            assert_eq!(prefix(piece), expect, "{piece}");
        }
    }

    #[test]
    fn infixes() {
        for (piece, at, expect) in [
            ("well-known", 4, 1),
            ("a--b", 1, 2),
            ("a---b", 1, 3),
            ("a----b", 1, 0),
            ("1-2", 1, 1),
            ("1--2", 1, 1),
            ("a-1", 1, 0),
            ("end.Begin", 3, 1),
            ("end.begin", 3, 0),
            ("a,b", 1, 1),
            ("1,2", 1, 0),
            ("a...b", 1, 3),
            ("a/b", 1, 1),
            ("a/1", 1, 0),
            ("a—b", 1, 3),
            ("a——b", 1, 6),
            ("a🙂b", 1, 4),
            ("1:b", 1, 1),
            ("2*3", 1, 1),
        ] {
            assert_eq!(infix(piece, at), expect, "{piece}");
        }
    }
}
