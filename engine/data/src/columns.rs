//! Parquet files of documents: written as a whole or not at all, with a checksum of the file taken on the way.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{DEFAULT_WRITE_BATCH_SIZE, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::files::{NewFile, cannot_read, cannot_write};

/// Level of zstd: level 3 makes files 6 % smaller and takes a fifth longer, and is then a quarter of a deduplication.
const LEVEL: i32 = 2;

/// Rows after which a page of a file that stays may end: training reads some rows here and some there, and has to unpack
/// the pages that hold them.
const PAGE_ROWS: usize = 32;

/// How hard files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For files that are read once and removed.
    Light,
    /// For files that stay.
    Thorough,
}

/// What a finished file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Size of the file in bytes.
    pub size: u64,
    /// XXH3-64 of its content.
    pub xxh3: u64,
}

/// A writer that keeps the sum of what went through it.
pub struct Summing<W> {
    inner: W,
    hasher: Box<Xxh3>,
    size: u64,
}

impl<W: Write> Summing<W> {
    /// Counts from here.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Box::new(Xxh3::new()), size: 0 }
    }

    /// The writer beneath and the sum.
    pub fn finish(self) -> (W, Sum) {
        (self.inner, Sum { size: self.size, xxh3: self.hasher.digest() })
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Fails when the file is not what it was when it was written.
pub fn verify(path: &Path, expected: Sum) -> Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(|e| cannot_read(path, e))?);
    let (mut hasher, mut size, mut buffer) = (Xxh3::new(), 0, vec![0; 1 << 18]);
    loop {
        let count = file.read(&mut buffer).map_err(|e| cannot_read(path, e))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    if (Sum { size, xxh3: hasher.digest() }) == expected { Ok(()) } else { Err(damaged(path)) }
}

/// The error of a file that changed since it was written.
pub fn damaged(path: &Path) -> Error {
    Error::new(format!("`{}` is damaged: it changed since it was written", path.display()))
        .hint("remove this file and run the same command again: only what it held is done anew")
}

/// A Parquet file in the making. Each call of [`ColumnsFile::row_group`] makes one row group.
pub struct ColumnsFile {
    path: PathBuf,
    writer: ArrowWriter<Summing<NewFile>>,
}

impl ColumnsFile {
    /// Starts the file under a temporary name.
    pub fn create(path: &Path, schema: SchemaRef, effort: Effort) -> Result<Self> {
        let properties = properties(effort).map_err(|e| failed(path, e))?;
        let file = Summing::new(NewFile::create(path)?);
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Writes a row group.
    pub fn row_group(&mut self, records: &RecordBatch) -> Result<()> {
        self.row_group_of([records])
    }

    /// Writes several batches as one row group. Where pages end depends on the batches.
    pub fn row_group_of<'a>(&mut self, batches: impl IntoIterator<Item = &'a RecordBatch>) -> Result<()> {
        let mut written = Ok(());
        for records in batches {
            written = written.and_then(|()| self.writer.write(records));
        }
        written.and_then(|()| self.writer.flush()).map_err(|e| failed(&self.path, e))
    }

    /// Ends the file and gives it its name.
    pub fn publish(self) -> Result<Sum> {
        let (file, sum) = self.writer.into_inner().map_err(|e| failed(&self.path, e))?.finish();
        file.publish()?;
        Ok(sum)
    }
}

/// How our files are written.
fn properties(effort: Effort) -> std::result::Result<WriterProperties, ParquetError> {
    let compression = match effort {
        Effort::Light => Compression::UNCOMPRESSED,
        Effort::Thorough => Compression::ZSTD(ZstdLevel::try_new(LEVEL)?),
    };
    let rows_of_page = match effort {
        Effort::Light => DEFAULT_WRITE_BATCH_SIZE,
        Effort::Thorough => PAGE_ROWS,
    };
    let properties = WriterProperties::builder()
        .set_write_batch_size(rows_of_page)
        .set_compression(compression)
        .set_created_by("psann".into())
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        // Few different values: names of collections.
        .set_column_dictionary_enabled(ColumnPath::from("source"), true)
        .set_max_row_group_row_count(None);
    Ok(properties.build())
}

/// Bytes that a row group takes in a file of ours.
pub fn encoded_size(records: &RecordBatch, effort: Effort) -> Result<u64> {
    let size = || {
        let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), Some(properties(effort)?))?;
        writer.write(records)?;
        writer.flush()?;
        Ok(writer.bytes_written() as u64)
    };
    size().map_err(|e: ParquetError| Error::new("cannot encode documents").because(e))
}

/// An error of writing: the cause of an I/O error is shown as such, so that a full disk is told as one.
fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => cannot_write(path, *cause),
            Err(cause) => Error::new(format!("cannot write `{}`", path.display())).because(cause),
        },
        other => Error::new(format!("cannot write `{}`", path.display())).because(other),
    }
}

/// The record batches of a file of ours, `columns` of them or all.
pub fn read(path: &Path, columns: Option<&[&str]>, batch_rows: usize) -> Result<Columns> {
    let file = File::open(path).map_err(|e| cannot_read(path, e))?;
    let unreadable = |e: ParquetError| Error::new(format!("`{}` is damaged", path.display())).because(e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let mask = match columns {
        Some(columns) => ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied()),
        None => ProjectionMask::all(),
    };
    let reader = builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(unreadable)?;
    Ok(Columns { path: path.to_owned(), reader })
}

/// Rows read at a time where few are wanted.
const FEW_ROWS: usize = 256;

/// The record batches of some rows of a file of ours. Pages that hold none of them are passed over.
pub fn read_rows(path: &Path, columns: &[&str], rows: Range<u64>) -> Result<Columns> {
    let file = File::open(path).map_err(|e| cannot_read(path, e))?;
    let unreadable = |e: ParquetError| Error::new(format!("`{}` is damaged", path.display())).because(e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let (mut groups, mut before, mut first) = (Vec::new(), 0, 0);
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        let count = group.num_rows().max(0) as u64;
        if before < rows.end && before + count > rows.start {
            if groups.is_empty() {
                first = before;
            }
            groups.push(index);
        }
        before += count;
    }
    let wanted = (rows.end - rows.start) as usize;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_offset(rows.start.saturating_sub(first) as usize)
        .with_limit(wanted)
        .with_batch_size(wanted.clamp(1, FEW_ROWS))
        .build()
        .map_err(unreadable)?;
    Ok(Columns { path: path.to_owned(), reader })
}

/// What [`read`] gives.
pub struct Columns {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Columns {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|e| Error::new(format!("`{}` is damaged", self.path.display())).because(e)))
    }
}
