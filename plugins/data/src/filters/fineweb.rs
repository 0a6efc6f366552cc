//! `fineweb`: the rules that FineWeb found by comparing good crawls with bad ones (Penedo et al. 2024, arXiv 2406.17557),
//! as datatrove 0.10 computes them.
//!
//! The paper and the code that made the data disagree on one threshold; `preset` chooses.

use psann_core::{Batch, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seen::{Repeated, Seen};
use super::threshold::Threshold;
use crate::words::lines::{split_newlines, strip};
use crate::words::{Span, Splitter};

psann_core::register!(Filter, "fineweb", FineWebOptions, FineWeb::new);

/// Whose threshold for repeated lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The code's, with which the data was made: 0.01.
    #[default]
    FineWeb,
    /// The paper's: 0.1.
    Paper,
}

/// Drops lists, menus and pages with repeated lines.
///
/// A rule that is not given has the threshold named with it; `false` switches it off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FineWebOptions {
    /// Whose threshold for repeated lines.
    pub preset: Preset,
    /// What counts as a word.
    pub words: Splitter,
    /// Least share of lines that end with an end mark. Default: 0.12.
    pub min_ended_lines: Threshold<f64>,
    /// Keep documents in which no line at all ends with an end mark.
    pub spare_unended: bool,
    /// The end marks. Default: full stops, exclamation and question marks of all scripts.
    pub end_marks: Option<String>,
    /// Greatest share of short lines. Default: 0.67.
    pub max_short_lines: Threshold<f64>,
    /// Most characters of a short line.
    pub short_line: usize,
    /// Greatest share of characters in lines that came before. Default: 0.01; 0.1 of `paper`.
    pub max_repeated_chars: Threshold<f64>,
    /// Most line ends per word. Default: 0.3.
    pub max_newlines: Threshold<f64>,
}

impl Default for FineWebOptions {
    fn default() -> Self {
        Self {
            preset: Preset::default(),
            words: Splitter::default(),
            min_ended_lines: Threshold::Preset,
            spare_unended: false,
            end_marks: None,
            max_short_lines: Threshold::Preset,
            short_line: 30,
            max_repeated_chars: Threshold::Preset,
            max_newlines: Threshold::Preset,
        }
    }
}

/// What the rules look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines that are not blank.
    pub lines_nonempty: usize,
    /// Those that end with an end mark.
    pub terminal_lines: usize,
    /// Those that are short.
    pub short_lines: usize,
    /// Characters in lines that came before.
    pub dup_line_chars: usize,
    /// Characters of the text but for line ends.
    pub chars_without_newlines: usize,
    /// Line ends.
    pub newlines: usize,
    /// Words.
    pub words: usize,
}

/// The filter.
#[derive(Debug)]
pub struct FineWeb {
    words: Splitter,
    ended: Option<f64>,
    spare_unended: bool,
    end_marks: Vec<char>,
    short: Option<f64>,
    short_line: usize,
    repeated: Option<f64>,
    newlines: Option<f64>,
}

/// datatrove's end marks beyond ASCII (Apache 2.0, utils/text.py): neither quotes nor ellipses.
pub(super) const END_MARKS: &str = ".!?\u{589}\u{61d}\u{61e}\u{61f}\u{6d4}\u{700}\u{701}\u{702}\u{7f9}\u{837}\u{839}\u{83d}\u{83e}\
    \u{964}\u{965}\u{104a}\u{104b}\u{1362}\u{1367}\u{1368}\u{166e}\u{1735}\u{1736}\u{17d4}\u{17d5}\u{17d6}\u{17d9}\
    \u{17da}\u{1803}\u{1809}\u{1944}\u{1945}\u{1aa8}\u{1aa9}\u{1aaa}\u{1aab}\u{1b5a}\u{1b5b}\u{1b5e}\u{1b5f}\u{1b7d}\
    \u{1b7e}\u{1c3b}\u{1c3c}\u{1c7e}\u{1c7f}\u{203c}\u{203d}\u{2047}\u{2048}\u{2049}\u{2e2e}\u{2e3c}\u{2e53}\u{2e54}\
    \u{3002}\u{a4ff}\u{a60e}\u{a60f}\u{a6f3}\u{a6f7}\u{a876}\u{a877}\u{a8ce}\u{a8cf}\u{a92f}\u{a9c8}\u{a9c9}\u{aa5d}\
    \u{aa5e}\u{aa5f}\u{aaf0}\u{aaf1}\u{abeb}\u{fe52}\u{fe56}\u{fe57}\u{ff01}\u{ff0e}\u{ff1f}\u{ff61}\u{10a56}\u{10a57}\
    \u{10f55}\u{10f56}\u{10f57}\u{10f58}\u{10f59}\u{10f86}\u{10f87}\u{10f88}\u{10f89}\u{11047}\u{11048}\u{110be}\
    \u{110bf}\u{110c0}\u{110c1}\u{11141}\u{11142}\u{11143}\u{111c5}\u{111c6}\u{111cd}\u{111de}\u{111df}\u{11238}\
    \u{11239}\u{1123b}\u{1123c}\u{112a9}\u{1144b}\u{1144c}\u{115c2}\u{115c3}\u{115c9}\u{115ca}\u{115cb}\u{115cc}\
    \u{115cd}\u{115ce}\u{115cf}\u{115d0}\u{115d1}\u{115d2}\u{115d3}\u{115d4}\u{115d5}\u{115d6}\u{115d7}\u{11641}\
    \u{11642}\u{1173c}\u{1173d}\u{1173e}\u{11944}\u{11946}\u{11a42}\u{11a43}\u{11a9b}\u{11a9c}\u{11c41}\u{11c42}\
    \u{11ef7}\u{11ef8}\u{11f43}\u{11f44}\u{16a6e}\u{16a6f}\u{16af5}\u{16b37}\u{16b38}\u{16b44}\u{16e98}\u{1bc9f}\u{1da88}";

const REASONS: [&str; 5] = ["empty", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"];

impl FineWeb {
    /// Any options are fine.
    pub fn new(options: FineWebOptions) -> Result<Self> {
        let repeated = match options.preset {
            Preset::FineWeb => 0.01,
            Preset::Paper => 0.1,
        };
        Ok(Self {
            words: options.words,
            ended: options.min_ended_lines.or(Some(0.12)),
            spare_unended: options.spare_unended,
            end_marks: options.end_marks.unwrap_or_else(|| END_MARKS.to_owned()).chars().collect(),
            short: options.max_short_lines.or(Some(0.67)),
            short_line: options.short_line,
            repeated: options.max_repeated_chars.or(Some(repeated)),
            newlines: options.max_newlines.or(Some(0.3)),
        })
    }

    /// The counts of a text but for its words.
    pub fn line_counts(&self, text: &str, seen: &mut Seen) -> Counts {
        let newlines = memchr::memchr_iter(b'\n', text.as_bytes()).count();
        let mut counts =
            Counts { newlines, chars_without_newlines: text.chars().count() - newlines, ..Counts::default() };
        let lines = split_newlines(text).filter(|line| !strip(line).is_empty()).inspect(|line| {
            counts.lines_nonempty += 1;
            counts.terminal_lines += usize::from(line.chars().next_back().is_some_and(|c| self.is_end_mark(c)));
            // A character has up to 4 bytes.
            let may_be_short = line.len() <= 4 * self.short_line;
            counts.short_lines += usize::from(may_be_short && line.chars().count() <= self.short_line);
        });
        let repeated = Repeated::among(lines, newlines + 1, seen);
        counts.dup_line_chars = repeated.chars;
        counts
    }

    /// All counts of a text. `spans` is room for its words.
    pub fn counts(&self, text: &str, seen: &mut Seen, spans: &mut Vec<Span>) -> Counts {
        self.words.split(text, spans);
        Counts { words: spans.len(), ..self.line_counts(text, seen) }
    }

    fn is_end_mark(&self, c: char) -> bool {
        // Most lines end in ASCII, and three marks of it come first.
        if c.is_ascii() {
            self.end_marks.iter().take_while(|mark| mark.is_ascii()).any(|&mark| mark == c)
        } else {
            self.end_marks.contains(&c)
        }
    }

    /// The first rule that `counts` break, as an index into the reasons.
    pub fn verdict(&self, counts: &Counts) -> Option<u16> {
        let lines = counts.lines_nonempty as f64;
        let ended = counts.terminal_lines as f64 / lines;
        let broken = [
            counts.lines_nonempty == 0,
            self.ended.is_some_and(|least| ended < least) && !(ended == 0.0 && self.spare_unended),
            self.short.is_some_and(|most| counts.short_lines as f64 / lines > most),
            self.repeated.is_some_and(|most| counts.repeated_share() > most),
            self.newlines.is_some_and(|most| counts.newlines as f64 / counts.words as f64 > most),
        ];
        broken.iter().position(|&broken| broken).map(|reason| reason as u16)
    }

    /// The same for a text. Words are counted only where they may be too few: there is at least one between two blanks
    /// (not of UAX 29, to which punctuation is nothing).
    fn judge(&self, text: &str, seen: &mut Seen, spans: &mut Vec<Span>) -> (Counts, Option<u16>) {
        let mut counts = Counts { words: usize::MAX, ..self.line_counts(text, seen) };
        let verdict = self.verdict(&counts);
        let Some(most) = self.newlines.filter(|_| verdict.is_none()) else { return (counts, verdict) };
        let enough = |words: usize| words > 0 && counts.newlines as f64 / words as f64 <= most;
        if self.words != Splitter::Uax29 && pieces(text).zip(1..).any(|(_, words)| enough(words)) {
            return (counts, None);
        }
        self.words.split(text, spans);
        counts.words = spans.len();
        (counts, self.verdict(&counts))
    }
}

/// Ends of pieces between ASCII blanks.
fn pieces(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let blank = |byte: u8| matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ');
    let ends = move |&at: &usize| !blank(bytes[at]) && bytes.get(at + 1).is_none_or(|&next| blank(next));
    (0..bytes.len()).filter(ends)
}

impl Counts {
    fn repeated_share(&self) -> f64 {
        self.dup_line_chars as f64 / self.chars_without_newlines as f64
    }
}

impl Filter for FineWeb {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let (mut seen, mut spans) = (Seen::default(), Vec::new());
        for (row, text) in batch.texts().enumerate() {
            let (counts, dropped) = self.judge(text, &mut seen, &mut spans);
            verdicts.dropped[row] = dropped;
            let lines = counts.lines_nonempty as f64;
            verdicts.score("share of lines with an end mark", row, counts.terminal_lines as f64 / lines);
            verdicts.score("share of short lines", row, counts.short_lines as f64 / lines);
            verdicts.score("share of characters in repeated lines", row, counts.repeated_share());
            if counts.words < usize::MAX {
                verdicts.score("line ends per word", row, counts.newlines as f64 / counts.words as f64);
            }
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reason(options: Value, text: &str) -> Option<&'static str> {
        let filter = FineWeb::new(serde_json::from_value(options).unwrap()).unwrap();
        let (mut seen, mut spans) = (Seen::default(), Vec::new());
        let dropped = filter.judge(text, &mut seen, &mut spans).1;
        assert_eq!(dropped, filter.verdict(&filter.counts(text, &mut seen, &mut spans)), "{text:.80}");
        dropped.map(|reason| REASONS[reason as usize])
    }

    /// Different lines of some length, `ended` of `all` with a full stop.
    fn lines(ended: usize, all: usize) -> Vec<String> {
        let end = |index| if index < ended { "." } else { "" };
        (0..all).map(|index| format!("line {index} of a text that is long enough{}", end(index))).collect()
    }

    #[test]
    fn thresholds_themselves_pass() {
        let check = |text: &str, expect| assert_eq!(reason(json!({}), text), expect, "{text:.80}");
        check("", Some("empty"));
        check(" \n\u{a0}\n", Some("empty"));
        check(&lines(3, 25).join("\n"), None);
        check(&lines(2, 25).join("\n"), Some("line_punct_ratio"));
        check("a line of thirty characters...\n", Some("short_line_ratio"));
        check("a line of thirty-one characters.\n", None);
        check(&"x".repeat(100_000), Some("line_punct_ratio"));
        // 1 % of the characters, then more.
        let repeated = |chars: usize| {
            let words = |chars: usize| format!("{}.", &"some words ".repeat(1000)[..chars - 1]);
            format!("{0}\n{1}\n{0}", words(chars), words(10_000 - 2 * chars))
        };
        check(&repeated(100), None);
        check(&repeated(101), Some("char_dup_ratio"));
        assert_eq!(reason(json!({ "preset": "paper" }), &repeated(101)), None);
        // 3 line ends on 10 words, then on 9.
        let few = "a word. \n a word. \n a longer line of 30 characters!";
        assert_eq!(reason(json!({ "max_short_lines": false }), &few.replace('\n', "\n\n")), Some("list_ratio"));
        assert_eq!(reason(json!({ "max_short_lines": false }), few), None);
    }

    #[test]
    fn options_switch_rules() {
        let text = lines(0, 9).join("\n");
        assert_eq!(reason(json!({}), &text), Some("line_punct_ratio"));
        assert_eq!(reason(json!({ "spare_unended": true }), &text), None);
        assert_eq!(reason(json!({ "min_ended_lines": false }), &text), None);
        assert_eq!(reason(json!({ "end_marks": "h" }), &text), None);
        assert_eq!(reason(json!({ "short_line": 100, "end_marks": "h" }), &text), Some("short_line_ratio"));
        assert_eq!(reason(json!({}), &lines(0, 9).join("\u{3002}\n")), None);
    }
}
