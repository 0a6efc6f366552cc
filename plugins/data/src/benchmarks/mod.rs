//! The public benchmarks as they lie on disk: one folder per set, JSON lines or Parquet, in the layout each is published
//! in. Decontamination looks for their items in the training text and evaluation asks them, so both read them here and
//! mean the same item by the same id.
//!
//! Nothing here fetches, tokenizes or scores anything: a reader turns a file into named fields.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};

mod documents;
mod layouts;
mod locate;
mod table;

pub use documents::{Documents, Wanted, documents};
pub use layouts::{Content, Layout};
pub use locate::find;
pub use table::{Row, Table};

/// One file of a benchmark, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// Name of the set: `hellaswag`, `lambada_openai`, or the name of a user's file.
    pub set: String,
    /// Which split the file holds: `test`, `validation`; for a user's file `all`.
    pub split: String,
    /// Where it lay.
    pub file: PathBuf,
    /// Hash of the bytes of its tables.
    pub digest: String,
    /// The items, in the order of the file.
    pub items: Vec<Item>,
}

/// One question, passage or article of a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `set-N`, the N-th row (article) of the split that is evaluated; `set/split-N` of another split; the `qID` where
    /// winogrande has one and the `id` where a user's file has one.
    pub id: String,
    /// Its fields.
    pub content: Content,
}

/// A file of a benchmark, found and not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Name of the set.
    pub set: String,
    /// How its rows are laid out.
    pub layout: Layout,
    /// Which split.
    pub split: String,
    /// The parts of the split, in order (a split in Parquet may be cut into several files).
    pub files: Vec<PathBuf>,
}

impl Found {
    /// Reads the items.
    ///
    /// # Errors
    /// Names the file and line of a row that lacks a field or has one of the wrong type, and a file without any item.
    pub fn read(&self) -> Result<Benchmark> {
        let mut rows = Vec::new();
        let mut digest = blake3::Hasher::new();
        for file in &self.files {
            let table = Table::read(file)?;
            digest.update(table.digest.as_bytes());
            rows.extend(table.rows);
        }
        let prefix = if self.layout.splits().first().is_none_or(|first| *first == self.split) {
            self.set.clone()
        } else {
            format!("{}/{}", self.set, self.split)
        };
        let mut items = self.layout.items(&prefix, &rows)?;
        if self.layout == Layout::Piqa {
            labels(&self.files, &mut items)?;
        }
        if items.is_empty() {
            return Err(Error::new(format!("`{}` has no item of `{}`", names(&self.files), self.set))
                .hint(format!("it is read as {}", self.layout.expects())));
        }
        Ok(Benchmark {
            set: self.set.clone(),
            split: self.split.clone(),
            file: self.files.first().cloned().unwrap_or_default(),
            digest: digest.finalize().to_hex().to_string(),
            items,
        })
    }
}

/// The labels of PIQA's items, from the file beside theirs.
fn labels(files: &[PathBuf], items: &mut [Item]) -> Result<()> {
    let Some(labels) = label_lines(files, items.len())? else { return Ok(()) };
    for (label, item) in labels.into_iter().zip(items) {
        if let Content::Solutions { gold, .. } = &mut item.content {
            *gold = Some(label);
        }
    }
    Ok(())
}

/// PIQA is published with the right solutions in a file of their own, one number a line: `valid-labels.lst` beside
/// `valid.jsonl`.
fn label_lines(files: &[PathBuf], items: usize) -> Result<Option<Vec<usize>>> {
    let Some(file) = files.first() else { return Ok(None) };
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!("{stem}-labels.lst"));
    if !beside.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&beside)
        .map_err(|e| Error::new(format!("cannot read `{}`", beside.display())).because(e))?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() != items {
        return Err(Error::new(format!(
            "`{}` has {} labels for the {items} items of `{}`",
            beside.display(),
            lines.len(),
            file.display()
        ))
        .hint("take both files from the same release"));
    }
    let label = |(index, line): (usize, &&str)| {
        line.parse().ok().filter(|label| *label < 2).ok_or_else(|| {
            Error::new(format!("line {} of `{}` is `{line}`", index + 1, beside.display())).hint("a label is 0 or 1")
        })
    };
    lines.iter().enumerate().map(label).collect::<Result<Vec<usize>>>().map(Some)
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join("`, `")
}

/// File names end in one of these, with `.gz` or `.zst` behind it or not.
fn is_table(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    [".jsonl", ".parquet", ".raw", ".tokens"].iter().any(|end| name.ends_with(end))
}
