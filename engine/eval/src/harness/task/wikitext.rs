//! WikiText-2, whole articles: how likely each is, per word and per byte.
//!
//! The data set writes text as tokens with blanks between (`the well @-@ known (`). What is scored is the text put back
//! together, while words and bytes are counted in the article as published; both are what makes published numbers
//! comparable with each other. One of the substitutions is a slip of the original (its slashes are part of the pattern),
//! kept because the numbers have it.

use std::sync::LazyLock;

use psann_core::Result;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::super::metrics::Metric;
use super::settings::{Rule, Wording, config};
use super::{Fields, Output, Question, Settings, Source, Task, text};
use crate::python::text::count_words;

/// The task.
#[derive(Debug)]
pub struct Wikitext(pub Settings);

impl Default for Wikitext {
    fn default() -> Self {
        let source = Source::public("EleutherAI/wikitext_document_level", Some("wikitext-2-raw-v1"));
        let settings = Settings::new("wikitext", 2.0, Output::Rolling, source);
        Self(Settings {
            training_split: Some("train".into()),
            validation_split: Some("validation".into()),
            test_split: Some("test".into()),
            metrics: vec![Metric::WordPerplexity, Metric::BytePerplexity, Metric::BitsPerByte],
            columns: vec!["page".into()],
            ..settings
        })
    }
}

impl Task for Wikitext {
    fn settings(&self) -> &Settings {
        &self.0
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        let page = text(document, "page")?;
        Ok(Question::Rolling { text: detokenize(page), words: count_words(page), bytes: page.len() as u64 })
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let wording = Wording {
            text: Some(Rule::template("")),
            target: Some(Rule::Code),
            process_results: true,
            decontamination: Some("{{page}}"),
            bare_metrics: true,
            ..Wording::default()
        };
        config(&self.0, &wording, shots)
    }
}

/// What is between a pair of brackets or quotes, less the whitespace just inside. Python's whitespace has four more
/// characters than Unicode's.
static PAIRS: LazyLock<Vec<(Regex, char, char)>> = LazyLock::new(|| {
    let pairs = [
        (r"\([\s\x1c-\x1f]*([^)]*?)[\s\x1c-\x1f]*\)", '(', ')'),
        (r"\[[\s\x1c-\x1f]*([^\]]*?)[\s\x1c-\x1f]*\]", '[', ']'),
        (r"\{[\s\x1c-\x1f]*([^}]*?)[\s\x1c-\x1f]*\}", '{', '}'),
        (r#""[\s\x1c-\x1f]*([^"]*?)[\s\x1c-\x1f]*""#, '"', '"'),
        (r"'[\s\x1c-\x1f]*([^']*?)[\s\x1c-\x1f]*'", '\'', '\''),
    ];
    pairs.into_iter().filter_map(|(pattern, open, close)| Some((Regex::new(pattern).ok()?, open, close))).collect()
});

static SLIP: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("/' [0-9]/").ok());

/// The article as it would be written: the text that is scored.
pub fn detokenize(page: &str) -> String {
    let mut text = page.replace("s '", "s'");
    if let Some(slip) = &*SLIP {
        text = slip.replace_all(&text, "/'[0-9]/").into_owned();
    }
    let marks = [" : ", " ; ", " . ", " ! ", " ? ", " , "];
    for (from, to) in [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")] {
        text = text.replace(from, to);
    }
    for mark in marks {
        text = text.replace(mark, &mark[1..]);
    }
    for (pattern, open, close) in PAIRS.iter() {
        text = pattern.replace_all(&text, |found: &Captures<'_>| format!("{open}{}{close}", &found[1])).into_owned();
    }
    for (from, to) in [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" \u{b0} ", "\u{b0}"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ] {
        text = text.replace(from, to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(PAIRS.len(), 5);
        assert!(SLIP.is_some());
    }

    #[test]
    fn text_is_put_back_together_and_counted_as_published() {
        let page = " = Kiln = \n \n The well @-@ known kiln ( built\u{1c}) cost 1 @,@ 200 crowns . \n";
        assert_eq!(detokenize(page), " = Kiln =\n\nThe well-known kiln (built) cost 1,200 crowns.\n");
        let row = Fields::from_iter([("page".to_owned(), Value::from(page))]);
        let Question::Rolling { words, bytes, .. } = Wikitext::default().question(&row).unwrap() else { panic!() };
        assert_eq!((words, bytes), (19, page.len() as u64));
    }
}
