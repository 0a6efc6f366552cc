//! The prepared documents on disk: one zstd-compressed file of JSON lines per split.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use psann_core::{Document, Error, Result};
use serde::{Deserialize, Serialize};

use crate::files::{NewFile, cannot_read, cannot_write};

/// Level at which zstd is still faster than the rest of the work.
const LEVEL: i32 = 3;

/// Which documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// Held out.
    Validation,
}

impl Split {
    /// The split's file in a prepared folder.
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Self::Train => "train.jsonl.zst",
            Self::Validation => "validation.jsonl.zst",
        })
    }
}

/// A document as a line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<String>,
}

/// Writes one split.
pub struct Writer {
    path: PathBuf,
    encoder: zstd::Encoder<'static, NewFile>,
    /// Documents so far.
    pub documents: u64,
    /// Bytes of text so far.
    pub bytes: u64,
}

impl Writer {
    /// Starts the split's file under a temporary name.
    pub fn create(directory: &Path, split: Split) -> Result<Self> {
        let path = split.path(directory);
        let encoder = zstd::Encoder::new(NewFile::create(&path)?, LEVEL).map_err(|e| cannot_write(&path, e))?;
        Ok(Self { path, encoder, documents: 0, bytes: 0 })
    }

    /// Adds a document.
    pub fn push(&mut self, document: Document) -> Result<()> {
        self.documents += 1;
        self.bytes += document.text.len() as u64;
        let Document { text, id, url, source, meta } = document;
        let mut line = serde_json::to_vec(&Line { text, id, url, source, meta })
            .map_err(|e| Error::new("cannot write a document as JSON").because(e))?;
        line.push(b'\n');
        self.encoder.write_all(&line).map_err(|e| cannot_write(&self.path, e))
    }

    /// Ends the file and gives it its name.
    pub fn publish(self) -> Result<()> {
        self.encoder.finish().map_err(|e| cannot_write(&self.path, e))?.publish()
    }
}

/// The documents of a split, in order.
pub fn read_documents(directory: &Path, split: Split) -> Result<impl Iterator<Item = Result<Document>> + use<>> {
    let path = split.path(directory);
    let file = File::open(&path).map_err(|e| cannot_read(&path, e).hint("run the stage `prepare` first"))?;
    let decoder = zstd::Decoder::new(file).map_err(|e| cannot_read(&path, e))?;
    Ok(BufReader::new(decoder).lines().map(move |line| {
        let line = line.map_err(|e| cannot_read(&path, e))?;
        let line: Line = serde_json::from_str(&line).map_err(|e| {
            Error::new(format!("`{}` is damaged", path.display())).because(e).hint("start over with `--fresh`")
        })?;
        Ok(Document { text: line.text, id: line.id, url: line.url, source: line.source, meta: line.meta })
    }))
}

/// The texts of a split, in order.
pub fn read_texts(directory: &Path, split: Split) -> Result<Vec<String>> {
    read_documents(directory, split)?.map(|document| Ok(document?.text)).collect()
}
