//! Documents in columns: [`Batch`] wraps an Arrow record batch whose columns have fixed names and
//! types, so that batches can cross to other engines and to dynamic plugins unchanged.

use std::sync::Arc;

use arrow_array::builder::{LargeStringBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, LargeStringArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use crate::error::{Error, Result};

/// One document on its way into a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The text itself.
    pub text: String,
    /// The identifier the source gives, if any.
    pub id: Option<String>,
    /// The address the text came from, if any.
    pub url: Option<String>,
    /// The name of the collection the text belongs to, if any.
    pub source: Option<String>,
    /// Anything else the source knows, as a JSON object.
    pub meta: Option<String>,
}

/// Rows of documents: column `text` (LargeUtf8, never null) and, nullable, `id`, `url`, `source`, `meta` (Utf8).
#[derive(Debug, Clone)]
pub struct Batch {
    records: RecordBatch,
}

const OPTIONAL: [&str; 4] = ["id", "url", "source", "meta"];

impl Batch {
    /// Wraps a record batch after checking its columns.
    ///
    /// # Errors
    /// When `text` is missing, null somewhere or not LargeUtf8, or an optional column is not Utf8.
    pub fn try_new(records: RecordBatch) -> Result<Self> {
        let text = records.column_by_name("text").ok_or_else(|| Error::new("a batch has no column `text`"))?;
        if text.data_type() != &DataType::LargeUtf8 || text.null_count() > 0 {
            return Err(Error::new(format!(
                "column `text` must be LargeUtf8 without nulls; it is {} with {} nulls",
                text.data_type(),
                text.null_count()
            )));
        }
        for name in OPTIONAL {
            if let Some(column) = records.column_by_name(name)
                && column.data_type() != &DataType::Utf8
            {
                return Err(Error::new(format!("column `{name}` must be Utf8; it is {}", column.data_type())));
            }
        }
        Ok(Self { records })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.records.num_rows()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of row `row`.
    pub fn text(&self, row: usize) -> &str {
        self.text_column().map_or("", |column| column.value(row))
    }

    /// All texts, in row order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|row| self.text(row))
    }

    /// The value of an optional column (`id`, `url`, `source`, `meta`) at `row`.
    pub fn optional(&self, column: &str, row: usize) -> Option<&str> {
        let column = self.records.column_by_name(column)?.as_any().downcast_ref::<StringArray>()?;
        (!column.is_null(row)).then(|| column.value(row))
    }

    /// A copy of row `row` as a document.
    pub fn document(&self, row: usize) -> Document {
        let optional = |name: &str| self.optional(name, row).map(str::to_owned);
        Document {
            text: self.text(row).to_owned(),
            id: optional("id"),
            url: optional("url"),
            source: optional("source"),
            meta: optional("meta"),
        }
    }

    /// The Arrow batch beneath.
    pub fn records(&self) -> &RecordBatch {
        &self.records
    }

    fn text_column(&self) -> Option<&LargeStringArray> {
        self.records.column_by_name("text")?.as_any().downcast_ref()
    }
}

/// One document that someone else owns, on its way into a batch; the fields are those of [`Document`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row<'a> {
    /// The text itself.
    pub text: &'a str,
    /// The identifier the source gives, if any.
    pub id: Option<&'a str>,
    /// The address the text came from, if any.
    pub url: Option<&'a str>,
    /// The name of the collection the text belongs to, if any.
    pub source: Option<&'a str>,
    /// Anything else the source knows, as a JSON object.
    pub meta: Option<&'a str>,
}

/// Collects documents until they make a batch. The columns grow as documents arrive, so that a text is copied once.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    text: LargeStringBuilder,
    /// Empty until the first value arrives; then as long as `text`.
    optional: [Option<StringBuilder>; OPTIONAL.len()],
    rows: usize,
    bytes: usize,
}

impl BatchBuilder {
    /// Adds one document.
    #[expect(clippy::needless_pass_by_value, reason = "a pushed document belongs to the batch; `push_row` lends one")]
    pub fn push(&mut self, document: Document) {
        self.push_row(Row {
            text: &document.text,
            id: document.id.as_deref(),
            url: document.url.as_deref(),
            source: document.source.as_deref(),
            meta: document.meta.as_deref(),
        });
    }

    /// Adds a copy of one document.
    pub fn push_row(&mut self, row: Row<'_>) {
        self.text.append_value(row.text);
        self.bytes += row.text.len();
        for (column, value) in self.optional.iter_mut().zip([row.id, row.url, row.source, row.meta]) {
            let Some(value) = value else {
                if let Some(column) = column {
                    column.append_null();
                }
                continue;
            };
            let column = column.get_or_insert_with(|| {
                let mut column = StringBuilder::new();
                column.append_nulls(self.rows);
                column
            });
            column.append_value(value);
            self.bytes += value.len();
        }
        self.rows += 1;
    }

    /// Documents so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes so far, in all columns.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the batch and starts anew. A column that no document filled is left out.
    pub fn finish(&mut self) -> Result<Batch> {
        let mut fields = vec![Field::new("text", DataType::LargeUtf8, false)];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.text.finish())];
        for (name, column) in OPTIONAL.into_iter().zip(&mut self.optional) {
            if let Some(mut column) = column.take() {
                fields.push(Field::new(name, DataType::Utf8, true));
                columns.push(Arc::new(column.finish()));
            }
        }
        (self.rows, self.bytes) = (0, 0);
        let records = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|e| Error::new("cannot build a batch of documents").because(e))?;
        Batch::try_new(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_the_round_trip_and_empty_columns_are_left_out() {
        let mut builder = BatchBuilder::default();
        builder.push(Document { text: "one".into(), id: Some("a".into()), ..Document::default() });
        builder.push(Document { text: "two".into(), source: Some("s".into()), ..Document::default() });
        assert_eq!((builder.len(), builder.bytes()), (2, 8));
        let batch = builder.finish().unwrap();
        assert_eq!(batch.texts().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(batch.document(0).id.as_deref(), Some("a"));
        assert_eq!(batch.optional("id", 1), None);
        assert!(batch.records().column_by_name("url").is_none());
        assert_eq!((batch.optional("source", 0), batch.optional("source", 1)), (None, Some("s")));
        assert!(builder.is_empty());
        builder.push_row(Row { text: "three", ..Row::default() });
        let batch = builder.finish().unwrap();
        assert_eq!((batch.text(0), batch.records().num_columns()), ("three", 1));
    }
}
