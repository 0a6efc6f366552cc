use std::time::Instant;

use psann_core::{BatchBuilder, Document, registry};
use serde_json::json;

use super::*;

fn closure(code: &str) -> Result<Closure> {
    Closure::new(ClosureOptions { code: Some(code.into()), ..ClosureOptions::default() })
}

fn document() -> Document {
    Document {
        text: "Zwölf Boxkämpfer\njagen Viktor.".into(),
        id: Some("7".into()),
        url: Some("https://example.org/".into()),
        source: None,
        meta: Some("{\"lang\":\"de\",\"score\":0.5}".into()),
    }
}

fn batch(documents: impl IntoIterator<Item = Document>) -> Batch {
    let mut builder = BatchBuilder::default();
    documents.into_iter().for_each(|document| builder.push(document));
    builder.finish().unwrap()
}

/// What the code makes of [`document`]: "keep", a reason, or the new text after "=".
fn verdict(code: &str) -> String {
    let filter = closure(code).unwrap();
    let verdicts = filter.apply(&batch([document()])).unwrap();
    match (verdicts.dropped[0], verdicts.rewritten.first().cloned().flatten()) {
        (Some(reason), _) => filter.reasons()[usize::from(reason)].into(),
        (None, Some(text)) => format!("={text}"),
        (None, None) => "keep".into(),
    }
}

fn failure(code: &str) -> String {
    let error = closure(code).and_then(|filter| filter.apply(&batch([document()]))).unwrap_err();
    format!("{error} / {}", error.hint_text().unwrap_or_default())
}

#[test]
fn each_result_is_a_verdict() {
    for (code, expected) in [
        ("|doc| true", "keep"),
        ("|doc| false", "rejected"),
        ("|doc| if doc.words < 50 { \"too short\" } else { true }", "too short"),
        ("|doc| { if doc.words < 50 { return \"few words\"; } true }", "few words"),
        ("|doc| switch doc.lines { 2 => \"two lines\", _ => true }", "two lines"),
        ("|d| { let why = \"nobody knows\"; why }", "rejected"),
        ("|doc| #{ text: doc.text.to_upper() }", "=ZWÖLF BOXKÄMPFER\nJAGEN VIKTOR."),
        ("|doc| #{ text: doc.text }", "keep"),
        ("doc.words > 3", "keep"),
        ("fn few(n) { n < 9 }\nif few(doc.words) { \"few\" } else { true }", "few"),
    ] {
        assert_eq!(verdict(code), expected, "{code}");
    }
}

#[test]
fn a_document_shows_its_parts() {
    for code in [
        "|doc| doc.text.starts_with(\"Zwölf\") && doc.text.len() == doc.chars",
        "|doc| doc.chars == 30 && doc.bytes == 32 && doc.words == 4 && doc.lines == 2",
        "|doc| doc.id == \"7\" && doc.source == \"\" && doc.url.contains(\"example\")",
        "|doc| doc.meta.lang == \"de\" && doc.meta.score < 0.6 && doc.meta.nothing == ()",
        "|doc| doc.contains(\"Boxkämpfer\") && !doc.contains(\"boxer\")",
        "|doc| doc.text.split().filter(|word| word.len() > 5).len() == 2",
    ] {
        assert_eq!(verdict(code), "keep", "{code}");
    }
    assert_eq!(closure("|d| d.url != \"\"").unwrap().column(), Some("url"));
    assert_eq!(closure("|d| d.meta.lang == \"en\"").unwrap().column(), Some("meta"));
    assert_eq!(closure("|d| d.words > 3").unwrap().column(), None);
}

#[test]
fn words_are_what_lies_between_white_space_of_any_kind() {
    for (text, words) in
        [("", 0), (" \t\n", 0), ("a", 1), (" a\u{b}b\r\nc ", 3), ("é\u{a0}b\u{3000}c", 3), ("one two", 2)]
    {
        let filter = closure(&format!("doc.words == {words}")).unwrap();
        let text = Document { text: text.into(), ..Document::default() };
        assert_eq!(filter.apply(&batch([text.clone()])).unwrap().dropped, [None], "{text:?}");
    }
}

#[test]
fn captures_reasons_and_a_name_come_from_the_options() {
    let options = json!({
        "code": "|doc| { if doc.words < limit.least { false } else { `${doc.words} words` } }",
        "name": "short", "reasons": ["4 words"], "captures": { "limit": { "least": 3 } },
    });
    let filter = registry::filter("rhai", &options).unwrap();
    assert_eq!(filter.reasons(), ["short", "4 words"]);
    let texts = ["one two", "one two three four", "a b c d e"];
    let documents = texts.map(|text| Document { text: text.into(), ..Document::default() });
    let verdicts = filter.apply(&batch(documents)).unwrap();
    assert_eq!(verdicts.dropped, [Some(0), Some(1), Some(0)]);
    assert_eq!(verdicts.counts["reasons that are not in `reasons`"], 1);
}

#[test]
fn nothing_stays_from_one_document_to_the_next() {
    let options =
        json!({ "code": "|doc| { let seen = seen; seen.push(1); seen.len() == 1 }", "captures": { "seen": [] } });
    let filter = registry::filter("rhai", &options).unwrap();
    let verdicts = filter.apply(&batch([document(), document(), document()])).unwrap();
    assert_eq!(verdicts.dropped, [None; 3]);
}

#[test]
fn limits_end_with_the_document_named() {
    let options = ClosureOptions { code: Some("|doc| loop { }".into()), operations: 1000, ..ClosureOptions::default() };
    let error = Closure::new(options).unwrap().apply(&batch([document()])).unwrap_err();
    let endless = format!("{error} / {}", error.hint_text().unwrap());
    let growing = failure("|doc| { let s = \"ab\"; loop { s += s; } }");
    let deep = failure("fn f(x) { f(x) }\nf(1)");
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!("limits", [endless, growing, deep].join("\n"));
    });
}

#[test]
fn a_document_that_takes_too_long_is_named() {
    let options = ClosureOptions { code: Some("|doc| true".into()), ..ClosureOptions::default() };
    let (batch, token) = (batch([document()]), Dynamic::from(crate::engine::Overdue));
    let place = failure::Place { options: &options, batch: &batch, row: 0 };
    let error = failure::running(&place, &rhai::EvalAltResult::ErrorTerminated(token, rhai::Position::new(1, 7)));
    assert!(error.to_string().contains("column 7 of its code: the closure was stopped after 60 seconds (document `7`"));
}

#[test]
fn what_goes_wrong_is_said_with_its_place() {
    let said = [
        "",
        "|doc| doc.txt.len() > 3",
        "|doc| doc.text.lenn() > 3",
        "|doc| helper(doc)",
        "|doc| doc.words > limit",
        "|doc| doc.words > global::LIMIT",
        "|doc, more| true",
        "|doc| doc.words > ",
        "|doc| import \"x\" as y",
        "|doc| print(doc.text)",
        "|doc| eval(\"1\")",
        "|doc| doc.meta.nothing.len() > 3",
        "|doc| {\n    throw \"no\";\n}",
        "|doc| if doc.words > 100 { false }",
        "|doc| doc.words",
        "|doc| #{ txt: \"\" }",
        "|doc| doc.text = \"x\"",
        "|doc| [1][3] == 1",
    ]
    .map(|code| format!("{code}\n    {}", failure(code)));
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("failures", said.join("\n")) });
}

#[test]
fn filters_are_shared_among_threads() {
    let filter = closure("|doc| doc.words > 3").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(filter.apply(&batch([document()])).unwrap().dropped, [None]));
        }
    });
}

/// Prints documents a second: `cargo test --release -p psann-scripts -- --ignored speed --nocapture`.
#[test]
#[ignore = "measures, and has nothing to say about right and wrong"]
#[expect(clippy::print_stdout, reason = "that is its purpose")]
fn speed() {
    let text = "The sea was calm and the ship lay still. ".repeat(50);
    let documents = batch((0..1000).map(|_| Document { text: text.clone(), ..document() }));
    for code in [
        "|doc| doc.bytes > 200",
        "|doc| doc.words > 50",
        "|doc| doc.text.len() > 200",
        "|doc| doc.meta.lang == \"de\"",
        "|doc| { let seen = []; for n in 0..50 { seen.push(n); } seen.len() == 50 }",
    ] {
        let filter = closure(code).unwrap();
        let start = Instant::now();
        for _ in 0..100 {
            filter.apply(&documents).unwrap();
        }
        println!("{code}: {:.0} documents/s", 100_000.0 / start.elapsed().as_secs_f64());
    }
}
