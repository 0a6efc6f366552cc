//! Rows with named fields, whatever the file: JSON lines, Parquet, or plain lines of text (the original WikiText).

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use psann_core::{Error, Result};
use serde_json::{Map, Value};

/// A file, read.
#[derive(Debug)]
pub struct Table {
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// Hash of the file's bytes.
    pub digest: String,
}

/// One row and where it stood.
#[derive(Debug, Clone)]
pub struct Row {
    file: Arc<PathBuf>,
    /// Line of the file, or row of a Parquet file, counted from 1.
    pub line: usize,
    /// Its fields.
    pub fields: Map<String, Value>,
}

impl Table {
    /// Reads a `.jsonl`, `.parquet`, `.raw` or `.tokens` file; the texts may be packed (`.gz`, `.zst`).
    ///
    /// # Errors
    /// Names the file, and the line that is no JSON object.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |e: std::io::Error| Error::new(format!("cannot read `{}`", path.display())).because(e);
        let bytes = fs::read(path).map_err(cannot)?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let end = |name: &str| path.extension().is_some_and(|extension| extension == name);
        let file = Arc::new(path.to_owned());
        if end("parquet") {
            return Ok(Self { rows: parquet_rows(&file)?, digest });
        }
        let (bytes, inner) = if end("gz") {
            let mut plain = Vec::new();
            MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).map_err(cannot)?;
            (plain, path.with_extension(""))
        } else if end("zst") {
            (zstd::decode_all(bytes.as_slice()).map_err(cannot)?, path.with_extension(""))
        } else {
            (bytes, path.to_owned())
        };
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::new(format!("`{}` is not UTF-8", path.display())).because(e.utf8_error()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let json = inner.extension().is_some_and(|extension| extension == "jsonl");
        Ok(Self { rows: if json { json_rows(&file, text)? } else { text_rows(&file, text) }, digest })
    }
}

impl Row {
    /// Where it stood.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// An error about this row.
    pub fn broken(&self, what: &str, hint: &str) -> Error {
        Error::new(format!("line {} of `{}` {what}", self.line, self.file.display())).hint(hint.to_owned())
    }

    /// A field that must be text.
    pub fn text(&self, name: &str, expects: &str) -> Result<String> {
        match self.fields.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.broken(&format!("has {} as `{name}`, which must be text", kind(other)), expects)),
            None => Err(self.broken(&format!("has no `{name}`"), expects)),
        }
    }

    /// A field that is text or several texts; empty where it is not there.
    pub fn texts(&self, name: &str, expects: &str) -> Result<Vec<String>> {
        let wrong = |value: &Value| {
            self.broken(&format!("has {} in `{name}`, which must be text or a list of texts", kind(value)), expects)
        };
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(value))).collect()
            }
            Some(other) => Err(wrong(other)),
        }
    }

    /// A field that is a whole number, written as a number or as text (`"2"`); `None` where it is missing or empty.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.fields.get(name)? {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_i64(),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn json_rows(file: &Arc<PathBuf>, text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (index, line) in text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let fields = serde_json::from_str(line).map_err(|e| {
            Error::new(format!("line {} of `{}` is no JSON object", index + 1, file.display())).because(e)
        })?;
        rows.push(Row { file: file.clone(), line: index + 1, fields });
    }
    Ok(rows)
}

fn text_rows(file: &Arc<PathBuf>, text: &str) -> Vec<Row> {
    let row = |(index, line): (usize, &str)| {
        let fields = Map::from_iter([("text".to_owned(), Value::from(line))]);
        Row { file: file.clone(), line: index + 1, fields }
    };
    text.split('\n').enumerate().map(row).collect()
}

fn parquet_rows(file: &Arc<PathBuf>) -> Result<Vec<Row>> {
    let cannot = |e: parquet::errors::ParquetError| {
        Error::new(format!("`{}` is not a readable Parquet file", file.display())).because(e)
    };
    let open = File::open(file.as_path()).map_err(|e| cannot(e.into()))?;
    let reader = SerializedFileReader::new(open).map_err(cannot)?;
    let mut rows = Vec::new();
    for (index, row) in reader.get_row_iter(None).map_err(cannot)?.enumerate() {
        let row = row.map_err(cannot)?;
        let fields = row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect();
        rows.push(Row { file: file.clone(), line: index + 1, fields });
    }
    Ok(rows)
}

/// Texts, numbers and lists of them are all that benchmarks have; anything else becomes its printed form.
fn json(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::from(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => Value::from(*value),
        Field::Double(value) => Value::from(*value),
        Field::Str(value) => Value::from(value.as_str()),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::Group(row) => Value::Object(row.get_column_iter().map(|(name, f)| (name.clone(), json(f))).collect()),
        other => Value::from(other.to_string()),
    }
}
