//! Bad input: one clear error with the place and the way out, the right exit code, nothing published.

use std::fs;

use super::support::{Ended, Scratch, TINY};

/// Runs the tiny recipe with one change; it must fail.
fn fails(scratch: &Scratch, from: &str, to: &str) -> Ended {
    assert!(TINY.contains(from), "{from}");
    scratch.write("tiny.rhai", &TINY.replace(from, to));
    let ended = scratch.run(&["recipe", "tiny.rhai"]);
    assert_ne!(ended.code, Some(0), "{}", ended.out);
    ended
}

fn says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.err);
    for part in parts {
        assert!(ended.err.contains(part), "`{part}` is missing from:\n{}", ended.err);
    }
}

#[test]
fn a_missing_file() {
    let ended = fails(&Scratch::with_tiny_recipe(), "prose.jsonl", "prosa.jsonl");
    says(&ended, 1, &["prosa.jsonl", "hint:"]);
}

#[test]
fn a_missing_file_in_a_manifest_names_the_line() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.write("shards.txt", "prose.jsonl\nmissing.jsonl\n");
    let ended = fails(&scratch, r#"source::jsonl("prose.jsonl")"#, r#"source::jsonl(#{ manifest: "shards.txt" })"#);
    says(&ended, 1, &["missing.jsonl", "shards.txt", "2"]);
}

#[test]
fn invalid_utf8_names_file_and_place() {
    let scratch = Scratch::with_tiny_recipe();
    fs::write(scratch.path().join("prose.txt"), b"good line\nbad \xff line\n").unwrap();
    let ended = fails(&scratch, r#"source::jsonl("prose.jsonl")"#, r#"source::text("prose.txt")"#);
    says(&ended, 1, &["prose.txt", "UTF-8", "hint:"]);
    assert!(!scratch.stage("tiny", "prepare").join("stage.json").exists());
}

#[test]
fn broken_json_names_file_and_line() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.write("prose.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
    let ended = fails(&scratch, "steps\", 12", "steps\", 12");
    says(&ended, 1, &["prose.jsonl", "2"]);
}

#[test]
fn an_empty_corpus() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.write("prose.jsonl", "");
    let ended = fails(&scratch, "steps\", 12", "steps\", 12");
    says(&ended, 1, &["no document", "hint:"]);
}

#[test]
fn a_tokenizer_without_an_end_of_document() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai", "--set", "name=first"]);
    let trained = fs::read_to_string(scratch.stage("first", "tokenizer").join("tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&trained).unwrap();
    tokenizer["added_tokens"] = serde_json::json!([]);
    scratch.write("tok/tokenizer.json", &tokenizer.to_string().replace("<|eos|>", "<|other|>"));
    let ended = fails(&scratch, "tokenizer::train_bpe(#{ vocab: 300 })", r#"tokenizer::load("tok")"#);
    says(&ended, 1, &["end", "hint:"]);
}

#[test]
fn a_vocabulary_smaller_than_the_tokenizers() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai", "--set", "name=first"]);
    let tokenizer = scratch.stage("first", "tokenizer");
    fs::create_dir(scratch.path().join("tok")).unwrap();
    fs::copy(tokenizer.join("tokenizer.json"), scratch.path().join("tok/tokenizer.json")).unwrap();
    scratch.write("tiny.rhai", TINY);
    let ended = scratch.run(&["recipe", "tiny.rhai", "--set", "pretrain.model.vocab=100"]);
    says(&ended, 2, &["100", "300", "hint:"]);
}

#[test]
fn an_unknown_option_is_shown_in_the_recipe_with_a_suggestion() {
    let scratch = Scratch::with_tiny_recipe();
    let ended = fails(&scratch, "seq_len: 32", "seq_lenn: 32");
    says(&ended, 2, &["seq_lenn", "pretrain", "did you mean `seq_len`?", "tiny.rhai:13"]);
    assert!(!scratch.path().join("runs").exists());
}

#[test]
fn every_wrong_option_is_reported_at_once() {
    let ended =
        fails(&Scratch::with_tiny_recipe(), "seq_len: 32,\n        batch: 4", "seq_len: \"long\",\n        bach: 4");
    says(&ended, 2, &["seq_len", "bach", "did you mean `batch`?"]);
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let ended = fails(&Scratch::with_tiny_recipe(), "let tok  =", "let tok  ==");
    says(&ended, 2, &["tiny.rhai:6:"]);
}

#[test]
fn an_unknown_function_has_line_and_suggestion() {
    let ended = fails(&Scratch::with_tiny_recipe(), "source::jsonl", "source::jsnl");
    says(&ended, 2, &["tiny.rhai:5:", "did you mean `jsonl`?"]);
}

#[test]
fn a_parameter_of_the_wrong_type_or_name() {
    let scratch = Scratch::with_tiny_recipe();
    says(&scratch.run(&["recipe", "tiny.rhai", "--set", "steps=many"]), 2, &["steps", "many"]);
    says(&scratch.run(&["recipe", "tiny.rhai", "--set", "step=5"]), 2, &["step", "did you mean `steps`?"]);
    says(
        &scratch.run(&["recipe", "tiny.rhai", "--set", "pretrain.optimizer.lrr=5"]),
        2,
        &["lrr", "pretrain.optimizer.lr"],
    );
}

#[test]
fn a_recipe_that_is_not_there() {
    says(&Scratch::new().run(&["recipe", "nothing.rhai"]), 2, &["nothing.rhai"]);
}

#[test]
fn generating_from_something_that_is_no_run() {
    let ended = Scratch::new().run(&["generate", "nowhere", "--prompt", "x"]);
    says(&ended, 2, &["nowhere", "hint:"]);
}
