//! `parquet`: tables in columns, as the Hugging Face Hub stores most corpora.

use std::fs::File;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{DataSource, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::{Columns, Names};
use super::files::{Files, Lookup, Named, Paths, SPLIT_BYTES, human, is_worth_a_note, partition};
use super::input::Input;
use super::limits::{BATCH_BYTES, BATCH_DOCUMENTS};
use super::on_error::{InvalidUtf8, Ledger, OnError};
use super::table::{Opened, TableReader, guarded, words};

psann_core::register!(Source, "parquet", ParquetOptions, Parquet::new, primary = "path");

/// Parquet files: one document a row. Only the columns that are used are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParquetOptions {
    /// A file, a pattern such as `"shards/*.parquet"`, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// Column of the text.
    pub text: String,
    /// Column of the identifier; used where it is there.
    pub id: String,
    /// Column of the address; used where it is there.
    pub url: String,
    /// Column of the collection's name; used where it is there.
    pub source: String,
    /// Column of anything else, a JSON object as text, as psann writes it; used where it is there.
    pub meta: String,
    /// What happens to rows without text, and to damaged files.
    pub on_error: OnError,
    /// What happens to text that is not valid UTF-8; only columns of bytes can hold it.
    pub invalid_utf8: InvalidUtf8,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            path: None,
            manifest: None,
            text: "text".into(),
            id: "id".into(),
            url: "url".into(),
            source: "source".into(),
            meta: "meta".into(),
            on_error: OnError::Fail,
            invalid_utf8: InvalidUtf8::Reject,
        }
    }
}

/// The source.
#[derive(Debug)]
pub struct Parquet {
    options: ParquetOptions,
    files: Lookup,
}

impl Parquet {
    /// Touches no file yet.
    pub fn new(options: ParquetOptions) -> Result<Self> {
        Ok(Self { options, files: Lookup::default() })
    }

    fn files(&self) -> Result<&Files> {
        let ParquetOptions { path, manifest, on_error, .. } = &self.options;
        let named = Named { path: path.as_ref(), manifest: manifest.as_deref(), command: None };
        let files = self.files.get(named, *on_error)?;
        if files.inputs().contains(&Input::Stdin) {
            return Err(Error::usage("Parquet cannot be read from standard input: its index is at the end")
                .hint("write it to a file, or pipe an Arrow stream into the source `arrow`"));
        }
        Ok(files)
    }

    fn names(&self) -> Names {
        let ParquetOptions { text, id, url, source, meta, .. } = &self.options;
        Names { text: text.clone(), optional: [id, url, source, meta].map(String::clone) }
    }

    /// The file with its index, and where the wanted columns stand.
    fn index(&self, input: &Input) -> Result<(File, ArrowReaderMetadata, Columns)> {
        let Input::File(path) = input else {
            return Err(Error::new(format!("`{}` is no file", input.name())));
        };
        let file = File::open(path).map_err(|e| input.cannot_read(e))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(input.cannot_read(std::io::ErrorKind::IsADirectory.into()));
        }
        let index = guarded(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())).map_err(|e| {
            Error::new(format!("`{}` is damaged or no Parquet file", input.name()))
                .because(words(&e))
                .hint("fetch or make the file again, or set `on_error` to \"skip\" to leave it out")
        })?;
        let columns = Columns::find(index.schema(), &self.names(), &input.name())?;
        Ok((file, index, columns))
    }
}

impl DataSource for Parquet {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        for input in self.files()?.inputs() {
            let pieces = match self.index(input) {
                Ok((_, index, _)) => bundles(index.metadata().row_groups()),
                Err(error) if self.options.on_error == OnError::Fail => return Err(error),
                // Reading it will count it.
                Err(_) => vec![(0, None, 0)],
            };
            for (start, end, bytes) in pieces {
                partitions.push(partition(partitions.len(), input, (start, end), bytes));
            }
        }
        Ok(partitions)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let files = self.files()?;
        let input = files.of(partition)?;
        let mut ledger = Ledger::new(self.options.on_error, self.options.invalid_utf8);
        let done = resume.map_or(Ok(0), |token| input.records_done(token))?;
        let (file, index, columns) = match self.index(input) {
            Ok(found) => found,
            Err(error) => {
                ledger.damaged(error)?;
                return Ok(Box::new(TableReader::new(input.clone(), None, ledger, done, 0)));
            }
        };
        let groups = index.metadata().row_groups();
        let (start, end) = (partition.start as usize, partition.end.map_or(groups.len(), |end| end as usize));
        let changed = || Error::new(format!("`{}` is not what it was when it was read first", input.name()));
        let wanted = groups.get(start..end).ok_or_else(changed)?;
        let first_row: i64 = groups[..start].iter().map(RowGroupMetaData::num_rows).sum();
        let mask = ProjectionMask::roots(index.parquet_schema(), columns.indices());
        let size = batch_rows(wanted);
        let records = ParquetRecordBatchReaderBuilder::new_with_metadata(file, index.clone())
            .with_projection(mask)
            .with_row_groups((start..end).collect())
            .with_batch_size(size)
            .with_offset(done as usize)
            .build()
            .map_err(|e| Error::new(format!("cannot read `{}`", input.name())).because(e))?;
        let opened = Opened { records: Box::new(records), columns: columns.projected(), running: None };
        let reader = TableReader::new(input.clone(), Some(opened), ledger, done, 0);
        Ok(Box::new(reader.part(first_row as u64, partition.end.is_none())))
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }

    fn notes(&self) -> Result<Vec<String>> {
        let partitions = self.partitions()?;
        let total = partitions.iter().map(|partition| partition.bytes).sum();
        let large = partitions.iter().filter(|partition| is_worth_a_note(partition.bytes, total));
        let note = |partition: &Partition| {
            let (name, size) = (&partition.location, human(partition.bytes));
            format!("`{name}` ({size}) is one row group: one worker reads it; write smaller row groups")
        };
        Ok(large.map(note).collect())
    }
}

/// Row groups in bundles of about [`SPLIT_BYTES`]: first, one past the last (`None` for a whole file), bytes.
fn bundles(groups: &[RowGroupMetaData]) -> Vec<(u64, Option<u64>, u64)> {
    let mut bundles = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, group) in groups.iter().enumerate() {
        bytes += group.compressed_size().max(0) as u64;
        if bytes >= SPLIT_BYTES || index + 1 == groups.len() {
            bundles.push((start, Some(index as u64 + 1), bytes));
            (start, bytes) = (index as u64 + 1, 0);
        }
    }
    match bundles[..] {
        [] => vec![(0, None, 0)],
        [(_, _, bytes)] => vec![(0, None, bytes)],
        _ => bundles,
    }
}

/// Rows to decode at once: as many as make a batch, going by the average row.
fn batch_rows(groups: &[RowGroupMetaData]) -> usize {
    let average = |group: &RowGroupMetaData| group.total_byte_size().max(1) / group.num_rows().max(1);
    let largest = groups.iter().map(average).max().unwrap_or(1).max(1);
    (BATCH_BYTES / largest as usize).clamp(1, BATCH_DOCUMENTS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// Row groups of 100 rows: `n` (not asked for), `text`, `url` with nulls.
    fn write(path: &Path, rows: i32) {
        let texts: ArrayRef = Arc::new((0..rows).map(|n| Some(format!("text {n}"))).collect::<StringArray>());
        let urls: ArrayRef =
            Arc::new((0..rows).map(|n| (n % 2 == 0).then(|| format!("u{n}"))).collect::<StringArray>());
        let numbers: ArrayRef = Arc::new((0..rows).collect::<Int32Array>());
        let records = RecordBatch::try_from_iter([("n", numbers), ("text", texts), ("url", urls)]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), records.schema(), Some(properties)).unwrap();
        writer.write(&records).unwrap();
        writer.close().unwrap();
    }

    fn source(path: &Path) -> Parquet {
        let path = Some(Paths::One(path.display().to_string()));
        Parquet::new(ParquetOptions { path, ..ParquetOptions::default() }).unwrap()
    }

    #[test]
    fn reading_goes_on_behind_the_resume_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, 3000);
        let source = source(&path);
        let partition = &source.partitions().unwrap()[0];
        let mut reader = source.open(partition, None).unwrap();
        let first = reader.next_batch().unwrap().unwrap();
        assert_eq!((first.optional("url", 0), first.optional("url", 1)), (Some("u0"), None));
        let token = reader.position();
        assert_eq!(token.0, first.len().to_string());
        let second = reader.next_batch().unwrap().unwrap();
        assert_eq!(second.text(0), format!("text {}", first.len()));
        let mut resumed = source.open(partition, Some(&token)).unwrap();
        assert_eq!(resumed.next_batch().unwrap().unwrap().text(0), second.text(0));
    }

    #[test]
    fn row_groups_are_read_once_whatever_the_bundles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, 950);
        let source = source(&path);
        let input = &source.files().unwrap().inputs()[0].clone();
        for cuts in [vec![0, 10], vec![0, 1, 10], vec![0, 3, 4, 10]] {
            let mut found = Vec::new();
            for pair in cuts.windows(2) {
                let part = partition(0, input, (pair[0], Some(pair[1])), 0);
                let mut reader = source.open(&part, None).unwrap();
                while let Some(batch) = reader.next_batch().unwrap() {
                    found.extend(batch.texts().map(str::to_owned));
                }
            }
            assert_eq!(found, (0..950).map(|n| format!("text {n}")).collect::<Vec<_>>(), "{cuts:?}");
        }
    }

    #[test]
    fn standard_input_is_refused() {
        let error = source(Path::new("-")).partitions().unwrap_err();
        assert!(error.to_string().contains("standard input"), "{error}");
    }
}
