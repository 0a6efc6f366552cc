//! `gopher_quality`: does it read like running text? Gopher's rules (Rae et al. 2021, arXiv 2112.11446, section A.1.1) as
//! datatrove 0.10 computes them, from which FineWeb was made, or as DCLM does.
//!
//! The two agree on the thresholds and not on what they count; `preset` chooses the counting.

mod counts;

use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold::Threshold;
use crate::words::{Span, Splitter, Words};
pub use counts::{Counts, StopWords};

psann_core::register!(Filter, "gopher_quality", GopherQualityOptions, GopherQuality::new);

/// Whose counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// datatrove's, used for FineWeb: words of spaCy, symbols counted by kind, each stop word once.
    #[default]
    Gopher,
    /// DCLM's: its lengths count Unicode words and its ratios words between blanks; `#` and ellipses count together;
    /// stop words in any case, each time; empty lines do not count.
    Dclm,
}

/// Drops documents that do not look like running text: too short or long, odd words, symbols, lists, no common words.
///
/// A rule that is not given has the threshold named with it; `false` switches it off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GopherQualityOptions {
    /// Whose counting.
    pub preset: Preset,
    /// What counts as a word; of the preset `dclm` only for the length. Default: spacy; uax29 of `dclm`.
    pub words: Option<Splitter>,
    /// Fewest words, those of punctuation only not counted. Default: 50.
    pub min_words: Threshold<u64>,
    /// Most words, those of punctuation only not counted. Default: 100000.
    pub max_words: Threshold<u64>,
    /// Least mean length of a word in characters. Default: 3.
    pub min_word_length: Threshold<f64>,
    /// Greatest mean length of a word in characters. Default: 10.
    pub max_word_length: Threshold<f64>,
    /// Most hash signs, and most ellipses, per word. Default: 0.1.
    pub max_symbols: Threshold<f64>,
    /// Greatest share of lines that begin with a bullet. Default: 0.9.
    pub max_bullet_lines: Threshold<f64>,
    /// Greatest share of lines that end with an ellipsis. Default: 0.3.
    pub max_ellipsis_lines: Threshold<f64>,
    /// Least share of words with a letter. Default: 0.8.
    pub min_alphabetic_words: Threshold<f64>,
    /// Fewest stop words. Default: 2.
    pub min_stop_words: Threshold<u64>,
    /// The stop words. Default: the, be, to, of, and, that, have, with.
    pub stop_words: Option<Vec<String>>,
}

/// The filter.
#[derive(Debug)]
pub struct GopherQuality {
    preset: Preset,
    splitter: Splitter,
    words: [Option<u64>; 2],
    word_length: [Option<f64>; 2],
    symbols: Option<f64>,
    bullet_lines: Option<f64>,
    ellipsis_lines: Option<f64>,
    alphabetic_words: Option<f64>,
    min_stop_words: Option<u64>,
    stop_words: StopWords,
}

const REASONS: [&str; 10] = [
    "gopher_short_doc",
    "gopher_long_doc",
    "gopher_below_avg_threshold",
    "gopher_above_avg_threshold",
    "gopher_too_many_hashes",
    "gopher_too_many_ellipsis",
    "gopher_too_many_bullets",
    "gopher_too_many_end_ellipsis",
    "gopher_below_alpha_threshold",
    "gopher_enough_stop_words",
];

impl GopherQuality {
    /// # Errors
    /// More than 64 stop words.
    pub fn new(options: GopherQualityOptions) -> Result<Self> {
        let stop_words = options
            .stop_words
            .unwrap_or_else(|| ["the", "be", "to", "of", "and", "that", "have", "with"].map(str::to_owned).into());
        if stop_words.len() > 64 {
            return Err(Error::usage(format!("option `stop_words` takes up to 64 words, found {}", stop_words.len())));
        }
        let splitter = match options.preset {
            Preset::Gopher => Splitter::Spacy,
            Preset::Dclm => Splitter::Uax29,
        };
        Ok(Self {
            preset: options.preset,
            splitter: options.words.unwrap_or(splitter),
            words: [options.min_words.or(Some(50)), options.max_words.or(Some(100_000))],
            word_length: [options.min_word_length.or(Some(3.0)), options.max_word_length.or(Some(10.0))],
            symbols: options.max_symbols.or(Some(0.1)),
            bullet_lines: options.max_bullet_lines.or(Some(0.9)),
            ellipsis_lines: options.max_ellipsis_lines.or(Some(0.3)),
            alphabetic_words: options.min_alphabetic_words.or(Some(0.8)),
            min_stop_words: options.min_stop_words.or(Some(2)),
            stop_words: StopWords::new(stop_words),
        })
    }

    /// The counts of a text. `spans` is room for its words.
    pub fn counts(&self, text: &str, spans: &mut Vec<Span>) -> Counts {
        self.splitter.split(text, spans);
        match self.preset {
            Preset::Gopher => self.counts_of(text, Words { source: text, spans }),
            Preset::Dclm => {
                let unicode_words = spans.len();
                Splitter::Whitespace.split(text, spans);
                Counts::dclm(text, Words { source: text, spans }, unicode_words, &self.stop_words)
            }
        }
    }

    /// The counts of a text whose words are given, with the counting of `gopher`.
    pub fn counts_of(&self, text: &str, words: Words) -> Counts {
        Counts::of(text, words, &self.stop_words)
    }

    /// The first rule that `counts` break, as an index into the reasons.
    pub fn verdict(&self, counts: &Counts) -> Option<u16> {
        let gopher = self.preset == Preset::Gopher;
        let length = counts.words_nonsymbol as u64;
        let mean = counts.mean_word_length(self.preset);
        let words = counts.words as f64;
        let (hashes, ellipses) = (counts.hashes as f64 / words, counts.ellipses as f64 / words);
        let symbols = (counts.hashes + counts.ellipses) as f64 / words;
        let lines = counts.lines as f64;
        let broken = [
            self.words[0].is_some_and(|least| length < least),
            self.words[1].is_some_and(|most| length > most),
            self.word_length[0].is_some_and(|least| mean < least),
            self.word_length[1].is_some_and(|most| mean > most),
            self.symbols.is_some_and(|most| if gopher { hashes > most } else { symbols > most }),
            self.symbols.is_some_and(|most| gopher && ellipses > most),
            self.bullet_lines.is_some_and(|most| counts.bullet_lines as f64 / lines > most),
            self.ellipsis_lines.is_some_and(|most| counts.ellipsis_lines as f64 / lines > most),
            self.alphabetic_words.is_some_and(|least| (counts.alpha_words as f64 / words) < least),
            self.min_stop_words.is_some_and(|least| (counts.stop_words_distinct as u64) < least),
        ];
        broken.iter().position(|&broken| broken).map(|reason| reason as u16)
    }
}

impl Filter for GopherQuality {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let mut spans = Vec::new();
        for (row, text) in batch.texts().enumerate() {
            let counts = self.counts(text, &mut spans);
            verdicts.dropped[row] = self.verdict(&counts);
            let words = counts.words as f64;
            verdicts.score("words", row, counts.words_nonsymbol as f64);
            verdicts.score("mean word length", row, counts.mean_word_length(self.preset));
            verdicts.score("hash signs per word", row, counts.hashes as f64 / words);
            verdicts.score("ellipses per word", row, counts.ellipses as f64 / words);
            verdicts.score("share of bullet lines", row, counts.bullet_lines as f64 / counts.lines as f64);
            verdicts.score("share of ellipsis lines", row, counts.ellipsis_lines as f64 / counts.lines as f64);
            verdicts.score("share of alphabetic words", row, counts.alpha_words as f64 / words);
            verdicts.score("stop words", row, counts.stop_words_distinct as f64);
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reason(options: Value, text: &str) -> Option<&'static str> {
        let filter = GopherQuality::new(serde_json::from_value(options).unwrap()).unwrap();
        filter.verdict(&filter.counts(text, &mut Vec::new())).map(|reason| REASONS[reason as usize])
    }

    /// `words` words of which two are stop words, and `tail`.
    fn text(words: usize, tail: &str) -> String {
        format!("the of{}{tail}", " some".repeat(words - 2))
    }

    #[test]
    fn thresholds_themselves_pass() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(reason(json!({}), text), expect, "{text:.80}");
        check(&text(50, ""), None);
        check(&text(49, ""), Some("gopher_short_doc"));
        check(&text(49, " ! ? ."), Some("gopher_short_doc"));
        check(&text(100_000, ""), None);
        check(&text(100_001, ""), Some("gopher_long_doc"));
        // 60 words and `n` hash signs that are words too: 7 / 67 > 0.1.
        check(&text(60, &" #".repeat(6)), None);
        check(&text(60, &" #".repeat(7)), Some("gopher_too_many_hashes"));
        check(&text(60, &" …".repeat(7)), Some("gopher_too_many_ellipsis"));
        check(&text(80, &" ,".repeat(20)), None);
        check(&text(80, &" ,".repeat(21)), Some("gopher_below_alpha_threshold"));
        check(&"some ".repeat(60), Some("gopher_enough_stop_words"));
        check(&"the ".repeat(60), Some("gopher_enough_stop_words"));
        check(&format!("the of{}", " a".repeat(60)), Some("gopher_below_avg_threshold"));
        check(&format!("the of{}", " incomprehensible".repeat(60)), Some("gopher_above_avg_threshold"));
        let lines =
            |line: &str, other: &str, share: usize| format!("{}{}", line.repeat(share), other.repeat(10 - share));
        check(&lines("- the same thing of it all\n", "the same thing of it all\n", 9), None);
        check(
            &lines("- the same thing of it all\n", "the same thing of it all\n", 10),
            Some("gopher_too_many_bullets"),
        );
        check(&lines("the same thing of it all goes on...\n", "the same thing of it all\n", 3), None);
        let ellipses = lines("the same thing of it all goes on... \n", "the same thing of it all\n", 4);
        check(&ellipses, Some("gopher_too_many_end_ellipsis"));
    }

    #[test]
    fn texts_without_words_are_short() {
        for text in ["", " \n\u{a0} ", "...", "\u{200b}"] {
            assert_eq!(reason(json!({}), text), Some("gopher_short_doc"));
        }
        // Without that rule nothing is divided by zero.
        assert_eq!(reason(json!({ "min_words": false }), ""), Some("gopher_enough_stop_words"));
        assert_eq!(reason(json!({ "min_words": false, "min_stop_words": false }), ""), None);
    }

    #[test]
    fn options_win_over_the_preset() {
        let short = text(20, "");
        assert_eq!(reason(json!({ "min_words": 20 }), &short), None);
        assert_eq!(
            reason(json!({ "min_words": 20, "stop_words": ["never"] }), &short),
            Some("gopher_enough_stop_words")
        );
        assert_eq!(
            reason(json!({ "min_words": 20, "words": "whitespace", "max_word_length": 3.5 }), &short),
            Some("gopher_above_avg_threshold")
        );
        let many = vec!["x"; 65];
        assert!(GopherQuality::new(serde_json::from_value(json!({ "stop_words": many })).unwrap()).is_err());
    }

    #[test]
    fn dclm_counts_otherwise() {
        // Stop words in any case and each time; punctuation is no word of its own.
        let text = format!("THE the{}", " some,".repeat(48));
        assert_eq!(reason(json!({}), &text), Some("gopher_below_alpha_threshold"));
        assert_eq!(reason(json!({ "preset": "dclm" }), &text), None);
        // `#` and ellipses count together.
        let symbols = format!("the of{} {}", " some".repeat(58), "# … ".repeat(4));
        assert_eq!(reason(json!({ "preset": "dclm" }), &symbols), Some("gopher_too_many_hashes"));
    }
}
