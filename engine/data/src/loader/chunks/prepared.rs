//! Chunks of a prepared corpus: ranges of documents of its shards, told from the manifest alone. Where a document is
//! larger than a chunk should be, several chunks share it, each with some of its pieces.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, LargeStringArray, RecordBatch, StringArray};
use psann_core::{Error, Result};

use super::{Chunks, Layout, Pieces, find};
use crate::columns;
use crate::documents::{Manifest, ShardFile, Split};
use crate::files::cannot_read;
use crate::loader::piece::{Origin, Piece, cut};

/// The columns that the loader reads: the text, and what names it.
const COLUMNS: [&str; 3] = ["text", "id", "document"];

/// The chunks.
pub struct Prepared {
    folder: PathBuf,
    shards: Vec<ShardFile>,
    firsts: Vec<u64>,
    count: u64,
    chunk: u64,
    piece: usize,
}

impl Prepared {
    /// Those of a split of the corpus in `corpus`.
    ///
    /// # Errors
    /// When a shard is missing or has another size than the manifest says.
    pub fn new(corpus: &Path, split: Split, layout: Layout) -> Result<Self> {
        let (folder, shards) = (split.folder(corpus), Manifest::read(corpus)?.shards(split).to_vec());
        let chunk = layout.chunk(shards.iter().map(|shard| shard.bytes).sum());
        let mut prepared =
            Self { folder, shards, firsts: Vec::new(), count: 0, chunk, piece: layout.piece.max(1) as usize };
        for shard in &prepared.shards {
            check_size(&prepared.folder.join(&shard.name), shard)?;
            prepared.firsts.push(prepared.count);
            let (ranges, slices) = prepared.division(shard);
            prepared.count += ranges * slices;
        }
        Ok(prepared)
    }

    /// The ranges that the documents of a shard fall into, and the chunks that share each range.
    fn division(&self, shard: &ShardFile) -> (u64, u64) {
        let wanted = shard.bytes.div_ceil(self.chunk).max(1);
        let ranges = wanted.min(shard.documents);
        (ranges, if ranges == 0 { 1 } else { wanted.div_ceil(ranges) })
    }
}

impl Chunks for Prepared {
    fn count(&self) -> u64 {
        self.count
    }

    fn open(&self, chunk: u64) -> Result<Pieces> {
        let (index, chunk) = find(&self.firsts, chunk);
        let shard = &self.shards[index];
        let (ranges, slices) = self.division(shard);
        let (range, slice) = (chunk / slices, chunk % slices);
        let rows = shard.documents * range / ranges..shard.documents * (range + 1) / ranges;
        let documents = read(&self.folder.join(&shard.name), rows)?;
        // All pieces of the range are known, so a slice of them is a stretch of text.
        let pieces = documents.iter().enumerate().flat_map(|(n, (_, text))| {
            cut(text, self.piece).into_iter().map(move |range| (n, range)).collect::<Vec<_>>()
        });
        let mut pieces: Vec<(usize, Range<usize>)> = pieces.collect();
        let share = |slice: u64| (pieces.len() as u64 * slice / slices) as usize;
        let (start, end) = (share(slice), share(slice + 1));
        pieces.truncate(end);
        pieces.drain(..start);
        Ok(Box::new(pieces.into_iter().map(move |(number, range)| {
            let (origin, text) = &documents[number];
            Ok(Piece {
                origin: Arc::clone(origin),
                start: range.start as u64,
                text: text[range.clone()].to_owned(),
                first: range.start == 0,
                last: range.end == text.len(),
            })
        })))
    }
}

/// The documents in `rows` of a shard. The file is closed again: a row of the batch keeps text, not decoders.
fn read(path: &Path, rows: Range<u64>) -> Result<Vec<(Arc<Origin>, String)>> {
    let mut documents = Vec::with_capacity((rows.end - rows.start) as usize);
    let file: Arc<str> = path.display().to_string().into();
    for batch in columns::read_rows(path, &COLUMNS, rows.clone())? {
        let batch = batch?;
        let text = batch.column_by_name("text").and_then(|column| column.as_any().downcast_ref::<LargeStringArray>());
        let text = text.ok_or_else(|| Error::new(format!("`{}` has no text", path.display())))?;
        for row in 0..batch.num_rows() {
            let document = rows.start + documents.len() as u64;
            let id = word(&batch, "id", row).or_else(|| word(&batch, "document", row));
            let origin = Origin { file: Arc::clone(&file), document, id };
            documents.push((Arc::new(origin), text.value(row).to_owned()));
        }
    }
    if documents.len() as u64 == rows.end - rows.start { Ok(documents) } else { Err(columns::damaged(path)) }
}

fn word(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(name)?.as_any().downcast_ref::<StringArray>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn check_size(path: &Path, shard: &ShardFile) -> Result<()> {
    let size = fs::metadata(path).map_err(|e| cannot_read(path, e))?.len();
    if size == shard.sum.size { Ok(()) } else { Err(columns::damaged(path)) }
}

/// Fails when a shard is not, to the byte, what it was when the manifest was written. Reads all of them.
pub fn verify_sums(corpus: &Path, split: Split) -> Result<()> {
    let folder = split.folder(corpus);
    Manifest::read(corpus)?
        .shards(split)
        .iter()
        .try_for_each(|shard| columns::verify(&folder.join(&shard.name), shard.sum))
}
