//! The keys of a finished corpus, stored so that another one can be compared with it.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::filter::Copies;
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::group::{DocumentSet, Task};
use super::spill::{BUCKETS, KeyFile, NotesFile, NotesWriter, write_keys};
use crate::columns::{Sum, verify};
use crate::files;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// What keys and notes mean; equal for two filters that can be compared.
    parameters: String,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    documents: u64,
    keys: Sum,
    notes: Option<Sum>,
}

/// An index that is open for reading.
#[derive(Default)]
pub struct Index {
    /// The key files.
    pub keys: Vec<KeyFile>,
    /// Number of the first document of each part, and of all.
    pub bases: Vec<u64>,
    notes: Vec<Option<NotesFile>>,
}

fn folder(corpus: &Path, filter: &str) -> PathBuf {
    corpus.join("index").join(filter)
}

impl Index {
    /// Opens the index that `filter` left in the corpus at `path`.
    ///
    /// # Errors
    /// When there is none, it was made with other parameters, or it is damaged.
    pub fn open(path: &str, filter: &str, copies: &dyn Copies) -> Result<Self> {
        let folder = folder(Path::new(path), filter);
        let manifest = folder.join("manifest.json");
        let bytes = fs::read(&manifest).map_err(|e| {
            Error::new(format!("`{path}` has no index of filter `{filter}`"))
                .because(e)
                .hint("prepare that corpus with `index: true` and the same filter")
        })?;
        let found: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(format!("`{}` is damaged", manifest.display())).because(e))?;
        let wanted = copies.parameters();
        if found.parameters != wanted {
            return Err(Error::usage(format!("the index in `{path}` cannot be compared with filter `{filter}`")).hint(
                format!(
                    "it was made with {}, the filter here uses {wanted}: give both the same options",
                    found.parameters
                ),
            ));
        }
        let mut index = Self { keys: Vec::new(), bases: vec![0], notes: Vec::new() };
        for (number, part) in found.parts.iter().enumerate() {
            let keys = folder.join(format!("{number:05}.keys"));
            verify(&keys, part.keys)?;
            index.keys.push(KeyFile::open(&keys)?);
            index.bases.push(index.bases[number] + part.documents);
            let notes = folder.join(format!("{number:05}.notes"));
            index.notes.push(match part.notes {
                Some(sum) => {
                    verify(&notes, sum)?;
                    Some(NotesFile::open(&notes)?)
                }
                None => None,
            });
        }
        Ok(index)
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        self.bases.last().copied().unwrap_or(0)
    }

    /// The note of a document.
    pub fn note(&self, document: u64, into: &mut Vec<u8>) -> Result<()> {
        let part = self.bases.partition_point(|base| *base <= document) - 1;
        into.clear();
        self.notes[part].as_ref().map_or(Ok(()), |file| file.read(document - self.bases[part], into))
    }
}

/// Stores keys and notes of the documents that the filter kept.
pub fn write(task: &Task<'_>, copies: &dyn Copies, dropped: &DocumentSet) -> Result<()> {
    let folder = folder(task.job.output, task.name);
    fs::create_dir_all(&folder).map_err(|e| files::cannot_write(&folder, e))?;
    let notes = if copies.verifies() { task.notes()? } else { Vec::new() };
    let mut parts = Vec::new();
    for (number, (segment, record)) in task.job.corpus.segments.iter().enumerate() {
        let base = task.job.corpus.bases[number];
        // The row of each kept document within the index part.
        let mut rows: Vec<Option<u32>> = Vec::with_capacity(record.kept.documents as usize);
        let mut documents = 0;
        for row in 0..record.kept.documents {
            let kept = !dropped.contains(base + row);
            rows.push(kept.then_some(documents));
            documents += u32::from(kept);
        }
        let mut entries = Vec::new();
        KeyFile::open(&segment.file(&format!("keys-{}", task.position)))?.read(0..BUCKETS, |key, row| {
            if let Some(row) = rows[row as usize] {
                entries.push((key, row));
            }
        })?;
        let keys = write_keys(&folder.join(format!("{number:05}.keys")), entries)?;
        let of_segment = notes.get(number).and_then(Option::as_ref);
        let notes = match of_segment {
            Some(file) => {
                let mut writer = NotesWriter::create(&folder.join(format!("{number:05}.notes")))?;
                let mut note = Vec::new();
                for (row, kept) in rows.iter().enumerate() {
                    if kept.is_some() {
                        file.read(row as u64, &mut note)?;
                        writer.push(&note)?;
                    }
                }
                Some(writer.publish()?)
            }
            None => None,
        };
        parts.push(Part { documents: u64::from(documents), keys, notes });
    }
    let manifest = Manifest { parameters: copies.parameters(), parts };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::new("cannot write an index").because(e))?;
    files::write(&folder.join("manifest.json"), &text)
}
