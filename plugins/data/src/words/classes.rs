//! What a character is: to spaCy's rules (`classes.txt`), and to Python's `str` methods, which the reference asks.

use std::sync::LazyLock;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Bits of a class; `classes.txt` describes them.
pub const LETTER: u8 = 0x01;
pub const SMALL: u8 = 0x02;
pub const CAPITAL: u8 = 0x04;
pub const SYMBOL: u8 = 0x08;
pub const PREFIX: u8 = 0x10;
pub const SUFFIX: u8 = 0x20;
pub const QUOTE: u8 = 0x40;
pub const BEFORE_STOP: u8 = 0x80;

/// The classes of all characters: a table where most of them are, ranges beyond it.
struct Classes {
    plane: Box<[u8]>,
    beyond: Vec<(u32, u32, u8)>,
}

const PLANE: u32 = 0x1_0000;

static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    let mut classes = Classes { plane: vec![0; PLANE as usize].into(), beyond: Vec::new() };
    for entry in entries(include_str!("classes.txt")) {
        let (range, bits) = entry.split_once(':').unwrap_or((entry, "0"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (odd, even) = bits.split_once('/').unwrap_or((bits, bits));
        let number = |digits| u32::from_str_radix(digits, 16).unwrap_or_default();
        let (first, last, kinds) = (number(first), number(last), [number(odd) as u8, number(even) as u8]);
        if first >= PLANE {
            classes.beyond.push((first, last, kinds[0]));
        } else {
            for code in first..=last {
                classes.plane[code as usize] = kinds[((code - first) % 2) as usize];
            }
        }
    }
    classes
});

/// The entries of a data file: separated by blanks, `#` begins a comment line.
pub fn entries(file: &str) -> impl Iterator<Item = &str> {
    file.lines().filter(|line| !line.starts_with("# ")).flat_map(str::split_whitespace)
}

/// The class of a character.
pub fn class(c: char) -> u8 {
    let code = c as u32;
    if let Some(&class) = CLASSES.plane.get(code as usize) {
        return class;
    }
    let after = CLASSES.beyond.partition_point(|range| range.0 <= code);
    let range = after.checked_sub(1).map(|index| CLASSES.beyond[index]);
    range.filter(|range| code <= range.1).map_or(0, |range| range.2)
}

/// Whether `c` is in one of the classes `bits`.
pub fn is(c: Option<char>, bits: u8) -> bool {
    c.is_some_and(|c| class(c) & bits != 0)
}

/// Python's `str.isspace`: white space, and the four separators that Unicode counts as control characters.
#[inline]
pub fn blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `str.isalpha`: of a letter category. (Rust's `is_alphabetic` has marks and numbers too.)
#[inline]
pub fn letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        c.is_alphabetic() && c.general_category_group() == GeneralCategoryGroup::Letter
    }
}

/// A `\d` of Python's regular expressions.
pub fn digit(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && c.general_category() == GeneralCategory::DecimalNumber
}

/// A `\w` of Python's regular expressions.
pub fn word_character(c: char) -> bool {
    c == '_'
        || c.is_ascii_alphanumeric()
        || matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// A character of a punctuation category. (ASCII's `$+<=>^|~` and the grave accent are symbols.)
pub fn punctuation(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_punctuation() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
    } else {
        c.general_category_group() == GeneralCategoryGroup::Punctuation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_from_the_file() {
        assert_eq!(class('a'), LETTER | SMALL | BEFORE_STOP);
        assert_eq!(class('A'), LETTER | CAPITAL);
        assert_eq!(class('"'), PREFIX | SUFFIX | QUOTE | BEFORE_STOP);
        assert_eq!(class(' '), 0);
        assert_eq!(class('\u{100}'), LETTER | CAPITAL);
        assert_eq!(class('\u{101}'), LETTER | SMALL | BEFORE_STOP);
        assert_eq!(class('\u{1f600}') & (SYMBOL | PREFIX | SUFFIX), SYMBOL | PREFIX | SUFFIX);
        assert_eq!(class('\u{1f6ff}'), 0);
        assert!(class('\u{20001}') & LETTER != 0);
        assert_eq!(class('\u{10ffff}'), 0);
    }

    #[test]
    fn predicates_follow_python() {
        assert!(blank('\u{1f}') && blank('\u{a0}') && blank('\u{85}') && !blank('\u{200b}'));
        assert!(letter('\u{e9}') && letter('\u{4e00}') && !letter('\u{2160}') && !letter('\u{345}') && !letter('1'));
        assert!(punctuation('-') && punctuation('\u{2026}') && !punctuation('$') && !punctuation('\u{a9}'));
    }
}
