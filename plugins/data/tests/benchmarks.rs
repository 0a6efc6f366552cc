//! Readers of the public benchmarks: the same items whatever the file, and errors that say what was expected where.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_plugins_data::benchmarks::{Benchmark, Content, find};
use tempfile::TempDir;

/// The files of this checkout: what is tested of them is what stands in them.
fn evals() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data/decontaminate/eval")
}

fn read(paths: &[PathBuf], sets: &[&str]) -> Result<Vec<Benchmark>> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    find(paths, &sets)?.iter().map(psann_plugins_data::benchmarks::Found::read).collect()
}

fn one(path: &Path, set: &str) -> Benchmark {
    read(&[path.to_owned()], &[set]).unwrap().remove(0)
}

/// A folder with `file` of the fixture as `name`.
fn copy(file: &str, name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(evals().join(file), to).unwrap();
    folder
}

fn written(name: &str, text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, text).unwrap();
    folder
}

fn message(error: &Error) -> String {
    format!("{error}; {}", error.hint_text().unwrap_or_default())
}

#[test]
fn all_sets_of_a_folder_are_found() {
    let found = read(&[evals()], &[]).unwrap();
    let summary: Vec<_> = found.iter().map(|one| (one.set.as_str(), one.split.as_str(), one.items.len())).collect();
    assert_eq!(
        summary,
        [
            ("hellaswag", "validation", 9),
            ("lambada", "test", 8),
            ("lambada_openai", "test", 8),
            ("piqa", "validation", 10),
            ("wikitext", "test", 4),
            ("winogrande", "validation", 10),
        ]
    );
}

#[test]
fn fields_have_names() {
    let first = |set: &str| one(&evals(), set).items.remove(0);
    let hellaswag = first("hellaswag");
    assert_eq!(hellaswag.id, "hellaswag-0");
    let Content::Endings { activity, context_b, endings, gold, .. } = hellaswag.content else { panic!() };
    assert_eq!((activity.as_str(), context_b.as_str(), endings.len(), gold), ("Fixing a bicycle", "he", 4, Some(0)));
    let Content::Solutions { goal, gold, .. } = one(&evals(), "piqa").items.remove(1).content else { panic!() };
    assert!(goal.starts_with("To stop a wooden drawer"));
    assert_eq!(gold, Some(1), "from valid-labels.lst");
    let winogrande = first("winogrande");
    assert_eq!(winogrande.id, "winogrande-0a");
    let Content::Gap { options, gold, .. } = winogrande.content else { panic!() };
    assert_eq!((options, gold), (vec!["the baker".to_owned(), "the apprentice".to_owned()], Some(1)));
    let Content::Article { title, paragraphs } = first("wikitext").content else { panic!() };
    assert_eq!((title.as_str(), paragraphs.len()), ("Tarrow Point Light", 2));
}

#[test]
fn every_format_gives_the_same_items() {
    for (file, name) in [
        ("wikitext/test.parquet", "wikitext-2-raw-v1/test-00000-of-00001.parquet"),
        ("wikitext/wiki.test.raw", "wikitext2/wiki.test.raw"),
        ("wikitext/wiki.test.raw", "wiki.test.raw"),
        ("wikitext/test.jsonl", "Wikitext/deep/er/wiki.test.jsonl"),
    ] {
        assert_eq!(one(copy(file, name).path(), "wikitext").items, one(&evals(), "wikitext").items, "{file}");
    }
    let folder = copy("winogrande/dev.parquet", "winogrande/winogrande_xl/validation.parquet");
    let (parquet, json) = (one(folder.path(), "winogrande").items, one(&evals(), "winogrande").items);
    assert_eq!(parquet.len(), json.len());
    for (parquet, json) in parquet.iter().zip(&json) {
        assert_eq!(parquet.content, json.content);
    }
    let folder = copy("lambada/test.jsonl", "lambada.jsonl");
    assert_eq!(one(folder.path(), "lambada").items, one(&evals(), "lambada").items);
    let folder = copy("hellaswag/validation.jsonl", "hellaswag/hellaswag_val.jsonl");
    assert_eq!(one(&folder.path().join("hellaswag"), "hellaswag").items, one(&evals(), "hellaswag").items);
}

#[test]
fn parts_of_a_split_are_read_in_order_and_other_splits_left_out() {
    let folder = TempDir::new().unwrap();
    let set = folder.path().join("lambada_openai/data");
    fs::create_dir_all(&set).unwrap();
    for (name, text) in [
        ("test-00001-of-00002.jsonl", "second"),
        ("test-00000-of-00002.jsonl", "first"),
        ("train-00000-of-00001.jsonl", "never"),
    ] {
        fs::write(set.join(name), format!("{{\"text\": \"{text}\"}}\n")).unwrap();
    }
    let items = one(folder.path(), "lambada_openai").items;
    let texts: Vec<_> = items.iter().map(|item| item.content.clone()).collect();
    assert_eq!(texts, ["first", "second"].map(|text| Content::Passage { text: text.into() }));
    assert_eq!(items[1].id, "lambada_openai-1");
}

#[test]
fn a_second_split_has_ids_of_its_own() {
    let folder = copy("wikitext/test.jsonl", "wikitext/test.jsonl");
    fs::copy(evals().join("wikitext/test.parquet"), folder.path().join("wikitext/validation.parquet")).unwrap();
    let found = read(&[folder.path().to_owned()], &[]).unwrap();
    let first: Vec<_> = found.iter().map(|one| one.items[0].id.as_str()).collect();
    assert_eq!(first, ["wikitext-0", "wikitext/validation-0"]);
}

#[test]
fn files_of_users_have_questions_answers_passages_and_texts() {
    let folder = written(
        "exam.jsonl",
        "{\"id\": \"a\", \"question\": \"Who?\", \"answer\": [\"I\", \"you\"]}\n\n{\"passage\": \"p\", \"text\": null}\n",
    );
    let exam = one(folder.path(), "exam");
    assert_eq!((exam.split.as_str(), exam.items[0].id.as_str(), exam.items[1].id.as_str()), ("all", "a", "exam-1"));
    let Content::Question { answers, .. } = &exam.items[0].content else { panic!() };
    assert_eq!(answers, &["I", "you"]);
}

#[test]
fn an_id_that_is_there_twice_names_one_item() {
    let folder = written("exam.jsonl", &"{\"id\": \"a\", \"text\": \"t\"}\n".repeat(2));
    let ids: Vec<_> = one(folder.path(), "exam").items.into_iter().map(|item| item.id).collect();
    assert_eq!(ids, ["a", "exam-1"]);
}

#[test]
fn errors_say_what_was_expected_and_where() {
    let error = |paths: &Path, sets: &[&str]| message(&read(&[paths.to_owned()], sets).unwrap_err());
    let missing = error(Path::new("/nowhere/evals"), &[]);
    assert!(missing.contains("`/nowhere/evals`") && missing.contains("sub-folder"), "{missing}");
    let folder = TempDir::new().unwrap();
    assert!(error(folder.path(), &[]).contains("there are no benchmarks in"));
    let missing = error(&evals(), &["lambada", "mmlu"]);
    assert!(missing.contains("`mmlu`") && missing.contains("eval`"), "{missing}");
    let folder = copy("hellaswag/validation.jsonl", "hellaswag/train.jsonl");
    let missing = error(folder.path(), &[]);
    assert!(missing.contains("split `validation`") && missing.contains("`endings`"), "{missing}");
}

#[test]
fn broken_rows_name_file_and_line() {
    let error = |name: &str, text: &str| {
        let folder = written(name, text);
        message(&read(&[folder.path().to_owned()], &[]).unwrap_err())
    };
    let said = error("lambada/test.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n");
    assert!(said.contains("line 2 of `") && said.contains("a number as `text`"), "{said}");
    let said = error("piqa/valid.jsonl", "{\"goal\": \"a\", \"sol1\": \"b\"}\n");
    assert!(said.contains("line 1 of `") && said.contains("has no `sol2`"), "{said}");
    let said = error("winogrande/dev.jsonl", "{\"sentence\": \"a\", \"option1\": \"b\", \"option2\": \"c\"}\n");
    assert!(said.contains("without the gap"), "{said}");
    let said = error("lambada/test.jsonl", "{\"text\": \"a\"}\n{\"text\": \n");
    assert!(said.contains("line 2 of `") && said.contains("no JSON object"), "{said}");
    let said = error("lambada/test.jsonl", "\n");
    assert!(said.contains("has no item of `lambada`"), "{said}");
    let said = error("lambada/test.parquet", "no parquet");
    assert!(said.contains("not a readable Parquet file"), "{said}");
    let said = error("mine.jsonl", "{\"words\": 1}\n");
    assert!(said.contains("`question`, `answer`, `passage` or `text`"), "{said}");
}
