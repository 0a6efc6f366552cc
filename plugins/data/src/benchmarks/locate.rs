//! Finds the files of the benchmarks in a folder, whatever the publisher called them: `test.jsonl`, `wiki.test.raw`,
//! `lambada_test_en.jsonl`, `data/validation-00000-of-00001.parquet`.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};

use super::{Found, Layout, is_table};

/// How deep below the folder of a set its files may lie.
const DEPTH: usize = 3;

/// Finds the benchmarks at `paths`: folders with one sub-folder or file per set, the folder of one set, or files.
/// `sets` chooses some of them by name; empty takes all. Sorted by name and split.
///
/// # Errors
/// When a path does not exist, nothing is found, or a set (chosen, or with a folder of its own) has no usable file: the
/// message says which split and columns are expected and where was looked.
pub fn find(paths: &[PathBuf], sets: &[String]) -> Result<Vec<Found>> {
    let mut places: Vec<(String, Option<Layout>, PathBuf)> = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(Error::usage(format!("there are no benchmarks at `{}`: it does not exist", path.display()))
                .hint(
                    "`evals` is a folder with one sub-folder per benchmark, or a list of `.jsonl` and `.parquet` files",
                ));
        }
        if path.is_file() || Layout::of(&name(path)).is_some() {
            places.push(place(path));
            continue;
        }
        for entry in list(path)? {
            if entry.is_dir() || is_table(&entry) {
                places.push(place(&entry));
            }
        }
    }
    places.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    if !sets.is_empty() {
        places.retain(|(set, ..)| sets.contains(set));
    }
    let mut found: Vec<Found> = Vec::new();
    for (set, layout, path) in &places {
        for one in splits(set, *layout, path)? {
            match found.iter_mut().find(|other| other.set == one.set && other.split == one.split) {
                // A user's set may lie in several files; of a public one the first file is taken.
                Some(other) if layout.is_none() => other.files.extend(one.files),
                Some(_) => {}
                None => found.push(one),
            }
        }
    }
    let looked = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `");
    if let Some(missing) = sets.iter().find(|set| !found.iter().any(|one| one.set == **set)) {
        let expects = Layout::of(missing).map_or(Layout::Other, |(layout, _)| layout).expects();
        return Err(Error::usage(format!("benchmark `{missing}` is not in `{}`", looked()))
            .hint(format!("expected a folder `{missing}` or a file `{missing}.jsonl` there; {expects}")));
    }
    if found.is_empty() {
        return Err(Error::usage(format!("there are no benchmarks in `{}`", looked()))
            .hint("expected sub-folders such as `hellaswag` with `validation.jsonl` or `.parquet` in them"));
    }
    Ok(found)
}

fn place(path: &Path) -> (String, Option<Layout>, PathBuf) {
    let name = name(path);
    // Nothing else is published in these formats: `wiki.test.raw`.
    let wikitext = path.extension().is_some_and(|end| end == "raw" || end == "tokens");
    match Layout::of(if wikitext { "wikitext" } else { &name }) {
        Some((layout, set)) => (set.to_owned(), Some(layout), path.to_owned()),
        None => (name, None, path.to_owned()),
    }
}

/// The name of a folder, or of a file up to its first dot.
pub(super) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_dir() { name } else { name.split('.').next().unwrap_or_default().to_owned() }
}

/// The splits of one set at `path`.
fn splits(set: &str, layout: Option<Layout>, path: &Path) -> Result<Vec<Found>> {
    let mut tables = Vec::new();
    if path.is_dir() {
        collect(path, DEPTH, &mut tables)?;
    } else {
        tables.push(path.to_owned());
    }
    let Some(layout) = layout else {
        // A folder without tables is somebody's, and no benchmark.
        let found = Found { set: set.to_owned(), layout: Layout::Other, split: "all".into(), files: tables };
        return Ok(if found.files.is_empty() { Vec::new() } else { vec![found] });
    };
    let mut found = Vec::new();
    for (index, split) in layout.splits().iter().enumerate() {
        let lone = index == 0 && path.is_file() && split_of(path).is_none();
        let of_split = tables.iter().filter(|table| lone || split_of(table) == Some(split)).cloned().collect();
        let files = choose(of_split);
        if !files.is_empty() {
            found.push(Found { set: set.to_owned(), layout, split: (*split).to_owned(), files });
        }
    }
    if found.is_empty() {
        return Err(Error::usage(format!("`{}` has no file of benchmark `{set}`", path.display()))
            .hint(format!("expected a `.jsonl` or `.parquet` file named after its split; {}", layout.expects())));
    }
    Ok(found)
}

/// The split that the words of a file's name tell.
pub(super) fn split_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).find_map(|word| match word {
        "test" => Some("test"),
        "validation" | "valid" | "val" | "dev" => Some("validation"),
        "train" | "training" => Some("train"),
        _ => None,
    })
}

/// Of several files of one split: JSON lines before Parquet before plain text, near before deep, the raw and the English
/// variant before others, the short name before the long; all parts of a file that was cut (`-00000-of-00002`).
pub(super) fn choose(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    let rank = |path: &Path| {
        let text = path.to_string_lossy().to_lowercase();
        let kind = [".jsonl", ".parquet", ""].iter().position(|kind| text.contains(kind)).unwrap_or(2);
        let raw = text.contains("-raw-");
        let english = text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "en");
        (kind, path.components().count(), !raw, !english, text.len(), text)
    };
    files.sort_by_key(|path| rank(path));
    let Some(first) = files.first().cloned() else { return files };
    match part(&first) {
        Some(whole) => files.retain(|path| path.parent() == first.parent() && part(path).as_ref() == Some(&whole)),
        None => files.truncate(1),
    }
    files
}

/// `validation-00000-of-00002.parquet` without the number of the part.
fn part(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let (before, after) = name.split_once("-of-")?;
    let (before, _) = before.rsplit_once('-')?;
    Some((before.to_owned(), after.to_owned()))
}

pub(super) fn collect(folder: &Path, depth: usize, tables: &mut Vec<PathBuf>) -> Result<()> {
    for entry in list(folder)? {
        if entry.is_dir() {
            if depth > 0 {
                collect(&entry, depth - 1, tables)?;
            }
        } else if is_table(&entry) {
            tables.push(entry);
        }
    }
    Ok(())
}

pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e: std::io::Error| Error::new(format!("cannot list `{}`", folder.display())).because(e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?.path());
    }
    entries.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    entries.sort();
    Ok(entries)
}
