//! `gopher_repetition`: does it say the same thing again and again? Gopher's rules (Rae et al. 2021, arXiv 2112.11446,
//! table A1) as datatrove 0.10 computes them, from which FineWeb was made, or as DCLM does.
//!
//! Shares are of characters: of the whole text with datatrove, of the words with DCLM.

mod counts;
mod dclm;
mod grams;

use psann_core::{Batch, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use crate::words::{Splitter, Words};
use counts::Text;
pub use counts::{Counts, Scratch};
use grams::Grams;

psann_core::register!(Filter, "gopher_repetition", GopherRepetitionOptions, GopherRepetition::new);

/// Whose rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// datatrove's, used for FineWeb: words of spaCy; second and later copies count.
    #[default]
    Gopher,
    /// FineWeb-2's: as `gopher` without the rules about paragraphs and about characters in lines.
    FineWeb2,
    /// DCLM's: Unicode words; all copies count; most frequent n-grams only where they repeat.
    Dclm,
}

/// Drops documents with many repeated lines, paragraphs or phrases.
///
/// A rule that is not given has the threshold named with it; `false` switches it off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GopherRepetitionOptions {
    /// Whose rules.
    pub preset: Preset,
    /// What counts as a word. Default: spacy; uax29 of `dclm`.
    pub words: Option<Splitter>,
    /// Greatest share of paragraphs that are copies. Default: 0.3; off in `fineweb2`.
    pub duplicate_paragraphs: Threshold<f64>,
    /// Greatest share of characters in such paragraphs. Default: 0.2; off in `fineweb2`.
    pub duplicate_paragraph_chars: Threshold<f64>,
    /// Greatest share of lines that are copies. Default: 0.3.
    pub duplicate_lines: Threshold<f64>,
    /// Greatest share of characters in such lines. Default: 0.2; off in `fineweb2`.
    pub duplicate_line_chars: Threshold<f64>,
    /// Greatest share of characters in the most frequent 2-gram. Default: 0.2.
    pub top_2_gram: Threshold<f64>,
    /// The same for 3 words. Default: 0.18.
    pub top_3_gram: Threshold<f64>,
    /// The same for 4 words. Default: 0.16.
    pub top_4_gram: Threshold<f64>,
    /// Greatest share of characters in repeated 5-grams. Default: 0.15.
    pub duplicate_5_grams: Threshold<f64>,
    /// The same for 6 words. Default: 0.14.
    pub duplicate_6_grams: Threshold<f64>,
    /// The same for 7 words. Default: 0.13.
    pub duplicate_7_grams: Threshold<f64>,
    /// The same for 8 words. Default: 0.12.
    pub duplicate_8_grams: Threshold<f64>,
    /// The same for 9 words. Default: 0.11.
    pub duplicate_9_grams: Threshold<f64>,
    /// The same for 10 words. Default: 0.1.
    pub duplicate_10_grams: Threshold<f64>,
}

/// The filter.
#[derive(Debug)]
pub struct GopherRepetition {
    preset: Preset,
    splitter: Splitter,
    paragraphs: [Option<f64>; 2],
    lines: [Option<f64>; 2],
    top: [Option<f64>; TOP.len()],
    duplicate: [Option<f64>; DUPLICATE.len()],
}

/// Words in the n-grams of the rules.
const TOP: [usize; 3] = [2, 3, 4];
const DUPLICATE: [usize; 6] = [5, 6, 7, 8, 9, 10];
/// Paragraphs and lines by count and by characters, then the n-grams.
pub const RULES: usize = 4 + TOP.len() + DUPLICATE.len();

const REASONS: [&str; 14] = [
    "empty",
    "dup_para_frac",
    "dup_para_char_frac",
    "dup_line_frac",
    "dup_line_char_frac",
    "top_2_gram",
    "top_3_gram",
    "top_4_gram",
    "duplicated_5_n_grams",
    "duplicated_6_n_grams",
    "duplicated_7_n_grams",
    "duplicated_8_n_grams",
    "duplicated_9_n_grams",
    "duplicated_10_n_grams",
];
/// Of the repeated n-grams the report shows the shortest only.
const SCORES: [&str; 8] = [
    "share of repeated paragraphs",
    "share of characters in repeated paragraphs",
    "share of repeated lines",
    "share of characters in repeated lines",
    "share of characters in the top 2-gram",
    "share of characters in the top 3-gram",
    "share of characters in the top 4-gram",
    "share of characters in repeated 5-grams",
];
const EMPTY: u16 = 0;
const PARAGRAPHS: u16 = 1;
const LINES: u16 = 3;
const TOP_GRAM: u16 = 5;
const DUPLICATE_GRAMS: u16 = 8;

impl GopherRepetition {
    /// Any options are fine.
    pub fn new(options: GopherRepetitionOptions) -> Result<Self> {
        let o = options;
        let full = (o.preset != Preset::FineWeb2).then_some(0.2);
        let words = if o.preset == Preset::Dclm { Splitter::Uax29 } else { Splitter::Spacy };
        Ok(Self {
            preset: o.preset,
            splitter: o.words.unwrap_or(words),
            paragraphs: [o.duplicate_paragraphs.or(full.map(|_| 0.3)), o.duplicate_paragraph_chars.or(full)],
            lines: [o.duplicate_lines.or(Some(0.3)), o.duplicate_line_chars.or(full)],
            top: [o.top_2_gram.or(Some(0.2)), o.top_3_gram.or(Some(0.18)), o.top_4_gram.or(Some(0.16))],
            duplicate: [
                o.duplicate_5_grams.or(Some(0.15)),
                o.duplicate_6_grams.or(Some(0.14)),
                o.duplicate_7_grams.or(Some(0.13)),
                o.duplicate_8_grams.or(Some(0.12)),
                o.duplicate_9_grams.or(Some(0.11)),
                o.duplicate_10_grams.or(Some(0.1)),
            ],
        })
    }

    /// All counts of a text, with the counting of `gopher`.
    pub fn counts(&self, text: &str, scratch: &mut Scratch) -> Counts {
        let mut spans = std::mem::take(&mut scratch.spans);
        self.splitter.split(text, &mut spans);
        let counts = Counts::of(text, Words { source: text, spans: &spans }, scratch);
        scratch.spans = spans;
        counts
    }

    /// The first rule that is broken by the shares of a text that is not empty, as an index into the reasons.
    pub fn verdict(&self, shares: &[f64; RULES]) -> Option<u16> {
        let rules = self.paragraphs.iter().chain(&self.lines).chain(&self.top).chain(&self.duplicate);
        let broken = rules.zip(shares).position(|(most, &share)| most.is_some_and(|most| share > most));
        broken.map(|rule| rule as u16 + PARAGRAPHS)
    }

    /// The same as [`GopherRepetition::verdict`] of all counts, but stops at the first broken rule and counts n-grams
    /// only where they could break theirs. `score` hears of each share.
    fn judge(&self, text: &str, scratch: &mut Scratch, score: &mut dyn FnMut(&'static str, f64)) -> Option<u16> {
        let judged = Text::new(text);
        let all = judged.chars as f64;
        let over = |most: Option<f64>, share: f64| most.is_some_and(|most| share > most);

        if self.paragraphs.iter().any(Option::is_some) {
            let found = judged.paragraphs(scratch);
            let shares = [found.copies as f64 / found.pieces as f64, found.chars as f64 / all];
            score(SCORES[0], shares[0]);
            score(SCORES[1], shares[1]);
            if let Some(rule) = (0..2).find(|&rule| over(self.paragraphs[rule], shares[rule])) {
                return Some(PARAGRAPHS + rule as u16);
            }
        }
        let found = judged.lines(scratch);
        let shares = [found.copies as f64 / found.pieces as f64, found.chars as f64 / all];
        score(SCORES[2], shares[0]);
        score(SCORES[3], shares[1]);
        if let Some(rule) = (0..2).find(|&rule| over(self.lines[rule], shares[rule])) {
            return Some(LINES + rule as u16);
        }

        let mut spans = std::mem::take(&mut scratch.spans);
        self.splitter.split(text, &mut spans);
        let mut grams = Grams::new(Words { source: text, spans: &spans }, scratch);
        scratch.spans = spans;
        for (rule, &n) in TOP.iter().enumerate() {
            let Some(most) = self.top[rule] else { continue };
            if rule == 0 || grams.most_top_chars(n, scratch) as f64 / all > most {
                let share = grams.top_chars(n, scratch) as f64 / all;
                score(SCORES[4 + rule], share);
                if share > most {
                    return Some(TOP_GRAM + rule as u16);
                }
            }
        }
        let least = DUPLICATE.iter().zip(self.duplicate).find(|(_, most)| most.is_some()).map(|(&n, _)| n);
        if let Some(least) = least {
            grams.mark_repeats(least, scratch);
        }
        for (rule, &n) in DUPLICATE.iter().enumerate() {
            let Some(most) = self.duplicate[rule] else { continue };
            let share = grams.duplicate_chars(n, scratch) as f64 / all;
            if rule == 0 {
                score(SCORES[7], share);
            }
            if share > most {
                return Some(DUPLICATE_GRAMS + rule as u16);
            }
        }
        None
    }
}

impl Filter for GopherRepetition {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut scratch = Scratch::default();
        for (row, text) in batch.texts().enumerate() {
            let dropped = if text.is_empty() {
                Some(EMPTY)
            } else if self.preset == Preset::Dclm {
                let shares = dclm::shares(text, self.splitter, &mut scratch);
                for (name, share) in SCORES.into_iter().zip(shares) {
                    verdicts.score(name, row, share);
                }
                self.verdict(&shares)
            } else {
                self.judge(text, &mut scratch, &mut |name, share| verdicts.score(name, row, share))
            };
            verdicts.dropped[row] = dropped;
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use psann_core::{BatchBuilder, Document};
    use serde_json::{Value, json};

    use super::*;

    fn reason(options: &Value, text: &str) -> Option<&'static str> {
        let filter = GopherRepetition::new(serde_json::from_value(options.clone()).unwrap()).unwrap();
        let mut batch = BatchBuilder::default();
        batch.push(Document { text: text.into(), ..Document::default() });
        let dropped = filter.apply(&batch.finish().unwrap()).unwrap().dropped[0];
        if filter.preset != Preset::Dclm && !text.is_empty() {
            let counts = filter.counts(text, &mut Scratch::default());
            assert_eq!(dropped, filter.verdict(&counts.shares()), "{text:.80}");
        }
        dropped.map(|reason| REASONS[reason as usize])
    }

    /// `count` different words.
    fn prose(count: usize) -> String {
        (0..count).map(|index| format!("w{}x", index * 7919)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn thresholds_themselves_pass() {
        let check = |text: &str, expect| assert_eq!(reason(&json!({}), text), expect, "{text:.80}");
        let tail = prose(200);
        check("", Some("empty"));
        check(" \u{a0} ", None);
        check(" \n ", Some("dup_line_frac"));
        check(&tail, None);
        // 3 of 10 lines are copies, then 4 of 10.
        let lines = |copies: usize| {
            let mut lines: Vec<String> = (0..9 - copies).map(|index| format!("line {index}")).collect();
            lines.extend(std::iter::repeat_n("line 0".to_owned(), copies));
            format!("{}\n{tail}", lines.join("\n"))
        };
        check(&lines(3), None);
        check(&lines(4), Some("dup_line_frac"));
        check(&lines(4).replace('\n', "\n\n"), Some("dup_para_frac"));
        let long = prose(20);
        let other = format!("a\nb\nc\n{}", prose(40).replace('w', "v"));
        check(&format!("{long}\n{long}\n{other}"), Some("dup_line_char_frac"));
        let other = other.replace('\n', "\n\n");
        check(&format!("{long}\n\n{long}\n\n{other}"), Some("dup_para_char_frac"));
        check(&"spam ham ".repeat(50), Some("top_2_gram"));
        let phrase = format!("{0} {1} {0}", prose(10), prose(32).replace('w', "v"));
        check(&phrase, Some("duplicated_5_n_grams"));
    }

    #[test]
    fn presets_and_options_switch_rules() {
        let text = prose(30).replace(' ', "\n\n") + "\n\n" + &prose(30).replace(' ', "\n\n");
        assert_eq!(reason(&json!({}), &text), Some("dup_para_frac"));
        assert_eq!(reason(&json!({ "preset": "fineweb2" }), &text), Some("dup_line_frac"));
        let off = json!({ "preset": "fineweb2", "duplicate_lines": false, "duplicate_5_grams": false });
        assert_eq!(reason(&off, &text), Some("duplicated_6_n_grams"));
        assert_eq!(reason(&json!({ "preset": "fineweb2", "duplicate_paragraphs": 0.3 }), &text), Some("dup_para_frac"));
    }

    #[test]
    fn dclm_counts_every_copy() {
        let lines = format!("one line\none line\n{}\n{}", prose(60).replacen(' ', "\n", 5), prose(9));
        assert_eq!(reason(&json!({ "duplicate_lines": 0.2 }), &lines), None);
        assert_eq!(reason(&json!({ "preset": "dclm", "duplicate_lines": 0.2 }), &lines), Some("dup_line_frac"));
        // A 2-gram that occurs once is no repetition.
        assert_eq!(reason(&json!({}), "hello world"), Some("top_2_gram"));
        assert_eq!(reason(&json!({ "preset": "dclm" }), "hello world"), None);
        assert_eq!(reason(&json!({ "preset": "dclm" }), ""), Some("empty"));
        assert_eq!(reason(&json!({ "preset": "dclm" }), " \n"), None);
    }

    proptest! {
        /// What is skipped could not have broken its rule: [`reason`] compares with all counts.
        #[test]
        fn stopping_early_changes_no_verdict(
            words in prop::collection::vec("[a-d]{1,3}|abcdefghij|[a-z]{4}|\n", 0..120),
            most in prop::collection::vec(0.0..0.6, 4),
        ) {
            let options = json!({ "duplicate_lines": 0.8, "duplicate_paragraphs": 0.8, "top_2_gram": most[0],
                "top_3_gram": most[1], "top_4_gram": most[2], "duplicate_5_grams": most[3] });
            reason(&options, &words.join(" "));
        }
    }
}
