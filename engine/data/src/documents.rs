//! A prepared corpus on disk: Parquet shards of training and held-out documents, and a manifest that names them.
//!
//! The manifest is written last: a folder without one holds no corpus.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Document, Error, Result};
use serde::{Deserialize, Serialize};

use crate::columns::{self, ColumnsFile, Effort, Sum};
use crate::files::{self, cannot_read};
use crate::prepare::rows::{Rows, published_schema};

/// Text of a row group, in bytes: what a reader of the corpus takes at a time.
const GROUP_BYTES: u64 = 8 << 20;
/// Documents read at a time.
const BATCH_ROWS: usize = 512;
/// Version of the layout.
const VERSION: u32 = 1;

/// Which documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// Held out.
    Validation,
}

impl Split {
    /// The split's name, and that of its folder.
    pub fn word(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }

    /// The split's folder in a corpus.
    pub fn folder(self, corpus: &Path) -> PathBuf {
        corpus.join(self.word())
    }

    /// The split's shard of that number.
    pub fn shard(self, corpus: &Path, number: usize) -> PathBuf {
        self.folder(corpus).join(shard_name(number))
    }
}

fn shard_name(number: usize) -> String {
    format!("{number:05}.parquet")
}

/// A shard as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardFile {
    /// Its name in the split's folder.
    pub name: String,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Size and checksum of the file.
    #[serde(flatten)]
    pub sum: Sum,
}

/// The shards of a corpus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the layout.
    pub version: u32,
    /// Fingerprint of what the corpus was made of.
    pub fingerprint: String,
    /// To learn from.
    pub train: Vec<ShardFile>,
    /// Held out.
    pub validation: Vec<ShardFile>,
}

impl Manifest {
    /// Name of the file.
    pub const FILE: &str = "manifest.json";

    /// Lists the shards of a corpus.
    pub fn new(fingerprint: &str, train: Vec<ShardFile>, validation: Vec<ShardFile>) -> Self {
        Self { version: VERSION, fingerprint: fingerprint.to_owned(), train, validation }
    }

    /// Reads the manifest of the corpus in `folder`.
    ///
    /// # Errors
    /// When there is none, or another version of this program wrote it.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let bytes = fs::read(&path).map_err(|e| {
            cannot_read(&path, e).hint("a prepared corpus has this file: run the stage `prepare` first")
        })?;
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(format!("`{}` is damaged", path.display())).because(e))?;
        if manifest.version == VERSION {
            return Ok(manifest);
        }
        Err(Error::new(format!("`{}` has layout {}, this program reads {VERSION}", path.display(), manifest.version))
            .hint("prepare the corpus again with this program"))
    }

    /// Writes it, which makes the corpus a corpus.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::new("cannot write a manifest").because(e))?;
        text.push(b'\n');
        files::write(&folder.join(Self::FILE), &text)
    }

    /// The shards of a split.
    pub fn shards(&self, split: Split) -> &[ShardFile] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
        }
    }
}

/// Writes one shard. Row groups end where their text reaches a fixed size, however the rows came.
pub struct ShardWriter {
    file: ColumnsFile,
    waiting: Vec<Rows>,
    waiting_bytes: u64,
    shard: ShardFile,
}

impl ShardWriter {
    /// Starts the shard's file under a temporary name.
    pub fn create(path: &Path, number: usize) -> Result<Self> {
        let file = ColumnsFile::create(path, published_schema(), Effort::Thorough)?;
        let shard = ShardFile { name: shard_name(number), documents: 0, bytes: 0, sum: Sum::default() };
        Ok(Self { file, waiting: Vec::new(), waiting_bytes: 0, shard })
    }

    /// Bytes of text so far.
    pub fn bytes(&self) -> u64 {
        self.shard.bytes
    }

    /// Adds documents.
    pub fn push(&mut self, rows: &Rows) -> Result<()> {
        let mut start = 0;
        for (row, text) in rows.batch().texts().enumerate() {
            self.waiting_bytes += text.len() as u64;
            self.shard.bytes += text.len() as u64;
            if self.waiting_bytes >= GROUP_BYTES {
                self.waiting.push(rows.slice(start, row + 1 - start)?);
                self.flush()?;
                start = row + 1;
            }
        }
        if start < rows.len() {
            self.waiting.push(rows.slice(start, rows.len() - start)?);
        }
        self.shard.documents += rows.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.file.row_group(&Rows::concat(&self.waiting)?.published()?)?;
        }
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Ends the file and gives it its name.
    pub fn publish(mut self) -> Result<ShardFile> {
        self.flush()?;
        self.shard.sum = self.file.publish()?;
        Ok(self.shard)
    }
}

/// The rows of one shard, in order.
pub fn read_shard(path: &Path) -> Result<impl Iterator<Item = Result<Rows>> + use<>> {
    Ok(columns::read(path, None, BATCH_ROWS)?.map(|batch| Rows::of_published(&batch?)))
}

/// The rows of a split, in order.
pub fn read_rows(corpus: &Path, split: Split) -> Result<impl Iterator<Item = Result<Rows>> + use<>> {
    let manifest = Manifest::read(corpus)?;
    let folder = split.folder(corpus);
    let paths: Vec<PathBuf> = manifest.shards(split).iter().map(|shard| folder.join(&shard.name)).collect();
    Ok(paths.into_iter().flat_map(|path| match read_shard(&path) {
        Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = Result<Rows>>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    }))
}

/// The documents of a split, in order.
pub fn read_documents(corpus: &Path, split: Split) -> Result<impl Iterator<Item = Result<Document>> + use<>> {
    Ok(read_rows(corpus, split)?.flat_map(|rows| match rows {
        Ok(rows) => (0..rows.len()).map(|row| Ok(rows.batch().document(row))).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}

/// The texts of a split, in order.
pub fn read_texts(corpus: &Path, split: Split) -> Result<Vec<String>> {
    read_documents(corpus, split)?.map(|document| Ok(document?.text)).collect()
}
