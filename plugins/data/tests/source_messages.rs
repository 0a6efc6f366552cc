//! What users read when input cannot be used: each error with its hint, and each warning and note.

use std::fs;
use std::path::Path;

use psann_core::{Result, registry};
use psann_plugins_data as _;
use serde_json::{Value, json};

fn fixture(name: &str) -> String {
    psann_golden::set_directory("data").join("broken/files").join(name).display().to_string()
}

/// Reads all there is; returns the warnings.
fn read(source: &str, options: &Value) -> Result<Vec<String>> {
    let source = registry::source(source, options)?;
    let mut warnings = Vec::new();
    for partition in source.partitions()? {
        let mut reader = source.open(&partition, None)?;
        while reader.next_batch()?.is_some() {}
        warnings.extend(reader.warnings());
    }
    Ok(warnings)
}

/// The error with its hint, without the folders of this machine.
fn error(folder: &Path, source: &str, options: &Value) -> String {
    let error = read(source, options).expect_err("nothing is wrong with the input");
    let hint = error.hint_text().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    format!("error: {error}{hint}\n").replace(&format!("{}/", folder.display()), "")
}

#[test]
fn errors_name_the_place_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut shown = String::new();
    let lines: [(&str, &[u8]); 10] = [
        ("cut.jsonl", b"{\"text\":\"fine\"}\n{\"text\":\"cut"),
        ("two.jsonl", b"{\"text\":\"a\"} {\"text\":\"b\"}\n"),
        ("list.jsonl", b"[1]\n"),
        ("body.jsonl", b"{\"body\":\"a\",\"id\":1}\n"),
        ("nothing.jsonl", b"{}\n"),
        ("null.jsonl", b"\n{\"text\":null}\n"),
        ("latin1.jsonl", b"{\"text\":\"caf\xe9\"}\n"),
        ("utf16.jsonl", b"\xff\xfe{\0"),
        ("junk.jsonl.gz", b"\x00\x01junk"),
        ("long.jsonl", b"{\"text\":\"0123456789012345678901234567890123456789\"}\n"),
    ];
    for (name, bytes) in lines {
        fs::write(path(name), bytes).unwrap();
        shown += &error(folder.path(), "jsonl", &json!({ "path": path(name), "max_document": 40 }));
    }
    let fixtures = psann_golden::set_directory("data").join("broken/files");
    let files = [
        ("jsonl", "truncated_60.jsonl.gz"),
        ("jsonl", "bad_crc.jsonl.gz"),
        ("jsonl", "trailing_garbage.jsonl.gz"),
        ("jsonl", "bad_checksum.jsonl.zst"),
        ("text", "truncated_60.jsonl.gz"),
        ("parquet", "zero_bytes.parquet"),
        ("parquet", "not_parquet.parquet"),
        ("parquet", "no_text_column.parquet"),
        ("parquet", "text_is_int.parquet"),
        ("parquet", "null_texts.parquet"),
        ("parquet", "bitflip.parquet"),
        ("arrow", "not_arrow.arrows"),
        ("arrow", "truncated.arrows"),
    ];
    for (source, name) in files {
        shown += &error(&fixtures, source, &json!({ "path": fixture(name) }));
    }
    let others = [
        ("text", json!({})),
        ("text", json!({ "path": path("missing.txt") })),
        ("text", json!({ "path": path("*.md") })),
        ("text", json!({ "path": folder.path() })),
        ("text", json!({ "path": "a", "manifest": "b" })),
        ("text", json!({ "path": "a", "max_document": "1TB" })),
        ("jsonl", json!({ "command": ["no-such-program"] })),
        ("jsonl", json!({ "command": ["sh", "-c", "echo '{\"text\":\"a\"}'; echo 'disk full' >&2; exit 2"] })),
        ("parquet", json!({ "path": "-" })),
    ];
    for (source, options) in others {
        shown += &error(folder.path(), source, &options).replace(&folder.path().display().to_string(), "FOLDER");
    }
    insta::assert_snapshot!("errors", shown);
}

#[test]
fn warnings_name_the_files_that_were_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["truncated_60.jsonl.gz", "empty.jsonl", "bad_line_array.jsonl"].map(fixture);
    let missing = folder.path().join("missing.jsonl").display().to_string();
    let mut shown = String::new();
    for path in paths.into_iter().chain([missing]) {
        for warning in read("jsonl", &json!({ "path": path, "on_error": "skip" })).unwrap() {
            shown += &format!("warning: {warning}\n");
        }
    }
    let source = registry::source("jsonl", &json!({ "command": ["zcat", "a.gz"] })).unwrap();
    shown += &source.notes().unwrap().iter().map(|note| format!("note: {note}\n")).collect::<String>();
    let shown = shown.replace(&fixture(""), "").replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!("warnings", shown);
}
