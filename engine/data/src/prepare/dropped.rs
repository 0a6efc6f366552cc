//! The record of dropped documents: one row each, with the filter, the reason and the numbers behind it.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use psann_core::{Error, Result};
use serde_json::Value;

use super::judge::Dropped;
use super::rows::Place;
use crate::columns::{self, ColumnsFile, Effort, Sum};

/// The columns of the record.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("document", DataType::Utf8, false),
        Field::new("id", DataType::Utf8, true),
        Field::new("url", DataType::Utf8, true),
        Field::new("filter", DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("details", DataType::Utf8, false),
        Field::new("bytes", DataType::UInt64, false),
        Field::new("text", DataType::LargeUtf8, true),
    ]))
}

/// Dropped documents as rows of the record.
pub fn records(dropped: &[Dropped]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(dropped.iter().map(|d| Some(d.place.to_string())).collect::<StringArray>()),
        Arc::new(dropped.iter().map(|d| d.id.as_deref()).collect::<StringArray>()),
        Arc::new(dropped.iter().map(|d| d.url.as_deref()).collect::<StringArray>()),
        Arc::new(dropped.iter().map(|d| Some(d.filter as u64)).collect::<UInt64Array>()),
        Arc::new(dropped.iter().map(|d| Some(d.reason.as_str())).collect::<StringArray>()),
        Arc::new(dropped.iter().map(|d| Some(d.details.to_string())).collect::<StringArray>()),
        Arc::new(dropped.iter().map(|d| Some(d.bytes)).collect::<UInt64Array>()),
        Arc::new(dropped.iter().map(|d| d.text.as_deref()).collect::<LargeStringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|e| Error::new("cannot record dropped documents").because(e))
}

/// Rows of one row group.
const GROUP_ROWS: usize = 1 << 13;
/// Bytes of text at which a row group ends early.
const GROUP_BYTES: usize = 8 << 20;

/// Writes the record; groups depend on the documents alone.
pub struct DroppedWriter {
    file: ColumnsFile,
    waiting: Vec<Dropped>,
    bytes: usize,
}

impl DroppedWriter {
    /// Starts the file under a temporary name.
    pub fn create(path: &Path, effort: Effort) -> Result<Self> {
        Ok(Self { file: ColumnsFile::create(path, schema(), effort)?, waiting: Vec::new(), bytes: 0 })
    }

    /// Adds a document.
    pub fn push(&mut self, dropped: Dropped) -> Result<()> {
        self.bytes += dropped.text.as_ref().map_or(0, String::len);
        self.waiting.push(dropped);
        if self.waiting.len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.file.row_group(&records(&self.waiting)?)?;
        }
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Ends the file and gives it its name.
    pub fn publish(mut self) -> Result<Sum> {
        self.flush()?;
        self.file.publish()
    }
}

/// Reads a record, in order.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Dropped>> + use<>> {
    let batches = columns::read(path, None, 1024)?;
    let path = path.to_owned();
    Ok(batches.flat_map(move |batch| {
        let rows = batch.and_then(|batch| {
            rows(&batch).ok_or_else(|| Error::new(format!("`{}` has other columns than expected", path.display())))
        });
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }
    }))
}

fn rows(batch: &RecordBatch) -> Option<Vec<Dropped>> {
    fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Option<&'a T> {
        batch.column_by_name(name)?.as_any().downcast_ref()
    }
    let words = |name| column::<StringArray>(batch, name);
    let (documents, ids, urls) = (words("document")?, words("id")?, words("url")?);
    let (reasons, details) = (words("reason")?, words("details")?);
    let (filters, bytes): (&UInt64Array, &UInt64Array) = (column(batch, "filter")?, column(batch, "bytes")?);
    let texts: &LargeStringArray = column(batch, "text")?;
    let optional = |column: &StringArray, row: usize| (!column.is_null(row)).then(|| column.value(row).to_owned());
    let row = |row: usize| {
        Some(Dropped {
            place: documents.value(row).parse::<Place>().ok()?,
            id: optional(ids, row),
            url: optional(urls, row),
            filter: filters.value(row) as usize,
            reason: reasons.value(row).to_owned(),
            details: serde_json::from_str(details.value(row)).unwrap_or(Value::Null),
            bytes: bytes.value(row),
            text: (!texts.is_null(row)).then(|| texts.value(row).to_owned()),
        })
    };
    (0..batch.num_rows()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dropped.parquet");
        let dropped: Vec<Dropped> = (0..3)
            .map(|row| Dropped {
                place: Place::new(2, row),
                id: (row == 1).then(|| "a".to_owned()),
                url: None,
                filter: row as usize,
                reason: "too short".into(),
                details: json!({ "words": row }),
                bytes: 17,
                text: (row == 2).then(|| "text".to_owned()),
            })
            .collect();
        let mut writer = DroppedWriter::create(&path, Effort::Light).unwrap();
        for one in &dropped {
            writer.push(one.clone()).unwrap();
        }
        writer.publish().unwrap();
        assert_eq!(read(&path).unwrap().collect::<Result<Vec<_>>>().unwrap(), dropped);
    }
}
