//! Documents on their way through the stage: a batch whose rows know their place in the source.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, LargeStringArray, RecordBatch, StringArray, UInt64Array, new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use psann_core::{Batch, Error, Result};

/// Where a document stands in the source: the partition and, counted from 0, the document within it.
///
/// It never depends on the number of workers. People see it as `12-3405`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// Bits of a place that count documents within a partition; the rest tells the partition.
const ROW_BITS: u32 = 40;

impl Place {
    /// Row `row` of `partition`.
    pub fn new(partition: usize, row: u64) -> Self {
        Self(((partition as u64) << ROW_BITS) | row)
    }

    /// Index of the partition.
    pub fn partition(self) -> usize {
        (self.0 >> ROW_BITS) as usize
    }

    /// Document within the partition.
    pub fn row(self) -> u64 {
        self.0 & ((1 << ROW_BITS) - 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition(), self.row())
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (partition, row) = text.split_once('-')?;
            let (partition, row): (u64, u64) = (partition.parse().ok()?, row.parse().ok()?);
            (partition < 1 << (64 - ROW_BITS) && row < 1 << ROW_BITS).then(|| Self::new(partition as usize, row))
        };
        parse().ok_or_else(|| Error::usage(format!("`{text}` is no document: places look like `12-3405`")))
    }
}

/// Name of the column that holds the places.
const PLACE: &str = "place";
/// Name of the column that holds them in a finished corpus.
const DOCUMENT: &str = "document";
const OPTIONAL: [&str; 4] = ["id", "url", "source", "meta"];

/// The columns of stored rows, in order.
pub fn schema() -> SchemaRef {
    let mut fields = vec![Field::new("text", DataType::LargeUtf8, false)];
    fields.extend(OPTIONAL.map(|name| Field::new(name, DataType::Utf8, true)));
    fields.push(Field::new(PLACE, DataType::UInt64, false));
    Arc::new(Schema::new(fields))
}

/// The columns of a finished corpus, in order.
pub fn published_schema() -> SchemaRef {
    let schema = schema();
    let mut fields: Vec<Field> = schema.fields().iter().take(5).map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(DOCUMENT, DataType::Utf8, false));
    Arc::new(Schema::new(fields))
}

/// A batch with all columns of [`schema`].
#[derive(Debug, Clone)]
pub struct Rows {
    batch: Batch,
}

impl Rows {
    /// The documents of a source's batch; the first one is document `first` of `partition`.
    pub fn number(batch: &Batch, partition: usize, first: u64) -> Result<Self> {
        let places =
            UInt64Array::from_iter_values((0..batch.len() as u64).map(|row| Place::new(partition, first + row).0));
        let records = batch.records();
        let column = |name: &str| records.column_by_name(name).map(Arc::clone);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(6);
        columns.extend(column("text"));
        for name in OPTIONAL {
            columns.push(column(name).unwrap_or_else(|| new_null_array(&DataType::Utf8, batch.len())));
        }
        columns.push(Arc::new(places));
        Self::of(RecordBatch::try_new(schema(), columns).map_err(damaged)?)
    }

    /// Stored rows as they were.
    pub fn of(records: RecordBatch) -> Result<Self> {
        if records.schema_ref().fields() != schema().fields() {
            return Err(Error::new("stored documents have other columns than this program writes"));
        }
        Ok(Self { batch: Batch::try_new(records)? })
    }

    /// All rows of several batches as one.
    pub fn concat(parts: &[Self]) -> Result<Self> {
        let records: Vec<&RecordBatch> = parts.iter().map(Self::records).collect();
        Self::of(concat_batches(&schema(), records).map_err(damaged)?)
    }

    /// The batch that filters see.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The columns beneath.
    pub fn records(&self) -> &RecordBatch {
        self.batch.records()
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Bytes of text.
    pub fn bytes(&self) -> u64 {
        self.batch.texts().map(|text| text.len() as u64).sum()
    }

    /// Where row `row` stands in the source.
    pub fn place(&self, row: usize) -> Place {
        let column = self.records().column_by_name(PLACE).and_then(|c| c.as_any().downcast_ref::<UInt64Array>());
        Place(column.map_or(0, |places| places.value(row)))
    }

    /// The rows from `start`, `len` of them.
    pub fn slice(&self, start: usize, len: usize) -> Result<Self> {
        Self::of(self.records().slice(start, len))
    }

    /// The rows for which `keep` says so.
    pub fn select(&self, keep: Vec<bool>) -> Result<Self> {
        if keep.iter().all(|keep| *keep) {
            return Ok(self.clone());
        }
        Self::of(filter_record_batch(self.records(), &BooleanArray::from(keep)).map_err(damaged)?)
    }

    /// The rows with new texts where there is one.
    pub fn with_texts(&self, texts: &[Option<String>]) -> Result<Self> {
        if texts.iter().all(Option::is_none) {
            return Ok(self.clone());
        }
        let new = |(row, text): (usize, &Option<String>)| match text {
            Some(text) => text.clone(),
            None => self.batch.text(row).to_owned(),
        };
        let texts: LargeStringArray = texts.iter().enumerate().map(new).map(Some).collect();
        let mut columns = self.records().columns().to_vec();
        columns[0] = Arc::new(texts);
        Self::of(RecordBatch::try_new(schema(), columns).map_err(damaged)?)
    }

    /// The columns of a finished corpus, in which places are the words people see.
    pub fn published(&self) -> Result<RecordBatch> {
        let words: StringArray = (0..self.len()).map(|row| Some(self.place(row).to_string())).collect();
        let mut columns = self.records().columns().to_vec();
        columns.pop();
        columns.push(Arc::new(words));
        RecordBatch::try_new(published_schema(), columns).map_err(damaged)
    }

    /// Rows of a finished corpus.
    pub fn of_published(records: &RecordBatch) -> Result<Self> {
        let mut columns = records.columns().to_vec();
        let words = columns.pop();
        let words = words.as_ref().and_then(|column| column.as_any().downcast_ref::<StringArray>());
        let words = words.ok_or_else(|| Error::new("a shard has other columns than this program writes"))?;
        let places: Vec<u64> =
            words.iter().map(|word| Ok(word.unwrap_or_default().parse::<Place>()?.0)).collect::<Result<_>>()?;
        columns.push(Arc::new(UInt64Array::from(places)));
        Self::of(RecordBatch::try_new(schema(), columns).map_err(damaged)?)
    }
}

fn damaged(cause: arrow_schema::ArrowError) -> Error {
    Error::new("cannot put documents together").because(cause)
}

#[cfg(test)]
mod tests {
    use psann_core::{BatchBuilder, Document};

    use super::*;

    fn rows() -> Rows {
        let mut builder = BatchBuilder::default();
        for text in ["one", "two", "three"] {
            builder.push(Document { text: text.into(), url: Some(format!("u/{text}")), ..Document::default() });
        }
        Rows::number(&builder.finish().unwrap(), 7, 100).unwrap()
    }

    #[test]
    fn places_are_words_and_back() {
        let place = Place::new(12, 3405);
        assert_eq!(place.to_string(), "12-3405");
        assert_eq!("12-3405".parse::<Place>().unwrap(), place);
        assert!("12".parse::<Place>().is_err() && "1-x".parse::<Place>().is_err());
    }

    #[test]
    fn rows_keep_their_place_whatever_is_dropped_or_rewritten() {
        let kept = rows().select(vec![true, false, true]).unwrap();
        let kept = kept.with_texts(&[None, Some("3".into())]).unwrap();
        assert_eq!(kept.batch().texts().collect::<Vec<_>>(), ["one", "3"]);
        assert_eq!([kept.place(0), kept.place(1)], [Place::new(7, 100), Place::new(7, 102)]);
        assert_eq!(kept.batch().optional("url", 1), Some("u/three"));
        let published = Rows::of_published(&kept.published().unwrap()).unwrap();
        assert_eq!(published.records(), kept.records());
        let twice = Rows::concat(&[kept.clone(), kept]).unwrap();
        assert_eq!(twice.len(), 4);
        assert_eq!(twice.bytes(), 8);
    }
}
