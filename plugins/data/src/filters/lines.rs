//! `lines`: removes counters, shouting and left-over buttons from a text, the line corrections of RefinedWeb (Penedo et al.
//! 2023, arXiv 2306.01116, table G.2) as DCLM applies them.
//!
//! A page that loses more than a few words this way was not running text, and is dropped.

use psann_core::{Batch, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use crate::words::blank;
use crate::words::lines::{split_newlines, strip};

psann_core::register!(Filter, "lines", LinesOptions, Lines::new);

/// Removes lines of capitals, numbers, counters ("3 likes") and single words, and buttons ("Sign-in"); drops documents that
/// lose many words by it.
///
/// A rule that is not given has the threshold named with it; `false` switches it off. Words are what stands between
/// blanks. Empty lines stay: they separate paragraphs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinesOptions {
    /// Greatest share of capitals among the characters of a line. Default: 0.5.
    pub max_capitals: Threshold<f64>,
    /// Greatest share of digits among the characters of a line. Default: 0.999999, that is lines of digits only.
    pub max_digits: Threshold<f64>,
    /// Remove lines that are a number and a word like `likes` or `comments`.
    pub remove_counters: bool,
    /// Fewest words of a line. Default: 2.
    pub min_line_words: Threshold<usize>,
    /// Remove "items in cart", "Read more..." at the end and "Sign-in" at the start of lines of few words, in any case.
    pub remove_buttons: bool,
    /// Most words of a line in which buttons are looked for.
    pub button_line_words: usize,
    /// Greatest share of its words that a document may lose. Default: 0.05.
    pub max_removed_words: Threshold<f64>,
}

impl Default for LinesOptions {
    fn default() -> Self {
        Self {
            max_capitals: Threshold::Preset,
            max_digits: Threshold::Preset,
            remove_counters: true,
            min_line_words: Threshold::Preset,
            remove_buttons: true,
            button_line_words: 10,
            max_removed_words: Threshold::Preset,
        }
    }
}

/// What became of the lines of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines removed for capitals, digits, being counters, too few words, and being nothing but a button.
    pub removed: [usize; 5],
    /// Lines from which a button was removed.
    pub edited: usize,
    /// Words of the text.
    pub words: usize,
    /// Words that are left.
    pub words_left: usize,
}

/// Names of [`Counts::removed`] in the report.
const REMOVED: [&str; 5] = [
    "lines of capitals removed",
    "lines of digits removed",
    "counters removed",
    "lines of too few words removed",
    "lines of buttons removed",
];

/// The filter.
#[derive(Debug)]
pub struct Lines {
    capitals: Option<f64>,
    digits: Option<f64>,
    counters: bool,
    words: usize,
    buttons: Option<usize>,
    removed_words: Option<f64>,
}

const TOO_MUCH_REMOVED: u16 = 0;

impl Lines {
    /// Any options are fine.
    pub fn new(options: LinesOptions) -> Result<Self> {
        Ok(Self {
            capitals: options.max_capitals.or(Some(0.5)),
            digits: options.max_digits.or(Some(0.999_999)),
            counters: options.remove_counters,
            words: options.min_line_words.or(Some(2)).unwrap_or(0),
            buttons: options.remove_buttons.then_some(options.button_line_words),
            removed_words: options.max_removed_words.or(Some(0.05)),
        })
    }

    /// The corrected text, and what was done.
    pub fn correct(&self, text: &str) -> (String, Counts) {
        let mut counts = Counts::default();
        let mut left = String::with_capacity(text.len());
        let mut any = false;
        for line in split_newlines(text) {
            let words = words(line);
            counts.words += words;
            let kept = if words == 0 { Ok((line.into(), 0)) } else { self.correct_line(line, words) };
            match kept {
                Ok((line, kept_words)) => {
                    if std::mem::replace(&mut any, true) {
                        left.push('\n');
                    }
                    left.push_str(&line);
                    counts.words_left += kept_words;
                    counts.edited += usize::from(kept_words < words);
                }
                Err(rule) => counts.removed[rule] += 1,
            }
        }
        (left, counts)
    }

    /// The line that is left and its number of words, or the rule it breaks.
    fn correct_line<'a>(&self, line: &'a str, words: usize) -> Result<(std::borrow::Cow<'a, str>, usize), usize> {
        let share = |kind: fn(char) -> bool| {
            let (count, all) = line.chars().fold((0, 0), |(count, all), c| (count + i32::from(kind(c)), all + 1));
            f64::from(count) / f64::from(all)
        };
        if self.capitals.is_some_and(|most| share(char::is_uppercase) > most) {
            return Err(0);
        }
        if self.digits.is_some_and(|most| share(char::is_numeric) > most) {
            return Err(1);
        }
        if self.counters && is_counter(line) {
            return Err(2);
        }
        if words < self.words {
            return Err(3);
        }
        if self.buttons.is_some_and(|most| words <= most)
            && let Some(rest) = without_buttons(line)
        {
            let words = self::words(&rest);
            return if words == 0 { Err(4) } else { Ok((rest.into(), words)) };
        }
        Ok((line.into(), words))
    }
}

impl Filter for Lines {
    fn reasons(&self) -> &[&'static str] {
        &["too_much_removed"]
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut removed = [0; REMOVED.len()];
        let mut edited = 0;
        for (row, text) in batch.texts().enumerate() {
            let (left, counts) = self.correct(text);
            let share = match counts.words {
                0 => 0.0,
                words => (words - counts.words_left) as f64 / words as f64,
            };
            verdicts.score("share of words removed", row, share);
            if self.removed_words.is_some_and(|most| share > most) {
                verdicts.dropped[row] = Some(TOO_MUCH_REMOVED);
            } else if left != text {
                verdicts.rewrite(row, left);
            }
            removed.iter_mut().zip(counts.removed).for_each(|(sum, count)| *sum += count);
            edited += counts.edited;
        }
        for (name, count) in REMOVED.into_iter().zip(removed) {
            verdicts.count(name, count as u64);
        }
        verdicts.count("buttons removed from lines", edited as u64);
        Ok(verdicts)
    }
}

/// Number of words between blanks.
fn words(line: &str) -> usize {
    line.split(blank).filter(|word| !word.is_empty()).count()
}

const COUNTED: [&str; 12] = [
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
];

/// Whether a line is `1,234 likes`, `5.1K Views` and the like and nothing else, symbols at the ends left out.
fn is_counter(line: &str) -> bool {
    let symbol = |c: char| !c.is_alphanumeric() && c != '_';
    let line = line.trim_matches(symbol);
    let Some((number, word)) = line.split_once(blank) else { return false };
    let number = number.strip_suffix(['K', 'k', 'M', 'm', 'B', 'b']).unwrap_or(number);
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.'))
        && COUNTED.iter().any(|counted| strip(word).eq_ignore_ascii_case(counted))
}

/// The line without buttons, if it has any.
fn without_buttons(line: &str) -> Option<String> {
    let mut rest = line.to_owned();
    while let Some(at) = find_in_any_case(&rest, "items in cart") {
        rest.replace_range(at..at + "items in cart".len(), "");
    }
    let end = rest.trim_end_matches(blank).len();
    let button = "read more...".len();
    if end >= button && rest.as_bytes()[end - button..end].eq_ignore_ascii_case(b"read more...") {
        rest.truncate(end - button);
    }
    let start = rest.len() - rest.trim_start_matches(blank).len();
    if rest.as_bytes()[start..].get(..7).is_some_and(|found| found.eq_ignore_ascii_case(b"sign-in")) {
        rest.drain(start..start + 7);
    }
    (rest.len() < line.len()).then(|| strip(&rest).to_owned())
}

/// Where an ASCII phrase begins, in any case.
fn find_in_any_case(text: &str, phrase: &str) -> Option<usize> {
    text.as_bytes().windows(phrase.len()).position(|window| window.eq_ignore_ascii_case(phrase.as_bytes()))
}

#[cfg(test)]
mod tests {
    use psann_core::{BatchBuilder, Document};
    use serde_json::{Value, json};

    use super::*;

    fn corrected(options: Value, text: &str) -> (String, Counts) {
        Lines::new(serde_json::from_value(options).unwrap()).unwrap().correct(text)
    }

    #[test]
    fn each_rule_removes_its_lines() {
        let check = |line: &str, expect: Option<&str>| {
            let text = corrected(json!({}), &format!("before it\n{line}\nafter it")).0;
            let middle = text.strip_prefix("before it\n").unwrap().strip_suffix("after it").unwrap();
            assert_eq!(middle.strip_suffix('\n'), expect, "{line}");
        };
        check("A good line.", Some("A good line."));
        check("", Some(""));
        check(" \u{a0}", Some(" \u{a0}"));
        // 2 of 4 characters, then 3 of 5.
        check("AB c", Some("AB c"));
        check("AB Cd", None);
        check("\u{c9}\u{c8} \u{c0}", None);
        check("2024", None);
        check("20 24", Some("20 24"));
        check("1,234 likes", None);
        check("(5.1K Views)", None);
        check("3 retweets so far", Some("3 retweets so far"));
        check("word", None);
        check("\u{e9}t\u{e9}", None);
        check("3 items in cart", Some("3"));
        check("Items in cart", None);
        check("It goes on. Read more...", Some("It goes on."));
        check("Sign-in to see it", Some("to see it"));
        check("Do sign-in to read more... now", Some("Do sign-in to read more... now"));
        let long = "sign-in and ten more words are in this longer line";
        check(long, Some("and ten more words are in this longer line"));
        let longer = format!("{long} here");
        check(&longer, Some(&longer));
    }

    #[test]
    fn rules_can_be_switched_off() {
        let off = json!({ "max_capitals": false, "max_digits": false, "remove_counters": false, "min_line_words": false,
            "remove_buttons": false });
        let text = "LOUD\n2024\n3 likes\nword\nsign-in now\n\n";
        assert_eq!(corrected(off, text).0, text);
        assert_eq!(corrected(json!({}), text).1.removed, [1, 1, 1, 1, 0]);
    }

    #[test]
    fn documents_that_lose_many_words_are_dropped() {
        let filter = Lines::new(LinesOptions::default()).unwrap();
        // 1 of 20 words, then 1 of 19.
        let texts =
            [format!("x\n{}", "so ".repeat(19)), format!("x\n{}", "so ".repeat(18)), String::new(), "a b".into()];
        let mut batch = BatchBuilder::default();
        for text in texts {
            batch.push(Document { text, ..Document::default() });
        }
        let verdicts = filter.apply(&batch.finish().unwrap()).unwrap();
        assert_eq!(verdicts.dropped, [None, Some(TOO_MUCH_REMOVED), None, None]);
        assert_eq!(verdicts.rewritten[0].as_deref(), Some("so ".repeat(19).as_str()));
        assert_eq!(verdicts.rewritten[2..], [None, None]);
        assert_eq!(verdicts.counts["lines of too few words removed"], 2);
    }
}
