//! `jsonl`: one JSON object a line, as most text corpora are published.

use std::collections::BTreeMap;

use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Document, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::files::{Files, Paths};
use super::lines::{BATCH_BYTES, BATCH_DOCUMENTS, InvalidUtf8, Lines, decode};

psann_core::register!(Source, "jsonl", JsonlOptions, Jsonl::new, primary = "path");

/// JSON lines: one object a line, plain, gzip (`.gz`) or zstd (`.zst`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlOptions {
    /// A file, a pattern such as `"shards/*.jsonl.zst"`, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// Key of the text.
    pub text: String,
    /// Key of the identifier; used where it is there.
    pub id: String,
    /// Key of the address; used where it is there.
    pub url: String,
    /// Key of the collection's name; used where it is there.
    pub source: String,
    /// What happens to lines that are no JSON object or have no text.
    pub on_error: OnError,
    /// What happens to text that is not valid UTF-8.
    pub invalid_utf8: InvalidUtf8,
}

impl Default for JsonlOptions {
    fn default() -> Self {
        Self {
            path: None,
            manifest: None,
            text: "text".into(),
            id: "id".into(),
            url: "url".into(),
            source: "source".into(),
            on_error: OnError::Error,
            invalid_utf8: InvalidUtf8::Error,
        }
    }
}

/// What happens to lines that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run ends with an error that names file and line.
    Error,
    /// The line is left out, which is counted.
    Skip,
}

/// The source.
#[derive(Debug)]
pub struct Jsonl {
    options: JsonlOptions,
}

impl Jsonl {
    /// Touches no file yet.
    pub fn new(options: JsonlOptions) -> Result<Self> {
        Ok(Self { options })
    }

    fn files(&self) -> Result<Files> {
        Files::find(self.options.path.as_ref(), self.options.manifest.as_deref())
    }
}

impl DataSource for Jsonl {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.files()?.partitions(true)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let lines = Lines::open(self.files()?.of(partition)?, partition, resume)?;
        Ok(Box::new(Reader { lines, options: self.options.clone(), skipped: BTreeMap::new() }))
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }
}

struct Reader {
    lines: Lines,
    options: JsonlOptions,
    skipped: BTreeMap<String, u64>,
}

impl Reader {
    fn document(&mut self, bytes: Vec<u8>) -> Result<Option<Document>> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let lines = &self.lines;
        let text = decode(bytes, self.options.invalid_utf8, &mut self.skipped, |_, at| {
            format!("{}: column {}", lines.place(), at + 1)
        })?;
        let Some(text) = text else { return Ok(None) };
        match parse(&text, &self.options) {
            Ok(document) => Ok(Some(document)),
            Err(unusable) if self.options.on_error == OnError::Skip => {
                *self.skipped.entry(unusable.reason.into()).or_default() += 1;
                Ok(None)
            }
            Err(unusable) => {
                Err(Error::new(format!("{}: {}", self.lines.place(), unusable.message)).hint(unusable.hint))
            }
        }
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        while batch.len() < BATCH_DOCUMENTS && batch.bytes() < BATCH_BYTES {
            let Some((bytes, _)) = self.lines.next_line()? else { break };
            if let Some(document) = self.document(bytes)? {
                batch.push(document);
            }
        }
        if batch.is_empty() { Ok(None) } else { batch.finish().map(Some) }
    }

    fn position(&self) -> ResumeToken {
        self.lines.position()
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        self.skipped.clone()
    }
}

/// Why a line cannot be used.
struct Unusable {
    reason: &'static str,
    message: String,
    hint: String,
}

fn parse(line: &str, options: &JsonlOptions) -> Result<Document, Unusable> {
    let skip = "set `on_error` to \"skip\" to leave such lines out";
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|e| Unusable {
        reason: "not a JSON object",
        message: format!("not a JSON object: {e}"),
        hint: format!("each line must hold one JSON object; {skip}"),
    })?;
    let text = match object.remove(&options.text) {
        Some(Value::String(text)) => text,
        Some(_) => {
            return Err(Unusable {
                reason: "text is no string",
                message: format!("`{}` is no string", options.text),
                hint: format!("name the key of the text with `text`; {skip}"),
            });
        }
        None => {
            let keys: Vec<String> = object.keys().map(|key| format!("`{key}`")).collect();
            return Err(Unusable {
                reason: "no text",
                message: format!("there is no `{}`", options.text),
                hint: format!("the keys are {}; name the one with the text with `text`; {skip}", keys.join(", ")),
            });
        }
    };
    let mut take = |key: &str| match object.remove(key) {
        Some(Value::String(value)) => Some(value),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let (id, url, source) = (take(&options.id), take(&options.url), take(&options.source));
    let meta = (!object.is_empty()).then(|| Value::Object(object).to_string());
    Ok(Document { text, id, url, source, meta })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(options: JsonlOptions) -> Result<(Vec<Document>, BTreeMap<String, u64>)> {
        let source = Jsonl::new(options)?;
        let (mut documents, mut skipped) = (Vec::new(), BTreeMap::new());
        for partition in source.partitions()? {
            let mut reader = source.open(&partition, None)?;
            while let Some(batch) = reader.next_batch()? {
                documents.extend((0..batch.len()).map(|row| batch.document(row)));
            }
            skipped.extend(reader.skipped());
        }
        Ok((documents, skipped))
    }

    fn of(lines: &[u8]) -> (tempfile::TempDir, JsonlOptions) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, lines).unwrap();
        let options = JsonlOptions { path: Some(Paths::One(path.display().to_string())), ..JsonlOptions::default() };
        (folder, options)
    }

    #[test]
    fn columns_are_found_and_the_rest_is_kept_as_meta() {
        let (_folder, options) = of(b"{\"text\":\"a\",\"id\":7,\"lang\":\"en\"}\n\n{\"text\":\"b\",\"url\":\"u\"}");
        let (documents, _) = read(options).unwrap();
        assert_eq!((documents[0].id.as_deref(), documents[0].meta.as_deref()), (Some("7"), Some("{\"lang\":\"en\"}")));
        assert_eq!((documents[1].text.as_str(), documents[1].url.as_deref()), ("b", Some("u")));
    }

    #[test]
    fn bad_lines_are_named_or_counted() {
        let (_folder, options) = of(b"{\"text\":\"a\"}\n{\"body\":\"b\"}\n{oops\n{\"text\":1}\n");
        let error = read(options.clone()).unwrap_err();
        assert!(error.to_string().contains("a.jsonl:2: there is no `text`"), "{error}");
        assert!(error.hint_text().unwrap().contains("`body`"));
        let (documents, skipped) = read(JsonlOptions { on_error: OnError::Skip, ..options }).unwrap();
        assert_eq!((documents.len(), skipped.values().sum::<u64>()), (1, 3));
    }

    #[test]
    fn invalid_utf8_is_an_error_or_replaced_or_skipped() {
        let (_folder, options) = of(b"{\"text\":\"fine\"}\n{\"text\":\"b\xffd\"}\n");
        let error = read(options.clone()).unwrap_err();
        assert!(error.to_string().contains("a.jsonl:2: column 11: byte 0xff is not valid UTF-8"), "{error}");
        let replaced = read(JsonlOptions { invalid_utf8: InvalidUtf8::Replace, ..options.clone() }).unwrap();
        assert_eq!(replaced.0[1].text, "b\u{fffd}d");
        assert_eq!(read(JsonlOptions { invalid_utf8: InvalidUtf8::Skip, ..options }).unwrap().0.len(), 1);
    }

    #[test]
    fn reading_goes_on_behind_the_resume_token() {
        let lines: String = (0..3000).map(|n| format!("{{\"text\":\"{n}\"}}\n")).collect();
        let (_folder, options) = of(lines.as_bytes());
        let source = Jsonl::new(options).unwrap();
        let partition = &source.partitions().unwrap()[0];
        let mut reader = source.open(partition, None).unwrap();
        reader.next_batch().unwrap();
        let token = reader.position();
        let expected = reader.next_batch().unwrap().unwrap();
        let mut resumed = source.open(partition, Some(&token)).unwrap();
        assert_eq!(resumed.next_batch().unwrap().unwrap().text(0), expected.text(0));
    }
}
