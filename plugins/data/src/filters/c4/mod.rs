//! `c4`: keeps the sentences of a page and drops its menus, notices and code (Raffel et al. 2020, arXiv 1910.10683), as
//! datatrove 0.10 does.
//!
//! Lines are judged one by one and the text is rewritten without the bad ones. The order of the rules shows in the
//! result and is datatrove's: words are counted before citations are cut, and a `{` drops the document only if the line
//! it is in has survived until then.

mod phrases;

use psann_core::{Batch, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use crate::words::lines::{split_lines, strip};
use crate::words::{Span, blank, digit, sentences};
use phrases::Phrases;

psann_core::register!(Filter, "c4", C4Options, C4::new);

/// Whose rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The original ones.
    #[default]
    C4,
    /// FineWeb's: a line need not end with an end mark.
    FineWeb,
    /// DCLM's reproduction of C4: lines of 5 words, 3 sentences.
    Dclm,
}

/// Removes lines that are no sentences, and drops documents with few sentences, code or filler text.
///
/// A rule that is not given is that of the preset; `false` switches it off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct C4Options {
    /// Whose rules.
    pub preset: Preset,
    /// Longest word of a line in characters. Default: 1000.
    pub max_word_length: Threshold<usize>,
    /// Remove `[1]`, `[edit]` and `[citation needed]` from lines. Default: true.
    pub remove_citations: Option<bool>,
    /// Remove lines that do not end with `.`, `?`, `!` or a quotation mark. Default: true; false of `fineweb`.
    pub require_end_mark: Option<bool>,
    /// Fewest words of a line. Default: 3; 5 of `dclm`.
    pub min_line_words: Threshold<usize>,
    /// Drop documents with "lorem ipsum". Default: true.
    pub drop_lorem_ipsum: Option<bool>,
    /// Remove lines with "javascript". Default: true.
    pub remove_javascript: Option<bool>,
    /// Drop documents with `{`. Default: true.
    pub drop_curly_bracket: Option<bool>,
    /// Remove lines about cookies and terms of use. Default: true.
    pub remove_policy: Option<bool>,
    /// Fewest sentences, as spaCy's rule-based `sentencizer` counts them, in the lines that are left. Default: 5; 3 of
    /// `dclm`.
    pub min_sentences: Threshold<usize>,
}

/// What became of the lines of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Lines looked at.
    pub total: usize,
    /// Lines kept.
    pub kept: usize,
    /// Lines with a word that is too long.
    pub drop_too_long_word: usize,
    /// Lines without an end mark.
    pub drop_no_terminal_punc: usize,
    /// Lines of too few words.
    pub drop_too_few_words: usize,
    /// Lines with "javascript".
    pub drop_javascript: usize,
    /// Lines about cookies and terms of use.
    pub drop_policy: usize,
}

/// The lines of a text, judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// What became of the lines.
    pub lines: Lines,
    /// Sentences in the lines that are left.
    pub sentences: usize,
    /// The lines that are left.
    pub text: String,
    /// The reason to drop the document, an index into the reasons.
    pub dropped: Option<u16>,
}

/// The filter.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each rule is switched on its own")]
pub struct C4 {
    word_length: Option<usize>,
    remove_citations: bool,
    require_end_mark: bool,
    line_words: usize,
    drop_lorem_ipsum: bool,
    remove_javascript: bool,
    drop_curly_bracket: bool,
    remove_policy: bool,
    min_sentences: Option<usize>,
}

const REASONS: [&str; 3] = ["lorem_ipsum", "curly_bracket", "too_few_sentences"];
const LOREM_IPSUM: u16 = 0;
const CURLY_BRACKET: u16 = 1;
const TOO_FEW_SENTENCES: u16 = 2;

impl C4 {
    /// Any options are fine.
    pub fn new(options: C4Options) -> Result<Self> {
        let (words, sentences) = if options.preset == Preset::Dclm { (5, 3) } else { (3, 5) };
        Ok(Self {
            word_length: options.max_word_length.or(Some(1000)),
            remove_citations: options.remove_citations.unwrap_or(true),
            require_end_mark: options.require_end_mark.unwrap_or(options.preset != Preset::FineWeb),
            line_words: options.min_line_words.or(Some(words)).unwrap_or(0),
            drop_lorem_ipsum: options.drop_lorem_ipsum.unwrap_or(true),
            remove_javascript: options.remove_javascript.unwrap_or(true),
            drop_curly_bracket: options.drop_curly_bracket.unwrap_or(true),
            remove_policy: options.remove_policy.unwrap_or(true),
            min_sentences: options.min_sentences.or(Some(sentences)),
        })
    }

    /// Judges the lines of a text, counting all sentences.
    pub fn judge(&self, text: &str) -> Judged {
        self.judge_until(text, usize::MAX, &mut Vec::new())
    }

    /// Judges the lines of a text; sentences are counted until there are `enough`.
    fn judge_until(&self, text: &str, enough: usize, spans: &mut Vec<Span>) -> Judged {
        let phrases = Phrases::of(text);
        let mut judged = Judged::default();
        judged.text.reserve(text.len());
        for line in split_lines(text) {
            let line = strip(line);
            judged.lines.total += 1;
            if self.word_length.is_some_and(|most| has_long_word(line, most)) {
                judged.lines.drop_too_long_word += 1;
                continue;
            }
            let shorter = if self.remove_citations { without_citations(line) } else { None };
            // Cutting a citation can join the halves of a phrase.
            let phrases = if shorter.is_some() { Phrases::ANY } else { phrases };
            let words_of = line;
            let line = shorter.as_deref().unwrap_or(line);
            if self.require_end_mark && (!line.ends_with(['.', '?', '!', '"', '\'']) || line.ends_with("...")) {
                judged.lines.drop_no_terminal_punc += 1;
                continue;
            }
            if !has_words(words_of, self.line_words) {
                judged.lines.drop_too_few_words += 1;
                continue;
            }
            if self.drop_lorem_ipsum && phrases.lorem_ipsum && Phrases::of(line).lorem_ipsum {
                judged.dropped = Some(LOREM_IPSUM);
                return judged;
            }
            if self.remove_javascript && phrases.javascript && Phrases::of(line).javascript {
                judged.lines.drop_javascript += 1;
                continue;
            }
            if self.drop_curly_bracket && phrases.curly_bracket && line.contains('{') {
                judged.dropped = Some(CURLY_BRACKET);
                return judged;
            }
            if self.remove_policy && phrases.policy && Phrases::of(line).policy {
                judged.lines.drop_policy += 1;
                continue;
            }
            if judged.sentences < enough {
                judged.sentences += sentences::count_in(line, spans);
            }
            if judged.lines.kept > 0 {
                judged.text.push('\n');
            }
            judged.lines.kept += 1;
            judged.text.push_str(line);
        }
        if self.min_sentences.is_some_and(|least| judged.sentences < least) {
            judged.dropped = Some(TOO_FEW_SENTENCES);
        }
        let end = judged.text.trim_end_matches(blank).len();
        judged.text.truncate(end);
        let start = judged.text.len() - judged.text.trim_start_matches(blank).len();
        judged.text.drain(..start);
        judged
    }
}

impl Filter for C4 {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut spans = Vec::new();
        let enough = self.min_sentences.unwrap_or(0);
        let mut sum = Lines::default();
        for (row, text) in batch.texts().enumerate() {
            let judged = self.judge_until(text, enough, &mut spans);
            verdicts.dropped[row] = judged.dropped;
            let lines = judged.lines;
            verdicts.score("share of lines kept", row, lines.kept as f64 / lines.total as f64);
            if judged.dropped.is_none() && judged.text != text {
                verdicts.rewrite(row, judged.text);
            }
            sum.drop_too_long_word += lines.drop_too_long_word;
            sum.drop_no_terminal_punc += lines.drop_no_terminal_punc;
            sum.drop_too_few_words += lines.drop_too_few_words;
            sum.drop_javascript += lines.drop_javascript;
            sum.drop_policy += lines.drop_policy;
        }
        verdicts.count("lines with a too long word", sum.drop_too_long_word as u64);
        verdicts.count("lines without an end mark", sum.drop_no_terminal_punc as u64);
        verdicts.count("lines of too few words", sum.drop_too_few_words as u64);
        verdicts.count("lines about javascript", sum.drop_javascript as u64);
        verdicts.count("lines about cookies or terms of use", sum.drop_policy as u64);
        Ok(verdicts)
    }
}

/// The words that Python's `str.split` finds.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(blank).filter(|word| !word.is_empty())
}

/// Whether a line has a word of more than `most` characters.
fn has_long_word(line: &str, most: usize) -> bool {
    // From one blank to the last one that a word of `most` bytes can reach: few bytes are looked at.
    let mut from = 0;
    while let Some(reach) = line.as_bytes().get(from..=from + most) {
        match reach.iter().rposition(u8::is_ascii_whitespace) {
            Some(at) => from += at + 1,
            None => return words(&line[from..]).any(|word| word.len() > most && word.chars().count() > most),
        }
    }
    false
}

/// Whether a line has `least` words.
fn has_words(line: &str, least: usize) -> bool {
    least == 0 || words(line).nth(least - 1).is_some()
}

/// The line without `[1]`, `[]`, `[edit]` and `[citation needed]`, if it has any.
fn without_citations(line: &str) -> Option<String> {
    let mut shorter: Option<String> = None;
    let mut done = 0;
    for at in memchr::memchr_iter(b'[', line.as_bytes()) {
        let rest = &line[at + 1..];
        let inside = rest.find(|c| !digit(c));
        let length = match rest {
            _ if rest.starts_with("edit]") => Some(5),
            _ if rest.starts_with("citation needed]") => Some(16),
            _ => inside.filter(|&end| rest[end..].starts_with(']')).map(|end| end + 1),
        };
        if let Some(length) = length {
            shorter.get_or_insert_default().push_str(&line[done..at]);
            done = at + 1 + length;
        }
    }
    if let Some(shorter) = &mut shorter {
        shorter.push_str(&line[done..]);
    }
    shorter
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(options: Value, text: &str) -> Judged {
        C4::new(serde_json::from_value(options).unwrap()).unwrap().judge(text)
    }

    const FIVE: &str = "One is here. Two is here. Three is here. Four is here. Five is here.";

    #[test]
    fn bad_lines_are_removed() {
        let check = |line: &str, expect: Option<&str>| {
            let text = judged(json!({}), &format!("{FIVE}\n{line}")).text;
            let rest = text.strip_prefix(FIVE).unwrap();
            assert_eq!(rest.strip_prefix('\n'), expect, "{line:.80}");
        };
        check("A good line.", Some("A good line."));
        check("  \u{a0}A good line!\u{2003}", Some("A good line!"));
        check("No end mark", None);
        check("Trails off...", None);
        check("Two words.", None);
        check("Please enable JavaScript now.", None);
        check("We use cookies here.", None);
        check("Read our Terms of Use.", None);
        check("Our privacy policy changed.", None);
        check("This site uses Coo\u{212a}ies too.", None);
        check(&format!("A {} word.", "x".repeat(1000)), Some(&format!("A {} word.", "x".repeat(1000))));
        check(&format!("A {} word.", "x".repeat(1001)), None);
        check("It was so[1] and[edit] is[citation needed].", Some("It was so and is."));
        check(&format!("A {} word.", "\u{e9}".repeat(1000)), Some(&format!("A {} word.", "\u{e9}".repeat(1000))));
        check(
            &format!("A {} w {}.", "\u{e9}".repeat(600), "x".repeat(999)),
            Some(&format!("A {} w {}.", "\u{e9}".repeat(600), "x".repeat(999))),
        );
        check(&format!("{} {}\u{a0}{}.", "x".repeat(999), "x".repeat(800), "x".repeat(1000)), None);
        check("About java[2]script it is.", None);
        // Three words before the citation is cut, a blank after it.
        check("Two words.[3] [4]", None);
        check("a [1] [2].", Some("a  ."));
        check("first line ends.\u{2028}second line ends.", Some("first line ends.\nsecond line ends."));
    }

    #[test]
    fn documents_are_dropped_for_their_first_reason() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(judged(json!({}), text).dropped.map(|reason| REASONS[reason as usize]), expect, "{text}");
        };
        check(FIVE, None);
        check("", Some("too_few_sentences"));
        check(" \n\u{3000}", Some("too_few_sentences"));
        check(&FIVE["One is here. ".len()..], Some("too_few_sentences"));
        check(&format!("{FIVE}\nif (x) {{ y; }} and so."), Some("curly_bracket"));
        // The line did not survive until then.
        check(&format!("{FIVE}\nif (x) {{ y; }}"), None);
        check(&format!("{FIVE}\nLorem Ipsum dolor {{."), Some("lorem_ipsum"));
    }

    #[test]
    fn presets_and_options() {
        let menu = "no end mark on this line\n".repeat(5);
        assert_eq!(judged(json!({}), &menu).dropped, Some(TOO_FEW_SENTENCES));
        assert_eq!(judged(json!({ "preset": "fineweb" }), &menu).dropped, None);
        let four = "Only four words here. And so once more. ".repeat(3);
        assert_eq!(judged(json!({ "preset": "dclm" }), &four[..four.len() - 40]).sentences, 4);
        assert_eq!(judged(json!({ "preset": "dclm" }), "One two three four.").lines.drop_too_few_words, 1);
        assert_eq!(judged(json!({ "min_sentences": false, "min_line_words": false }), "x.").text, "x.");
        let off = json!({ "remove_citations": false, "drop_curly_bracket": false, "remove_javascript": false,
            "remove_policy": false, "drop_lorem_ipsum": false, "max_word_length": false });
        let text = format!("{FIVE}\njavascript {{ cookie policy [1] lorem ipsum }}.");
        assert_eq!(judged(off, &text).text, text);
    }
}
