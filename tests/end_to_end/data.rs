//! Preparing a corpus and looking into it, through the binary.

use std::fs;

use super::support::Scratch;

/// A recipe with a filter for one document, a filter for the corpus, and a closure.
const RECIPE: &str = r#"
let text = source::jsonl(#{ path: "pages.jsonl", on_error: "skip" })
    | filter::normalize()
    | filter::rhai(|doc| if doc.words < 5 { "too short" } else { true })
    | filter::minhash(#{ preset: "verified" });
pipeline("pages").prepare(text, #{ validation: "20%", out: "corpus" })
"#;

fn prepared() -> Scratch {
    let scratch = Scratch::new();
    let page = |number: usize, words: usize| {
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        let text: String =
            (0..words).map(|word| format!("{}{}{} ", letter(number), letter(word / 26), letter(word))).collect();
        format!("{{\"text\": \"{text}\", \"id\": \"page-{number}\", \"url\": \"https://a.example/{number}\"}}\n")
    };
    let mut pages: String = (0..20).map(|number| page(number, 40)).collect();
    pages.push_str(&page(3, 41).replace("page-3", "copy-of-3"));
    pages.push_str(&page(21, 3));
    pages.push_str("no json\n");
    fs::write(scratch.path().join("pages.jsonl"), pages).unwrap();
    fs::write(scratch.path().join("pages.rhai"), RECIPE).unwrap();
    scratch.ok(&["recipe", "pages.rhai"]);
    scratch
}

/// What a command that fails says.
fn failure(scratch: &Scratch, arguments: &[&str]) -> String {
    let ended = scratch.run(arguments);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{arguments:?}");
    ended.err
}

#[test]
fn a_corpus_can_be_looked_into() {
    let scratch = prepared();
    insta::assert_snapshot!("data_stats", scratch.ok(&["data", "stats", "corpus"]));
    insta::assert_snapshot!("data_peek", scratch.ok(&["data", "peek", "corpus", "-n", "2", "--chars", "30"]));
    insta::assert_snapshot!("data_why_dropped", scratch.ok(&["data", "why", "corpus", "--doc", "copy-of-3"]));
    insta::assert_snapshot!("data_why_rule", scratch.ok(&["data", "why", "corpus", "--doc", "0-21"]));
    insta::assert_snapshot!("data_why_kept", scratch.ok(&["data", "why", "corpus", "--doc", "page-5"]));
    fs::write(scratch.path().join("short.txt"), "only three words").unwrap();
    insta::assert_snapshot!("data_why_text", scratch.ok(&["data", "why", "corpus", "--text", "short.txt"]));
    // The run finds its corpus, wherever it lies.
    assert_eq!(scratch.ok(&["data", "peek", "runs/pages", "--json"]).lines().count(), 3);
    let page = fs::read_to_string(scratch.path().join("corpus/report.html")).unwrap();
    assert!(page.contains("too short") && page.contains("page-21"), "{page}");
}

#[test]
fn the_same_command_does_nothing_twice() {
    let scratch = prepared();
    let before = fs::metadata(scratch.path().join("corpus/manifest.json")).unwrap().modified().unwrap();
    scratch.ok(&["recipe", "pages.rhai"]);
    let modified = || fs::metadata(scratch.path().join("corpus/manifest.json")).unwrap().modified().unwrap();
    assert_eq!(modified(), before);
    // Another plan does not write over a corpus unless it is told to.
    let ended = scratch.run(&["recipe", "pages.rhai", "--set", "prepare.seed=5"]);
    assert!(ended.code == Some(1) && ended.err.contains("holds another corpus"), "{}", ended.err);
    fs::write(scratch.path().join("corpus/mine.txt"), "stays").unwrap();
    scratch.ok(&["recipe", "pages.rhai", "--set", "prepare.seed=5", "--fresh"]);
    assert!(modified() > before && scratch.path().join("corpus/mine.txt").exists());
    // A corpus that is gone is made again.
    fs::remove_dir_all(scratch.path().join("corpus")).unwrap();
    scratch.ok(&["recipe", "pages.rhai", "--set", "prepare.seed=5"]);
    assert!(scratch.path().join("corpus/manifest.json").exists());
}

#[test]
fn what_is_no_corpus_and_who_is_nobody_are_told() {
    let scratch = prepared();
    insta::assert_snapshot!("data_no_corpus", failure(&scratch, &["data", "stats", "nowhere"]));
    insta::assert_snapshot!("data_nobody", failure(&scratch, &["data", "why", "corpus", "--doc", "nobody"]));
}

#[test]
fn prepare_en_runs_on_the_novels_beside_it() {
    let scratch = Scratch::new();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/prepare_en.rhai");
    scratch.ok(&["recipe", recipe, "--set", "out=novels"]);
    let stats = scratch.ok(&["data", "stats", "novels", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let names: Vec<&str> = report["filters"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["normalize", "english", "gopher_repetition", "gopher_quality", "c4", "fineweb", "exact", "minhash"]
    );
    assert!(report["train"]["documents"].as_u64().unwrap() > 100, "{}", report["train"]);
}

#[test]
fn benches_of_the_data_half_print_their_figures() {
    let scratch = Scratch::new();
    let novels = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/corpus/classics.jsonl.zst");
    for verb in ["minhash", "filters", "language", "prepare"] {
        let line = scratch.ok(&["bench", verb, "--input", novels, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        for field in ["megabytes", "cpu_seconds", "wall_seconds", "peak_rss_mb"] {
            assert!(report[field].is_number(), "{verb}: {line}");
        }
    }
}

#[test]
fn a_prepared_corpus_is_a_source_like_any_other() {
    let scratch = Scratch::new();
    let page = |n: usize| format!("{{\"text\": \"page number {n} of the book\", \"lang\": \"en\", \"n\": {n}}}\n");
    fs::write(scratch.path().join("in.jsonl"), (0..20).map(page).collect::<String>()).unwrap();
    scratch.write("one.rhai", r#"pipeline("one").prepare(source::jsonl("in.jsonl"), #{ out: "one", validation: 0 })"#);
    scratch.write(
        "two.rhai",
        r#"let text = source::parquet("one/train/*.parquet") | filter::rhai(|doc| doc.meta.n >= 15);
           pipeline("two").prepare(text, #{ out: "two", validation: 0 })"#,
    );
    scratch.ok(&["recipe", "one.rhai"]);
    scratch.ok(&["recipe", "two.rhai"]);
    let lines = scratch.ok(&["data", "peek", "two", "-n", "9", "--json"]);
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.contains(r#"\"lang\":\"en\""#), "{lines}");
}
