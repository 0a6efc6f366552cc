//! Mixtures hold their shares within sampling error, go on behind any batch, and say what is wrong with their parts.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use psann_core::source::{Partition, ResumeToken};
use psann_core::{DataSource, Document, registry};
use psann_plugins_data as _;
use psann_plugins_data::sources::mix::LEFT_OUT;
use serde_json::{Value, json};

/// Lines of different lengths in as many files as asked for; returns the pattern.
fn corpus(folder: &Path, name: &str, documents: usize, files: usize) -> String {
    let within = folder.join(name);
    fs::create_dir_all(&within).unwrap();
    for file in 0..files {
        let lines: String = (0..documents)
            .filter(|n| n % files == file)
            .map(|n| json!({ "id": format!("{name}-{n}"), "text": "x".repeat(20 + n * 7 % 60) }).to_string() + "\n")
            .collect();
        fs::write(within.join(format!("{file}.jsonl")), lines).unwrap();
    }
    within.join("*.jsonl").display().to_string()
}

fn jsonl(path: &str) -> Value {
    json!({ "plugin": "source/jsonl", "options": { "path": path, "on_error": "skip" } })
}

fn mix(parts: &Value) -> Box<dyn DataSource> {
    registry::source("mix", &json!({ "parts": parts })).unwrap()
}

/// Documents of a batch, and the token behind it.
type Read = (Vec<Document>, ResumeToken);

/// The batches behind `resume`, and what was skipped.
fn batches(
    source: &dyn DataSource,
    piece: &Partition,
    resume: Option<&ResumeToken>,
) -> (Vec<Read>, BTreeMap<String, u64>) {
    let mut reader = source.open(piece, resume).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        assert!(!batch.is_empty());
        found.push(((0..batch.len()).map(|row| batch.document(row)).collect(), reader.position()));
    }
    (found, reader.skipped())
}

fn documents(source: &dyn DataSource) -> (Vec<Document>, BTreeMap<String, u64>) {
    let (mut all, mut counts) = (Vec::new(), BTreeMap::new());
    for piece in source.partitions().unwrap() {
        let (found, skipped) = batches(source, &piece, None);
        all.extend(found.into_iter().flat_map(|(documents, _)| documents));
        for (reason, count) in skipped {
            *counts.entry(reason).or_default() += count;
        }
    }
    (all, counts)
}

/// Bytes of the lines that the documents came from.
fn bytes(documents: &[Document], name: &str) -> f64 {
    let of_name = documents.iter().filter(|document| document.source.as_deref() == Some(name));
    of_name.map(|document| (document.text.len() + document.id.as_deref().unwrap().len() + 22) as f64).sum()
}

#[test]
fn without_weights_everything_is_kept_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (web, books) = (corpus(folder.path(), "web", 30, 2), corpus(folder.path(), "books", 20, 1));
    let mixture = mix(&json!([{ "source": jsonl(&web) }, { "source": jsonl(&books), "name": "library" }]));
    let indices: Vec<usize> = mixture.partitions().unwrap().iter().map(|piece| piece.index).collect();
    assert_eq!(indices, [0, 1, 2]);
    let (all, skipped) = documents(&*mixture);
    assert_eq!((all.len(), skipped.len()), (50, 0));
    assert_eq!(all[0].source.as_deref(), Some("web"));
    assert_eq!((all[49].id.as_deref(), all[49].source.as_deref()), (Some("books-19"), Some("library")));
    assert!(mixture.notes().unwrap().is_empty());
}

#[test]
fn a_source_that_documents_name_themselves_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{\"text\":\"one\",\"source\":\"wiki\"}\n{\"text\":\"two\"}\n").unwrap();
    let path = path.display().to_string();
    let names = |parts: Value| -> Vec<String> {
        documents(&*mix(&parts)).0.into_iter().filter_map(|document| document.source).collect()
    };
    assert_eq!(names(json!([{ "source": jsonl(&path) }])), ["wiki", "a"]);
}

#[test]
fn a_mixture_within_a_mixture_keeps_the_names_and_counts_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| corpus(folder.path(), name, 2000, 1));
    let inner = json!([
        { "source": jsonl(&paths[0]), "weight": 1.0 }, { "source": jsonl(&paths[1]), "weight": 3.0 },
    ]);
    let inner = json!({ "plugin": "source/mix", "options": { "parts": inner } });
    let outer = mix(&json!([{ "source": inner, "weight": 1.0 }, { "source": jsonl(&paths[2]), "weight": 2.0 }]));
    let (all, skipped) = documents(&*outer);
    assert_eq!(all.len() as u64 + skipped[LEFT_OUT], 6000);
    assert!(all.iter().all(|document| document.id.as_deref().unwrap().split('-').next() == document.source.as_deref()));
    let ratio = bytes(&all, "b") / bytes(&all, "a");
    assert!((2.4..3.7).contains(&ratio), "{ratio}");
}

#[test]
fn notes_say_how_much_of_a_part_is_kept_and_the_identity_follows_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (web, books) = (corpus(folder.path(), "web", 400, 1), corpus(folder.path(), "books", 100, 1));
    let of = |weight: f64| {
        mix(&json!([{ "source": jsonl(&web), "weight": 1.0 }, { "source": jsonl(&books), "weight": weight }]))
    };
    let notes = of(1.0).notes().unwrap();
    assert!(
        notes.len() == 1 && notes[0].starts_with("the mixture keeps 25.29% of the ") && notes[0].ends_with("of `web`"),
        "{notes:?}"
    );
    assert_eq!(of(1.0).identity().unwrap(), of(1.0).identity().unwrap());
    assert_ne!(of(1.0).identity().unwrap(), of(2.0).identity().unwrap());
}

#[test]
fn what_is_wrong_with_a_part_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let web = corpus(folder.path(), "web", 10, 1);
    let empty = folder.path().join("empty.jsonl");
    fs::write(&empty, "").unwrap();
    let stdin = json!({ "plugin": "source/jsonl", "options": { "path": ["-", web.as_str()] } });
    let failure = |parts: Value| match registry::source("mix", &json!({ "parts": parts })) {
        Ok(source) => source.partitions().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    for (parts, expected) in [
        (json!([]), "needs parts"),
        (json!([{ "weight": 1.0 }]), "part 1 of the mixture has no `source`"),
        (json!([{ "source": jsonl(&web), "weight": 0.0 }]), "option `parts[0].weight`: must be above 0"),
        (json!([{ "source": jsonl(&web), "weigth": 1.0 }]), "unknown option `parts[0].weigth`"),
        (
            json!([{ "source": { "plugin": "source/jsonl", "options": { "pth": "a" } } }]),
            "unknown option `parts[0].source.options.pth`",
        ),
        (json!([{ "source": jsonl(&web), "weight": 1.0 }, { "source": jsonl(&web) }]), "another has none"),
        (json!([{ "source": stdin, "weight": 1.0 }]), "the size of standard input is unknown"),
        (
            json!([{ "source": jsonl(&empty.display().to_string()), "weight": 1.0 }]),
            "part `empty` of the mixture is empty",
        ),
    ] {
        let failure = failure(parts);
        assert!(failure.contains(expected), "{failure}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn shares_hold_within_sampling_error_and_one_part_is_kept_whole(
        parts in proptest::collection::vec((300_usize..3000, 1_usize..4, 0.05_f64..1.0), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<Value> = parts.iter().enumerate().map(|(index, (count, files, weight))| {
            json!({ "source": jsonl(&corpus(folder.path(), &format!("p{index}"), *count, *files)), "weight": weight })
        }).collect();
        let (all, skipped) = documents(&*mix(&json!(options)));
        let total: usize = parts.iter().map(|(count, ..)| count).sum();
        prop_assert_eq!(all.len() as u64 + skipped.get(LEFT_OUT).copied().unwrap_or(0), total as u64);
        let of = |index: usize| all.iter().filter(|d| d.source.as_deref() == Some(&format!("p{index}"))).count();
        prop_assert!(parts.iter().enumerate().any(|(index, (count, ..))| of(index) == *count));
        let weights: f64 = parts.iter().map(|(.., weight)| weight).sum();
        let kept: f64 = (0..parts.len()).map(|index| bytes(&all, &format!("p{index}"))).sum();
        for (index, (.., weight)) in parts.iter().enumerate() {
            let (share, wanted) = (bytes(&all, &format!("p{index}")) / kept, weight / weights);
            // Five standard deviations of a count, and a little for lines of different lengths.
            let tolerance = 5.5 * wanted / (of(index).max(1) as f64).sqrt() + 0.005;
            prop_assert!((share - wanted).abs() < tolerance, "part {}: {} instead of {}", index, share, wanted);
        }
    }

    #[test]
    fn reading_goes_on_behind_any_batch(weight in 0.02_f64..1.0, broken in 2_usize..9) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.jsonl");
        let line = |n: usize| if n.is_multiple_of(broken) { "broken\n".into() } else { format!("{{\"text\":\"{n}\"}}\n") };
        fs::write(&path, (0..9000).map(line).collect::<String>()).unwrap();
        let web = jsonl(&path.display().to_string());
        let other = corpus(folder.path(), "other", 2500, 1);
        let mixture = mix(&json!([{ "source": web, "weight": weight }, { "source": jsonl(&other), "weight": 1.0 }]));
        for piece in mixture.partitions().unwrap() {
            let (all, _) = batches(&*mixture, &piece, None);
            for (index, (_, token)) in all.iter().enumerate() {
                prop_assert_eq!(&batches(&*mixture, &piece, Some(token)).0, &all[index + 1..]);
            }
        }
    }
}
