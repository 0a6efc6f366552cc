//! The rows of one split as they stand in its file, for evaluation.
//!
//! Evaluation asks about whole rows, in the order of their columns (its hashes are of them), and takes examples from other
//! splits than it asks. Which columns a row needs is the task's business; here a split is found and read.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde_json::Value;

use super::locate::{choose, collect, list, name, split_of};
use super::{Layout, Row, Table, is_table, label_lines};

/// How deep below the folder of a set its files may lie.
const DEPTH: usize = 3;

/// Which split is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Name of the set: `hellaswag`, or a user's.
    pub set: &'a str,
    /// Which of several variants, as `winogrande_xl`; its files are taken before others.
    pub variant: Option<&'a str>,
    /// Which split.
    pub split: &'a str,
    /// Whether it is the split that is asked: a lone file that names no split is it.
    pub asked: bool,
    /// The data set and its columns in words, for error messages.
    pub expects: &'a str,
}

/// A split, read.
#[derive(Debug)]
pub struct Documents {
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// Hash of their bytes.
    pub digest: String,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// Reads a split of a set at `paths`: folders with one sub-folder or file per set, the folder of one set, or files.
///
/// # Errors
/// When it is not there: the message says what was expected, where was looked and what lies there instead. When a file
/// cannot be read: the message names it, and the line.
pub fn documents(paths: &[PathBuf], wanted: &Wanted<'_>) -> Result<Documents> {
    let mut tables = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(Error::usage(format!("there are no benchmarks at `{}`: it does not exist", path.display()))
                .hint(format!("`{}` is expected there: {}", wanted.set, wanted.expects)));
        }
        for place in places(path, wanted.set)? {
            if place.is_dir() {
                collect(&place, DEPTH, &mut tables)?;
            } else {
                tables.push(place);
            }
        }
    }
    let of_split = |table: &&PathBuf| split_of(table) == Some(wanted.split) || has_word(table, wanted.split);
    let mut files: Vec<PathBuf> = tables.iter().filter(of_split).cloned().collect();
    if files.is_empty() && wanted.asked && tables.len() == 1 && split_of(&tables[0]).is_none() {
        files.clone_from(&tables);
    }
    if let Some(variant) = wanted.variant {
        let short = variant.rsplit('_').next().unwrap_or(variant);
        let of_variant = |file: &&PathBuf| {
            file.components().any(|part| part.as_os_str().eq_ignore_ascii_case(variant)) || has_word(file, short)
        };
        let kept: Vec<PathBuf> = files.iter().filter(of_variant).cloned().collect();
        if !kept.is_empty() {
            files = kept;
        }
    }
    let files = choose(files);
    if files.is_empty() {
        return Err(missing(paths, wanted, &tables));
    }
    read(files, wanted)
}

/// The folders and files of `set` at `path`.
fn places(path: &Path, set: &str) -> Result<Vec<PathBuf>> {
    let means = |path: &Path| {
        let name = name(path);
        name == set || Layout::of(&name).is_some_and(|(_, known)| known == set)
    };
    if means(path) || path.is_file() && Layout::of(&name(path)).is_none() {
        return Ok(vec![path.to_owned()]);
    }
    if path.is_file() {
        return Ok(Vec::new());
    }
    let mut places = list(path)?;
    places.retain(|entry| means(entry) && (entry.is_dir() || is_table(entry)));
    Ok(places)
}

/// Whether a word of the file's name is `word`.
fn has_word(path: &Path, word: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|letter: char| !letter.is_alphanumeric()).any(|part| part.eq_ignore_ascii_case(word))
}

fn missing(paths: &[PathBuf], wanted: &Wanted<'_>, tables: &[PathBuf]) -> Error {
    let display =
        |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `");
    let found = if tables.is_empty() { String::new() } else { format!(", where `{}` lies", display(tables)) };
    let Wanted { set, split, expects, .. } = wanted;
    Error::usage(format!("split `{split}` of `{set}` is not in `{}`{found}", display(paths)))
        .hint(format!("expected `{set}/{split}.jsonl` or `.parquet` there: {expects}"))
}

fn read(files: Vec<PathBuf>, wanted: &Wanted<'_>) -> Result<Documents> {
    let mut digest = blake3::Hasher::new();
    let mut rows = Vec::new();
    for file in &files {
        let table = Table::read(file)?;
        digest.update(table.digest.as_bytes());
        rows.extend(table.rows);
    }
    if rows.is_empty() {
        let files = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join("`, `");
        return Err(Error::new(format!("split `{}` of `{}` is empty: `{files}` has no row", wanted.split, wanted.set))
            .hint(format!("expected {}", wanted.expects)));
    }
    // PIQA is published with its labels in a file of their own.
    if Layout::of(wanted.set).is_some_and(|(layout, _)| layout == Layout::Piqa)
        && let Some(labels) = label_lines(&files, rows.len())?
    {
        for (row, label) in rows.iter_mut().zip(labels) {
            row.fields.insert("label".to_owned(), Value::from(label));
        }
    }
    Ok(Documents { digest: digest.finalize().to_hex().to_string(), files, rows })
}
