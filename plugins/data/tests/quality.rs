//! The quality filters against datatrove: the same decision, the same reason, the same counts.
//!
//! Three questions, so that a difference has an address: are the counts right when datatrove's words are given, are our
//! words spaCy's, and do the filters agree end to end.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails says where; the tables are for its reader"
)]

use std::collections::BTreeMap;

use psann_core::{Batch, BatchBuilder, Document, Filter};
use psann_golden::rows;
use psann_plugins_data::filters::c4::{C4, C4Options};
use psann_plugins_data::filters::fineweb::{FineWeb, FineWebOptions};
use psann_plugins_data::filters::gopher_quality::{GopherQuality, GopherQualityOptions};
use psann_plugins_data::filters::gopher_repetition::{Counts, GopherRepetition, GopherRepetitionOptions, Scratch};
use psann_plugins_data::filters::seen::Seen;
use psann_plugins_data::words::{Span, Splitter, Words};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SET: &str = "data/filters";

/// A document and what datatrove says of it.
struct Case {
    id: String,
    text: String,
    expected: Value,
}

fn cases() -> Vec<Case> {
    let documents = rows::lines(SET, "docs.jsonl.gz");
    let expected = rows::lines(SET, "expected.jsonl.gz");
    assert_eq!(documents.len(), expected.len());
    let case = |(document, expected): (Value, Value)| {
        assert_eq!(document["id"], expected["id"]);
        Case { id: read(&document["id"]), text: read(&document["text"]), expected }
    };
    documents.into_iter().zip(expected).map(case).collect()
}

/// datatrove's words, for the documents that have them.
fn tokens() -> BTreeMap<String, Vec<String>> {
    rows::lines(SET, "tokens.jsonl.gz").iter().map(|row| (read(&row["id"]), read(&row["words"]))).collect()
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn quality() -> GopherQuality {
    GopherQuality::new(GopherQualityOptions::default()).unwrap()
}

fn repetition() -> GopherRepetition {
    GopherRepetition::new(GopherRepetitionOptions::default()).unwrap()
}

fn fineweb(options: &Value) -> FineWeb {
    FineWeb::new(read::<FineWebOptions>(options)).unwrap()
}

fn c4(options: &Value) -> C4 {
    C4::new(read::<C4Options>(options)).unwrap()
}

/// A list of words as one text and where they are in it.
fn joined(words: &[String]) -> (String, Vec<Span>) {
    let (mut source, mut spans) = (String::new(), Vec::new());
    for word in words {
        let start = source.len() as u32;
        source.push_str(word);
        spans.push(Span { start, end: source.len() as u32 });
    }
    (source, spans)
}

/// Compares counts by name; `only` those, all if there are none.
fn assert_counts(id: &str, ours: &Value, theirs: &Value, only: &[&str]) {
    for (name, count) in theirs.as_object().unwrap() {
        if only.is_empty() || only.contains(&name.as_str()) {
            assert_eq!(ours[name], number(count), "`{name}` of {id}");
        }
    }
}

/// The fixture has null for the characters of an n-gram where there is none.
fn number(count: &Value) -> Value {
    if count.is_null() { json!(0) } else { count.clone() }
}

fn reason(filter: &dyn Filter, dropped: Option<u16>) -> Value {
    dropped.map_or(Value::Null, |reason| json!(filter.reasons()[reason as usize]))
}

fn xxh3(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

#[test]
fn golden_data_filters_line_counts_equal_datatrove() {
    let (quality, fineweb) = (quality(), fineweb(&json!({})));
    let none = Words { source: "", spans: &[] };
    for Case { id, text, expected } in &cases() {
        let only = ["hashes", "ellipses", "lines", "bullet_lines", "ellipsis_lines"];
        assert_counts(id, &json!(quality.counts_of(text, none)), &expected["gopher_quality"]["stats"], &only);
        let ours = json!(Counts::of(text, none, &mut Scratch::default()));
        let only =
            ["chars", "paragraphs", "dup_paragraphs", "dup_paragraph_chars", "lines", "dup_lines", "dup_line_chars"];
        assert_counts(id, &ours, &expected["gopher_repetition"]["stats"], &only);
        let ours = json!(fineweb.line_counts(text, &mut Seen::default()));
        let only =
            ["lines_nonempty", "terminal_lines", "short_lines", "dup_line_chars", "chars_without_newlines", "newlines"];
        assert_counts(id, &ours, &expected["fineweb"]["stats"], &only);
    }
}

#[test]
fn golden_data_filters_word_counts_equal_datatrove_on_its_words() {
    let (quality, repetition) = (quality(), repetition());
    let tokens = tokens();
    let mut compared = 0;
    for Case { id, text, expected } in &cases() {
        let Some(words) = tokens.get(id) else { continue };
        let (source, spans) = joined(words);
        let words = Words { source: &source, spans: &spans };
        compared += 1;

        let counts = quality.counts_of(text, words);
        let theirs = &expected["gopher_quality"];
        assert_counts(id, &json!(counts), &theirs["stats"], &[]);
        assert_eq!(reason(&quality, quality.verdict(&counts)), theirs["reason"], "{id}");

        let counts = Counts::of(text, words, &mut Scratch::default());
        let theirs = &expected["gopher_repetition"];
        assert_counts(id, &json!(counts), &theirs["stats"], &[]);
        if !text.is_empty() {
            assert_eq!(reason(&repetition, repetition.verdict(&counts.shares())), theirs["reason"], "{id}");
        }
    }
    assert_eq!(compared, tokens.len());
}

#[test]
fn golden_data_filters_words_equal_spacy() {
    let tokens = tokens();
    let mut others = Vec::new();
    let cases = cases();
    for Case { id, text, expected } in &cases {
        let mut spans = Vec::new();
        Splitter::Spacy.split(text, &mut spans);
        let ours: Vec<&str> = Words { source: text, spans: &spans }.iter().collect();
        let number = expected["gopher_quality"]["stats"]["words"] == json!(ours.len());
        if !number || tokens.get(id).is_some_and(|theirs| !theirs.iter().eq(&ours)) {
            others.push(id);
        }
    }
    eprintln!("documents with other words than spaCy: {others:?}");
    assert!(others.len() * 1000 <= cases.len(), "{others:?}");
}

#[test]
fn golden_data_filters_counts_agree_end_to_end() {
    let (quality, repetition, fineweb) = (quality(), repetition(), fineweb(&json!({})));
    let (mut equal, mut all) = (0, 0);
    for Case { id, text, expected } in &cases() {
        let ours = json!({
            "gopher_quality": quality.counts(text, &mut Vec::new()),
            "gopher_repetition": repetition.counts(text, &mut Scratch::default()),
            "fineweb": fineweb.counts(text, &mut Seen::default(), &mut Vec::new()),
        });
        for (name, ours) in ours.as_object().unwrap() {
            let theirs = &expected[name]["stats"];
            let same = theirs.as_object().unwrap().iter().all(|(name, count)| ours[name] == number(count));
            all += 1;
            equal += usize::from(same);
            if !same {
                eprintln!("{name} of {id}: {ours} instead of {theirs}");
            }
        }
    }
    eprintln!("equal counts: {equal} of {all}");
    assert!(equal as f64 >= 0.99 * f64::from(all));
}

#[test]
fn golden_data_filters_c4_rewrites_as_datatrove() {
    let texts: BTreeMap<String, String> =
        rows::lines(SET, "c4_text.jsonl.gz").iter().map(|row| (read(&row["id"]), read(&row["text"]))).collect();
    for (name, preset) in [("c4", "c4"), ("c4_no_terminal_rule", "fineweb")] {
        let filter = c4(&json!({ "preset": preset }));
        for Case { id, text, expected } in &cases() {
            let judged = filter.judge(text);
            let theirs = &expected[name];
            assert_counts(id, &json!(judged.lines), &theirs["lines"], &[]);
            assert_eq!(json!(judged.sentences), theirs["sentences"], "sentences of {id} with {name}");
            assert_eq!(reason(&filter, judged.dropped), theirs["reason"], "{id} with {name}");
            if theirs["keep"] == true {
                assert_eq!(json!(xxh3(&judged.text)), theirs["text_xxh3_128"], "text of {id} with {name}");
                assert_eq!(json!(judged.text.chars().count()), theirs["text_chars"], "{id} with {name}");
                if let Some(text) = texts.get(id).filter(|_| name == "c4") {
                    assert_eq!(&judged.text, text, "{id}");
                }
            }
        }
    }
}

/// How two tools decided about the same documents.
#[derive(Debug, Default)]
struct Confusion {
    both_keep: usize,
    same_reason: usize,
    other_reason: usize,
    only_ours: usize,
    only_theirs: usize,
}

impl Confusion {
    fn add(&mut self, id: &str, ours: &Value, theirs: &Value) {
        if ours != theirs {
            eprintln!("{id}: {ours} instead of {theirs}");
        }
        let cell = match (ours.is_null(), theirs.is_null()) {
            (true, true) => &mut self.both_keep,
            (false, true) => &mut self.only_ours,
            (true, false) => &mut self.only_theirs,
            _ if ours == theirs => &mut self.same_reason,
            _ => &mut self.other_reason,
        };
        *cell += 1;
    }

    fn check(&self, name: &str) {
        let Self { both_keep, same_reason, other_reason, only_ours, only_theirs } = self;
        eprintln!(
            "{name:20} both keep {both_keep:4}   both drop: same reason {same_reason:4}, other reason {other_reason:3}   \
             only we drop {only_ours:3}   only they drop {only_theirs:3}"
        );
        let agree = both_keep + same_reason + other_reason;
        assert!(agree as f64 >= 0.99 * (agree + only_ours + only_theirs) as f64, "{name}: {self:?}");
    }
}

type Named = (&'static str, Box<dyn Filter>);

#[test]
fn golden_data_filters_agree_end_to_end() {
    let filters: [Named; 6] = [
        ("gopher_repetition", Box::new(repetition())),
        ("gopher_quality", Box::new(quality())),
        ("c4_no_terminal_rule", Box::new(c4(&json!({ "preset": "fineweb" })))),
        ("fineweb", Box::new(fineweb(&json!({})))),
        ("c4", Box::new(c4(&json!({})))),
        ("fineweb_paper", Box::new(fineweb(&json!({ "preset": "paper" })))),
    ];
    let cases = cases();
    let documents = batch(cases.iter().map(|case| case.text.clone()));
    for (name, filter) in &filters {
        let verdicts = filter.apply(&documents).unwrap();
        let mut confusion = Confusion::default();
        for (Case { id, expected, .. }, &dropped) in cases.iter().zip(&verdicts.dropped) {
            confusion.add(id, &reason(&**filter, dropped), &expected[name]["reason"]);
        }
        confusion.check(name);
    }
    let mut confusion = Confusion::default();
    for Case { id, text, expected } in &cases {
        let (ours, text) = run_chain(&filters[..4], text);
        let theirs = &expected["chain"];
        confusion.add(id, &ours, &theirs["reason"]);
        if ours.is_null() && theirs["keep"] == true {
            assert_eq!(json!(xxh3(&text)), theirs["text_xxh3_128"], "text of {id} after the chain");
        }
    }
    confusion.check("chain");
}

fn batch(texts: impl Iterator<Item = String>) -> Batch {
    let mut batch = BatchBuilder::default();
    for text in texts {
        batch.push(Document { text, ..Document::default() });
    }
    batch.finish().unwrap()
}

/// The first reason, and the text as it was then.
fn run_chain(filters: &[Named], text: &str) -> (Value, String) {
    let mut text = text.to_owned();
    for (_, filter) in filters {
        let mut verdicts = filter.apply(&batch([text.clone()].into_iter())).unwrap();
        if verdicts.dropped[0].is_some() {
            return (reason(&**filter, verdicts.dropped[0]), text);
        }
        if let Some(rewritten) = verdicts.rewritten.pop().flatten() {
            text = rewritten;
        }
    }
    (Value::Null, text)
}
