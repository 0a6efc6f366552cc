//! [`TrainingText`]: what is trained on, before it is cut into chunks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::plan::Component;
use psann_core::{DataSource, Document, Error, Result, registry};

use super::chunks::{Chunks, InMemory, Layout, OfSource, Prepared, Whole, verify_sums};
use super::piece::Origin;
use crate::columns;
use crate::documents::{Manifest, Split, read_documents, read_shard};

/// Text up to this size is held in memory.
const IN_MEMORY: u64 = 64 << 20;
/// A text that is read from disk is at least [`IN_MEMORY`] large; its chunks are at least a part of that, because a page of
/// a Parquet file is unpacked for each.
const LEAST_CHUNK: u64 = 1 << 10;
/// The shards of a corpus up to this size are compared with their checksums before anything is read from them; of larger
/// ones only the sizes are, and the checksums when tokens are counted.
const VERIFIED: u64 = 256 << 20;

/// The text of a prepared corpus, or of a source that needs no preparation.
#[derive(Clone)]
pub struct TrainingText {
    kind: Kind,
    in_memory: u64,
}

#[derive(Clone)]
enum Kind {
    Documents(Arc<[Whole]>),
    Prepared { corpus: PathBuf, split: Split },
    Source { source: Arc<dyn DataSource>, name: String },
}

impl TrainingText {
    /// A split of a prepared corpus.
    pub fn prepared(corpus: &Path, split: Split) -> Self {
        Self::of(Kind::Prepared { corpus: corpus.to_owned(), split })
    }

    /// Whatever a source gives; its plugin is found by name.
    ///
    /// # Errors
    /// When there is no such source, or its options are wrong. Files are not looked at yet.
    pub fn source(component: &Component) -> Result<Self> {
        let source = registry::source(&component.name, &component.options)?.into();
        Ok(Self::of(Kind::Source { source, name: component.name.clone() }))
    }

    /// Documents at hand.
    pub fn documents(documents: impl IntoIterator<Item = Document>) -> Self {
        let file: Arc<str> = "memory".into();
        let whole = documents.into_iter().zip(0..).map(|(document, number)| Whole {
            origin: Arc::new(Origin { file: Arc::clone(&file), document: number, id: document.id }),
            text: document.text.into(),
        });
        Self::of(Kind::Documents(whole.collect()))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, in_memory: IN_MEMORY }
    }

    /// Holds text in memory only up to `bytes`. Another limit may give other batches.
    #[must_use]
    pub fn in_memory(self, bytes: u64) -> Self {
        Self { in_memory: bytes, ..self }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Documents(_) => "the documents".into(),
            Kind::Prepared { corpus, split } => format!("`{}` of `{}`", split.word(), corpus.display()),
            Kind::Source { name, .. } => format!("source `{name}`"),
        }
    }

    /// Changes when the text does.
    pub fn identity(&self) -> Result<String> {
        match &self.kind {
            Kind::Documents(documents) => {
                let mut hasher = blake3::Hasher::new();
                for document in documents.iter() {
                    hasher.update(blake3::hash(document.text.as_bytes()).as_bytes());
                }
                Ok(hasher.finalize().to_hex().to_string())
            }
            Kind::Prepared { corpus, split } => {
                let manifest = Manifest::read(corpus)?;
                let sums: Vec<_> = manifest.shards(*split).iter().map(|shard| shard.sum).collect();
                Ok(format!("{} {} {sums:?}", manifest.fingerprint, split.word()))
            }
            Kind::Source { source, .. } => source.identity(),
        }
    }

    /// Fails when a file is not what its manifest says. Reads all of it.
    pub fn verify(&self) -> Result<()> {
        match &self.kind {
            Kind::Prepared { corpus, split } => verify_sums(corpus, *split),
            _ => Ok(()),
        }
    }

    /// All documents, in order.
    ///
    /// # Errors
    /// When files are missing.
    pub fn read(&self) -> Result<Box<dyn Iterator<Item = Result<Document>> + '_>> {
        match &self.kind {
            Kind::Documents(documents) => Ok(Box::new(documents.iter().map(|whole| {
                let (id, text) = (whole.origin.id.clone(), whole.text.to_string());
                Ok(Document { id, text, ..Document::default() })
            }))),
            Kind::Prepared { corpus, split } => Ok(Box::new(read_documents(corpus, *split)?)),
            Kind::Source { source, .. } => {
                let readers = source.partitions()?.into_iter().map(|partition| source.open(&partition, None));
                Ok(Box::new(readers.flat_map(|reader| {
                    let (mut reader, error) = match reader {
                        Ok(reader) => (Some(reader), None),
                        Err(error) => (None, Some(Err(error))),
                    };
                    let batches = std::iter::from_fn(move || reader.as_mut()?.next_batch().transpose());
                    error.into_iter().chain(batches.flat_map(|batch| match batch {
                        Ok(batch) => (0..batch.len()).map(|row| Ok(batch.document(row))).collect(),
                        Err(error) => vec![Err(error)],
                    }))
                })))
            }
        }
    }

    /// Cuts the text into chunks.
    ///
    /// # Errors
    /// When files are missing or not what their manifest says, or there is no text.
    pub fn chunks(&self, layout: Layout) -> Result<Arc<dyn Chunks>> {
        if let Some(documents) = self.small()? {
            return Ok(Arc::new(InMemory::new(documents, layout)));
        }
        let layout = Layout { least: self.in_memory / LEAST_CHUNK, ..layout };
        match &self.kind {
            Kind::Prepared { corpus, split } => Ok(Arc::new(Prepared::new(corpus, *split, layout)?)),
            Kind::Source { source, .. } => Ok(Arc::new(OfSource::new(Arc::clone(source), layout)?)),
            Kind::Documents(documents) => Ok(Arc::new(InMemory::new(Arc::clone(documents), layout))),
        }
    }

    /// All documents, when they are small.
    fn small(&self) -> Result<Option<Arc<[Whole]>>> {
        match &self.kind {
            Kind::Documents(documents) => Ok(Some(Arc::clone(documents))),
            Kind::Prepared { corpus, split } => {
                let manifest = Manifest::read(corpus)?;
                let shards = manifest.shards(*split);
                let (files, text) =
                    shards.iter().fold((0, 0), |(files, text), shard| (files + shard.sum.size, text + shard.bytes));
                if files <= VERIFIED {
                    verify_sums(corpus, *split)?;
                }
                if text > self.in_memory {
                    return Ok(None);
                }
                let mut documents = Vec::new();
                for shard in shards {
                    let path = split.folder(corpus).join(&shard.name);
                    let (file, mut number): (Arc<str>, u64) = (path.display().to_string().into(), 0);
                    for rows in read_shard(&path)? {
                        let rows = rows?;
                        for row in 0..rows.len() {
                            let id = rows.batch().optional("id", row).map(str::to_owned);
                            let id = id.or_else(|| Some(rows.place(row).to_string()));
                            let origin = Origin { file: Arc::clone(&file), document: number, id };
                            documents.push(Whole { origin: Arc::new(origin), text: rows.batch().text(row).into() });
                            number += 1;
                        }
                    }
                    if number != shard.documents {
                        return Err(columns::damaged(&path));
                    }
                }
                Ok(Some(documents.into()))
            }
            Kind::Source { source, .. } => self.small_source(source.as_ref()),
        }
    }

    /// All documents of a source, unless there turns out to be more text than is held in memory.
    fn small_source(&self, source: &dyn DataSource) -> Result<Option<Arc<[Whole]>>> {
        let partitions = source.partitions()?;
        let known = partitions.iter().map(|partition| partition.bytes).sum::<u64>();
        if known > self.in_memory || self.in_memory == 0 {
            return Ok(None);
        }
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for partition in &partitions {
            let file: Arc<str> = partition.location.as_str().into();
            let (mut reader, mut number) = (source.open(partition, None)?, 0);
            while let Some(batch) = reader.next_batch()? {
                for (row, text) in batch.texts().enumerate() {
                    bytes += text.len() as u64;
                    let id = batch.optional("id", row).map(str::to_owned);
                    let origin = Origin { file: Arc::clone(&file), document: number, id };
                    documents.push(Whole { origin: Arc::new(origin), text: text.into() });
                    number += 1;
                }
                if bytes > self.in_memory {
                    return Ok(None);
                }
            }
        }
        Ok(Some(documents.into()))
    }
}

/// The error of a text without a single document.
pub fn empty(text: &TrainingText) -> Error {
    Error::new(format!("{} is empty: there is nothing to train on", text.name()))
        .hint("give more text, or look at what the filters dropped with `psann data stats`")
}
