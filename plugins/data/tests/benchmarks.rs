//! Readers of the public benchmarks: the same items whatever the file, and errors that say what was expected where.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_plugins_data::benchmarks::{Benchmark, Content, Documents, Wanted, documents, find};
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

/// The rows of a split, for evaluation.
fn rows(path: &Path, set: &str, split: &str) -> Result<Documents> {
    let variant = (set == "winogrande").then_some("winogrande_xl");
    let wanted = Wanted { set, variant, split, asked: split != "train", expects: "data set `own`, column `x`" };
    documents(&[path.to_owned()], &wanted)
}

#[test]
fn evaluation_reads_the_rows_that_decontamination_looks_for() {
    for benchmark in read(&[evals()], &["hellaswag", "lambada_openai", "piqa", "winogrande"]).unwrap() {
        let found = rows(&evals(), &benchmark.set, &benchmark.split).unwrap();
        assert_eq!((found.rows.len(), &found.digest), (benchmark.items.len(), &benchmark.digest), "{}", benchmark.set);
        for (row, item) in found.rows.iter().zip(&benchmark.items) {
            let text = |name: &str| row.fields[name].as_str().unwrap_or_default();
            match &item.content {
                Content::Passage { text: passage } => assert_eq!(passage, text("text")),
                Content::Endings { context, .. } => assert_eq!(context, text("ctx")),
                Content::Solutions { goal, .. } => assert_eq!(goal, text("goal")),
                Content::Gap { sentence, .. } => assert_eq!(sentence, text("sentence")),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn rows_keep_the_order_of_their_columns() {
    let folder = written("hellaswag/train.jsonl", "{\"z\": 1, \"a\": \"x\", \"label\": \"3\"}\n\n{\"b\": 1.5}\n");
    let found = rows(folder.path(), "hellaswag", "train").unwrap();
    let columns: Vec<&str> = found.rows[0].fields.keys().map(String::as_str).collect();
    assert_eq!(columns, ["z", "a", "label"]);
    assert_eq!((found.rows[1].line, found.rows[1].file()), (3, found.files[0].as_path()));
}

#[test]
fn labels_of_a_file_of_their_own_become_a_column() {
    let folder = written("piqa/train.jsonl", "{\"goal\": \"a\"}\n{\"goal\": \"b\"}\n");
    fs::write(folder.path().join("piqa/train-labels.lst"), "1\n0\n").unwrap();
    let found = rows(folder.path(), "piqa", "train").unwrap();
    let labels: Vec<i64> = found.rows.iter().map(|row| row.number("label").unwrap()).collect();
    assert_eq!(labels, [1, 0]);
    fs::write(folder.path().join("piqa/train-labels.lst"), "1\n2\n").unwrap();
    let error = rows(folder.path(), "piqa", "train").unwrap_err();
    assert!(message(&error).ends_with("is `2`; a label is 0 or 1"), "{error}");
}

#[test]
fn the_variant_that_is_wanted_comes_before_others() {
    let row = |text: &str| format!("{{\"sentence\": \"{text}\"}}\n");
    let folder = written("winogrande/winogrande_l/train.jsonl", &row("large"));
    for (file, text) in [("winogrande/winogrande_xl/train.jsonl", "xl"), ("winogrande/winogrande_xs/train.jsonl", "xs")]
    {
        fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        fs::write(folder.path().join(file), row(text)).unwrap();
    }
    let found = rows(folder.path(), "winogrande", "train").unwrap();
    assert_eq!((found.files.len(), &found.rows[0].fields["sentence"]), (1, &"xl".into()));
    let release = written("winogrande/train_l.jsonl", &row("large"));
    fs::write(release.path().join("winogrande/train_xl.jsonl"), row("xl")).unwrap();
    assert_eq!(rows(release.path(), "winogrande", "train").unwrap().rows[0].fields["sentence"], "xl");
}

#[test]
fn a_lone_file_is_the_split_that_is_asked() {
    let folder = written("own.jsonl", "{\"question\": \"a\"}\n");
    assert_eq!(rows(folder.path(), "own", "test").unwrap().rows.len(), 1);
    assert!(rows(folder.path(), "own", "train").is_err());
}

#[test]
fn a_split_that_is_not_there_is_named_with_what_is() {
    let folder = written("piqa/valid.jsonl", "{\"goal\": \"a\"}\n");
    let place = folder.path().display().to_string();
    let said = |error: Error| message(&error).replace(&place, "EVALS");
    insta::assert_snapshot!(said(rows(folder.path(), "piqa", "train").unwrap_err()), @"split `train` of `piqa` is not in `EVALS`, where `EVALS/piqa/valid.jsonl` lies; expected `piqa/train.jsonl` or `.parquet` there: data set `own`, column `x`");
    insta::assert_snapshot!(said(rows(folder.path(), "hellaswag", "validation").unwrap_err()), @"split `validation` of `hellaswag` is not in `EVALS`; expected `hellaswag/validation.jsonl` or `.parquet` there: data set `own`, column `x`");
    insta::assert_snapshot!(said(rows(&folder.path().join("no"), "piqa", "train").unwrap_err()), @"there are no benchmarks at `EVALS/no`: it does not exist; `piqa` is expected there: data set `own`, column `x`");
    let empty = written("piqa/train.jsonl", "\n");
    let place = empty.path().display().to_string();
    let error = rows(empty.path(), "piqa", "train").unwrap_err();
    insta::assert_snapshot!(message(&error).replace(&place, "EVALS"), @"split `train` of `piqa` is empty: `EVALS/piqa/train.jsonl` has no row; expected data set `own`, column `x`");
}

#[test]
fn pages_of_wikitext_are_the_articles_of_its_lines() {
    let lines = [" = Kiln = ", " It is hot . ", " = = Use = = ", " Pots . ", " = Mast = ", " It is tall . "];
    let json = |name: &str, text: String| serde_json::json!({ name: text }).to_string() + "\n";
    let by_line: String = lines.iter().map(|line| json("text", format!("{line}\n"))).collect();
    let by_page = json("page", lines[..4].join("\n")) + &json("page", lines[4..].join("\n"));
    let by_line = one(written("wikitext/test.jsonl", &by_line).path(), "wikitext");
    let by_page = one(written("wikitext/test.jsonl", &by_page).path(), "wikitext");
    assert_eq!(by_line.items.len(), 2);
    assert_eq!(by_line.items, by_page.items);
}
