//! Python's strings: what is whitespace, how a sentence is capitalised.

use super::titlecase::titlecase;

/// Whether Python's `str.isspace` takes it for whitespace: Unicode's White_Space, and four separators of ASCII that
/// Unicode leaves out.
pub fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `text` without the whitespace at its end, and that whitespace.
pub fn split_trailing_space(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(is_space).len())
}

/// `str.capitalize()`: the first letter in title case, all others in lower case.
pub fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    let mut capital = titlecase(first).unwrap_or_else(|| first.to_uppercase().collect());
    // Lowered as a whole, because the form of a sigma depends on the letters before it.
    capital.extend(text.to_lowercase().chars().skip(first.to_lowercase().count()));
    capital
}

/// How many pieces `re.split(r"\s+", text)` gives: one more than there are runs of whitespace, so that even an empty
/// text has one.
pub fn count_words(text: &str) -> u64 {
    let mut words = 1;
    let mut inside = false;
    for letter in text.chars() {
        let space = is_space(letter);
        words += u64::from(space && !inside);
        inside = space;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_is_what_python_takes_for_it() {
        assert_eq!(strip("\u{1c}\u{a0} x\u{200b} \n"), "x\u{200b}");
        assert_eq!(split_trailing_space("a \n\u{1f}"), ("a", " \n\u{1f}"));
        assert_eq!(count_words(" two words"), 3);
        assert_eq!(count_words(""), 1);
    }

    #[test]
    fn a_sentence_starts_in_title_case_and_goes_on_in_lower_case() {
        let cases =
            [("the Man's", "The man's"), ("ßA", "Ssa"), ("ǆX", "ǅx"), ("ΑΣ ΣΑΣ", "Ας σας"), ("İI", "İi"), ("", "")];
        for (text, expected) in cases {
            assert_eq!(capitalize(text), expected);
        }
    }
}
