//! Broken input under both policies, against the outcomes that `tests/fixtures/data/broken/expected.json` asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use psann_core::source::{DAMAGED_FILE, EMPTY_FILE, REPLACED_UTF8};
use psann_core::{Error, Result, registry};
use psann_golden::rows;
use psann_plugins_data as _;
use serde_json::{Value, json};

const SET: &str = "data";
const FILE: &str = "broken/expected.json";

/// What reading a source to its end gives.
#[derive(Debug, Default)]
struct Read {
    texts: Vec<String>,
    skipped: BTreeMap<String, u64>,
    warnings: Vec<String>,
}

impl Read {
    fn count(&self, key: &str) -> u64 {
        self.skipped.get(key).copied().unwrap_or_default()
    }

    /// Records left out, whatever the reason.
    fn records(&self) -> u64 {
        let other = [DAMAGED_FILE, EMPTY_FILE, REPLACED_UTF8];
        self.skipped.iter().filter(|(key, _)| !other.contains(&key.as_str())).map(|(_, count)| count).sum()
    }
}

/// Reads `path` with the source that its name asks for.
fn read(path: &str, policy: &str, more: &Value) -> Result<Read> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (source, mut options) = match name {
        name if name.contains(".jsonl") => ("jsonl", json!({})),
        name if name.contains(".parquet") => ("parquet", json!({})),
        name if name.contains(".arrow") => ("arrow", json!({})),
        _ => ("text", json!({ "documents": "line" })),
    };
    options["path"] = json!(path);
    options["on_error"] = json!(policy);
    for (key, value) in more.as_object().into_iter().flatten() {
        options[key] = value.clone();
    }
    read_all(source, &options)
}

fn read_all(source: &str, options: &Value) -> Result<Read> {
    let source = registry::source(source, options)?;
    source.identity()?;
    source.notes()?;
    let mut found = Read::default();
    for partition in source.partitions()? {
        let mut reader = source.open(&partition, None)?;
        while let Some(batch) = reader.next_batch()? {
            found.texts.extend(batch.texts().map(str::to_owned));
        }
        for (reason, count) in reader.skipped() {
            *found.skipped.entry(reason).or_default() += count;
        }
        found.warnings.extend(reader.warnings());
    }
    Ok(found)
}

fn fixture(name: &str) -> PathBuf {
    psann_golden::set_directory(SET).join("broken/files").join(name)
}

/// Everything a user sees of an error.
fn shown(error: &Error) -> String {
    format!("{error}\nhint: {}", error.hint_text().unwrap_or_default())
}

/// The documents that the files were made from, in order.
fn originals() -> Vec<String> {
    let text = |row: Value| row["text"].as_str().map(str::to_owned);
    rows::lines(SET, "broken/documents.jsonl.gz").into_iter().filter_map(text).collect()
}

#[test]
fn golden_data_broken() {
    let expected = rows::value(SET, FILE);
    let originals = originals();
    assert_eq!(Some(originals.len() as u64), expected["documents_in_every_good_file"].as_u64());
    let scratch = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let cases = expected["cases"].as_array().unwrap();
    for case in cases {
        let Some(path) = path_of(case, scratch.path()) else { continue };
        for (policy, outcome) in [("fail", &case["on_error_fail"]), ("skip", &case["on_error_skip"])] {
            let result = read(&path, policy, &json!({}));
            let checked = match &result {
                Err(error) => check_error(&path, outcome, error),
                Ok(read) => check_read(case, outcome, read, policy, &originals),
            };
            if let Err(what) = checked {
                let result = result.map(|read| (read.texts.len(), read.skipped)).map_err(|e| shown(&e));
                wrong.push(format!("{path} ({policy}): {what}\n  got {result:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The path of a case; cases without a file are made. `None` where this machine cannot make it.
fn path_of(case: &Value, scratch: &Path) -> Option<String> {
    if let Some(file) = case["file"].as_str() {
        return Some(fixture(file).display().to_string());
    }
    let path = match case["make"].as_str()? {
        "a path that does not exist" => scratch.join("missing.jsonl"),
        "a directory where a file is named" => {
            let path = scratch.join("folder.jsonl");
            std::fs::create_dir_all(&path).ok()?;
            path
        }
        "a glob that matches nothing" => scratch.join("nothing*.jsonl"),
        "a file without read permission (not as root)" => unreadable(&scratch.join("secret.jsonl"))?,
        // `a_line_above_the_limit_is_never_held` stands for the line of 1 GB.
        _ => return None,
    };
    Some(path.display().to_string())
}

#[cfg(unix)]
fn unreadable(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, "{\"text\":\"a\"}\n").ok()?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).ok()?;
    // Root reads everything.
    std::fs::File::open(path).is_err().then(|| path.to_owned())
}

#[cfg(not(unix))]
fn unreadable(_: &Path) -> Option<PathBuf> {
    None
}

fn ensure(right: bool, what: impl Into<String>) -> Result<(), String> {
    if right { Ok(()) } else { Err(what.into()) }
}

/// The ways that a free outcome may go.
fn ways(outcome: &Value) -> Vec<&str> {
    outcome["either"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn check_read(case: &Value, outcome: &Value, read: &Read, policy: &str, originals: &[String]) -> Result<(), String> {
    let (texts, documents) = (&read.texts, read.texts.len() as u64);
    ensure(outcome["error"] != true, "an error was expected")?;
    let ways = ways(outcome);
    let way = ways.iter().find(|way| way.split(' ').next() == Some(documents.to_string().as_str()));
    ensure(ways.is_empty() || way.is_some(), "another number of documents")?;
    let warns = way.is_some_and(|way| way.contains("warning"));
    ensure(!warns || !read.warnings.is_empty(), "no warning")?;
    let same = |field: &str, found: u64| {
        let right = outcome[field].as_u64().is_none_or(|expected| expected == found);
        ensure(right, format!("{field}: {found}"))
    };
    same("documents", documents)?;
    same("skipped_records", read.records())?;
    same("broken_files", read.count(DAMAGED_FILE))?;
    same("repaired_or_skipped", read.records() + read.count(REPLACED_UTF8))?;
    if let Some([low, high]) = outcome["documents_in"].as_array().map(Vec::as_slice) {
        let range = low.as_u64().unwrap_or(0)..=high.as_u64().unwrap_or(u64::MAX);
        ensure(range.contains(&documents), "the number of documents is out of range")?;
    }
    ensure(outcome["documents_at_most"].as_u64().is_none_or(|most| documents <= most), "too many documents")?;
    if outcome["documents_are_a_prefix"] == true {
        ensure(originals.starts_with(texts), "the documents are no prefix")?;
    }
    if outcome["warns"] == true {
        ensure(read.count(EMPTY_FILE) == 1 && read.warnings.len() == 1, "the empty file went unnoticed")?;
    }
    if outcome["warns_everything_dropped"] == true {
        ensure(documents == 0 && read.records() > 0, "nobody can tell that everything was dropped")?;
    }
    if let Some(expected) = case["texts"].as_array() {
        ensure(texts.iter().map(String::as_str).eq(expected.iter().filter_map(Value::as_str)), "other texts")?;
    }
    ensure(policy == "skip" || read.records() == 0, "records were skipped without leave")?;
    let counted = read.count(DAMAGED_FILE) + read.count(EMPTY_FILE);
    ensure(counted == read.warnings.len() as u64, "a file is counted but not named")
}

fn check_error(path: &str, outcome: &Value, error: &Error) -> Result<(), String> {
    let ways = ways(outcome);
    let may_fail = outcome["error"] == true || ways.iter().any(|way| way.starts_with("error"));
    ensure(may_fail, "no error was expected")?;
    let (text, path) = (shown(error).to_lowercase(), path.to_lowercase());
    ensure(text.contains(&path), "the file is not named")?;
    let named_line = ways.iter().find_map(|way| way.rsplit_once("line ")?.1.parse().ok());
    if let Some(line) = outcome["line"].as_u64().or(named_line) {
        ensure(text.contains(&format!("{path}:{line}:")), format!("line {line} is not named"))?;
    }
    let words: Vec<&str> = outcome["says_any_of"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure(words.is_empty() || words.iter().any(|word| text.contains(word)), format!("none of {words:?} is said"))?;
    ensure(error.hint_text().is_some(), "there is no hint")
}

#[test]
fn good_files_hold_the_documents_they_were_made_from() {
    let lines = ["good.jsonl", "multi_member.jsonl.gz", "multi_frame.jsonl.zst", "crlf.jsonl", "bom.jsonl"];
    let tables = ["good.parquet", "large_string.parquet", "dictionary.parquet", "zstd.parquet", "good.arrows"];
    for name in lines.into_iter().chain(tables) {
        let read = read(&fixture(name).display().to_string(), "fail", &json!({})).unwrap();
        assert!(read.texts == originals(), "{name}");
        assert!(read.skipped.is_empty() && read.warnings.is_empty(), "{name}");
    }
}

#[test]
fn a_line_above_the_limit_is_never_held() {
    let path = fixture("huge_line.jsonl.gz").display().to_string();
    let limit = json!({ "max_document": "1MB" });
    let error = read(&path, "fail", &limit).unwrap_err();
    assert!(error.to_string().contains(".gz:5: the line is longer than the limit"), "{error}");
    let read = read(&path, "skip", &limit).unwrap();
    assert_eq!((read.texts.len(), read.records()), (40, 1));
}
