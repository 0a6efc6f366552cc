//! Columns of an Arrow schema as the columns of a document, whatever string type a writer chose: plain, large, view,
//! dictionary, or bytes that hold UTF-8. Parquet and Arrow files share it.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Schema};
use psann_core::{Error, Result};

/// Names of the columns, from the options of a source.
#[derive(Debug, Clone)]
pub struct Names {
    /// The text; it has to be there.
    pub text: String,
    /// Identifier, address, collection and anything else as JSON; each is used where it is there.
    pub optional: [String; 4],
}

/// Where the columns of a document stand in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    text: usize,
    optional: [Option<usize>; 4],
}

impl Columns {
    /// Finds the columns by name; `file` is for the message.
    ///
    /// # Errors
    /// When there is no text column, naming those that are there, or a column holds no strings.
    pub fn find(schema: &Schema, names: &Names, file: &str) -> Result<Self> {
        let find = |option: &str, name: &str| {
            let Some((index, field)) = schema.column_with_name(name) else { return Ok(None) };
            let text = option == "text";
            if reader(field.data_type(), !text).is_some() {
                return Ok(Some(index));
            }
            let kinds = if text { "strings" } else { "strings or integers" };
            Err(Error::new(format!("`{file}`: column `{name}` is of type {}, not {kinds}", field.data_type()))
                .hint(format!("name another column with `{option}`; {}", list(schema))))
        };
        let text = find("text", &names.text)?.ok_or_else(|| {
            Error::new(format!("`{file}` has no column `{}`", names.text))
                .hint(format!("name the column of the text with `text`; {}", list(schema)))
        })?;
        let [id, url, source, meta] = &names.optional;
        // Others keep structures under that name; they are not ours to read.
        let meta = find("meta", meta).unwrap_or(None);
        Ok(Self { text, optional: [find("id", id)?, find("url", url)?, find("source", source)?, meta] })
    }

    /// Indices in the schema, sorted: what has to be read.
    pub fn indices(&self) -> Vec<usize> {
        let mut indices: Vec<_> = self.optional.into_iter().flatten().chain([self.text]).collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    /// The same columns in batches that hold only [`Self::indices`].
    #[must_use]
    pub fn projected(&self) -> Self {
        let indices = self.indices();
        let place = |index: usize| indices.partition_point(|other| *other < index);
        Self { text: place(self.text), optional: self.optional.map(|index| index.map(place)) }
    }

    /// The values of one record batch.
    ///
    /// # Errors
    /// When the batch is not of the schema that the columns were found in.
    pub fn rows(&self, records: &RecordBatch) -> Result<Rows, ArrowError> {
        let strings = |index: usize, integers| Strings::new(records.column(index), integers);
        let mut optional = [const { None }; 4];
        for (strings_of, index) in optional.iter_mut().zip(self.optional) {
            *strings_of = index.map(|index| strings(index, true)).transpose()?;
        }
        Ok(Rows { text: strings(self.text, false)?, optional, count: records.num_rows() })
    }
}

fn list(schema: &Schema) -> String {
    let names: Vec<_> = schema.fields().iter().map(|field| format!("`{}`", field.name())).collect();
    format!("the columns are {}", names.join(", "))
}

/// The values of one record batch, row by row.
#[derive(Debug)]
pub struct Rows {
    /// The texts.
    pub text: Strings,
    /// Identifiers, addresses, collections and metadata.
    pub optional: [Option<Strings>; 4],
    /// Number of rows.
    pub count: usize,
}

type Get = fn(&dyn Array, usize) -> Cow<'_, [u8]>;

/// One column of strings.
#[derive(Debug)]
pub struct Strings {
    values: ArrayRef,
    get: Get,
    /// For a dictionary: the keys, and which value each stands for.
    keys: Option<(ArrayRef, Vec<usize>)>,
}

impl Strings {
    /// The values of `column`, integers among them if they will do.
    ///
    /// # Errors
    /// When it holds no strings.
    pub fn new(column: &ArrayRef, integers: bool) -> Result<Self, ArrowError> {
        let dictionary = column.as_any_dictionary_opt();
        let values = dictionary.map_or(column, |dictionary| dictionary.values()).clone();
        // Asked of what was decoded, which a damaged file may have turned into something else than its schema says.
        let get = reader(values.data_type(), integers)
            .ok_or_else(|| ArrowError::SchemaError(format!("a column turned into {}", values.data_type())))?;
        let Some(dictionary) = dictionary else { return Ok(Self { values, get, keys: None }) };
        // Without values every key is null, and there is nothing to look up.
        let keys = if values.is_empty() { vec![0; column.len()] } else { dictionary.normalized_keys() };
        Ok(Self { values, get, keys: Some((column.clone(), keys)) })
    }

    /// The value's bytes; `None` for null.
    pub fn value(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        let row = match &self.keys {
            Some((column, _)) if column.is_null(row) => return None,
            Some((_, keys)) => keys[row],
            None => row,
        };
        (!self.values.is_null(row)).then(|| (self.get)(&*self.values, row))
    }
}

/// How to get a value of that type; `None` where it holds no strings (or, if they will do, integers).
fn reader(kind: &DataType, integers: bool) -> Option<Get> {
    macro_rules! integer {
        ($kind:ty) => {
            |array, row| array.as_primitive::<$kind>().value(row).to_string().into_bytes().into()
        };
    }
    Some(match kind {
        DataType::Utf8 => |array, row| array.as_string::<i32>().value(row).as_bytes().into(),
        DataType::LargeUtf8 => |array, row| array.as_string::<i64>().value(row).as_bytes().into(),
        DataType::Utf8View => |array, row| array.as_string_view().value(row).as_bytes().into(),
        DataType::Binary => |array, row| array.as_binary::<i32>().value(row).into(),
        DataType::LargeBinary => |array, row| array.as_binary::<i64>().value(row).into(),
        DataType::BinaryView => |array, row| array.as_binary_view().value(row).into(),
        DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(..)) => {
            return reader(values, integers);
        }
        DataType::Int8 if integers => integer!(Int8Type),
        DataType::Int16 if integers => integer!(Int16Type),
        DataType::Int32 if integers => integer!(Int32Type),
        DataType::Int64 if integers => integer!(Int64Type),
        DataType::UInt8 if integers => integer!(UInt8Type),
        DataType::UInt16 if integers => integer!(UInt16Type),
        DataType::UInt32 if integers => integer!(UInt32Type),
        DataType::UInt64 if integers => integer!(UInt64Type),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{
        BinaryArray, BinaryViewArray, DictionaryArray, Int64Array, LargeBinaryArray, LargeStringArray, StringArray,
        StringViewArray,
    };

    use super::*;

    fn names() -> Names {
        Names { text: "text".into(), optional: ["id", "url", "source", "meta"].map(str::to_owned) }
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn every_string_type_reads_the_same() {
        let values = [Some("one"), None, Some("two")];
        let bytes = || values.map(|value| value.map(str::as_bytes)).to_vec();
        let texts: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(values.to_vec())),
            Arc::new(LargeStringArray::from(values.to_vec())),
            Arc::new(StringViewArray::from(values.to_vec())),
            Arc::new(BinaryArray::from(bytes())),
            Arc::new(LargeBinaryArray::from(bytes())),
            Arc::new(BinaryViewArray::from(bytes())),
            Arc::new(values.into_iter().collect::<DictionaryArray<Int8Type>>()),
        ];
        for text in texts {
            let records = batch(vec![("n", Arc::new(Int64Array::from(vec![1, 2, 3]))), ("text", text)]);
            let columns = Columns::find(&records.schema(), &names(), "a").unwrap();
            let rows = columns.rows(&records).unwrap();
            let found: Vec<_> = (0..3).map(|row| rows.text.value(row).map(Cow::into_owned)).collect();
            assert_eq!(found, values.map(|value| value.map(|text| text.as_bytes().to_vec())));
            assert_eq!((columns.indices(), columns.projected().text), (vec![1], 0));
        }
        let nothing: DictionaryArray<Int8Type> = [None::<&str>; 2].into_iter().collect();
        let records = batch(vec![("text", Arc::new(nothing))]);
        let rows = Columns::find(&records.schema(), &names(), "a").unwrap().rows(&records).unwrap();
        assert_eq!(rows.text.value(1), None);
    }

    #[test]
    fn integers_are_identifiers_but_no_text() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let records = batch(vec![("id", numbers.clone()), ("text", text.clone())]);
        let rows = Columns::find(&records.schema(), &names(), "a").unwrap().rows(&records).unwrap();
        assert_eq!(rows.optional[0].as_ref().unwrap().value(0).unwrap(), b"7".as_slice());
        let find = |columns| Columns::find(&batch(columns).schema(), &names(), "a").unwrap_err();
        let error = find(vec![("text", numbers)]);
        assert_eq!(error.to_string(), "`a`: column `text` is of type Int64, not strings");
        let error = find(vec![("body", text.clone()), ("id", text)]);
        assert_eq!(error.to_string(), "`a` has no column `text`");
        assert!(error.hint_text().unwrap().ends_with("the columns are `body`, `id`"));
    }
}
