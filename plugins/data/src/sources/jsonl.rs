//! `jsonl`: one JSON object a line, as most text corpora are published.

use std::collections::BTreeMap;

use psann_core::quantity::Bytes;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Document, Result, Row};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::files::{Files, Lookup, Named, Paths};
use super::json::{Found, Members, scan, unescape};
use super::limits::{BATCH_BYTES, BATCH_DOCUMENTS, KEPT_BUFFER, MAX_DOCUMENT, check_limit};
use super::lines::{Lines, is_blank};
use super::on_error::{Broken, InvalidUtf8, Ledger, OnError};

psann_core::register!(Source, "jsonl", JsonlOptions, Jsonl::new, primary = "path");

/// JSON lines: one object a line, plain, gzip or zstd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlOptions {
    /// A file, a pattern such as `"shards/*.jsonl.zst"`, `"-"` for standard input, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// A program and its arguments, which prints the lines.
    pub command: Option<Vec<String>>,
    /// Key of the text.
    pub text: String,
    /// Key of the identifier; used where it is there.
    pub id: String,
    /// Key of the address; used where it is there.
    pub url: String,
    /// Key of the collection's name; used where it is there.
    pub source: String,
    /// What happens to lines that are no JSON object or have no text, and to damaged files.
    pub on_error: OnError,
    /// What happens to text that is not valid UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// Longest line. A longer one counts as broken and is never held in memory.
    pub max_document: Bytes,
}

impl Default for JsonlOptions {
    fn default() -> Self {
        Self {
            path: None,
            manifest: None,
            command: None,
            text: "text".into(),
            id: "id".into(),
            url: "url".into(),
            source: "source".into(),
            on_error: OnError::Fail,
            invalid_utf8: InvalidUtf8::Reject,
            max_document: MAX_DOCUMENT,
        }
    }
}

/// The source.
#[derive(Debug)]
pub struct Jsonl {
    options: JsonlOptions,
    files: Lookup,
}

impl Jsonl {
    /// Touches no file yet.
    pub fn new(options: JsonlOptions) -> Result<Self> {
        check_limit(options.max_document)?;
        Ok(Self { options, files: Lookup::default() })
    }

    fn files(&self) -> Result<&Files> {
        let JsonlOptions { path, manifest, command, on_error, .. } = &self.options;
        let named = Named { path: path.as_ref(), manifest: manifest.as_deref(), command: command.as_deref() };
        self.files.get(named, *on_error)
    }
}

impl DataSource for Jsonl {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.files()?.partitions(true)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let options = self.options.clone();
        let mut ledger = Ledger::new(options.on_error, options.invalid_utf8);
        let files = self.files()?;
        let lines = Lines::open(files.of(partition)?, partition, resume, options.max_document, &mut ledger)?;
        Ok(Box::new(Reader {
            lines,
            options,
            ledger,
            members: Members::default(),
            scratch: Scratch::default(),
            batch: BatchBuilder::default(),
        }))
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }

    fn notes(&self) -> Result<Vec<String>> {
        self.files()?.notes(true)
    }
}

struct Reader {
    lines: Lines,
    options: JsonlOptions,
    ledger: Ledger,
    members: Members,
    scratch: Scratch,
    batch: BatchBuilder,
}

/// Memory that lines share one after the other.
#[derive(Default)]
struct Scratch {
    replaced: String,
    values: [String; 4],
    meta: String,
}

impl Reader {
    fn take_line(&mut self) -> Result<()> {
        let (lines, ledger) = (&self.lines, &mut self.ledger);
        if is_blank(lines.line()) {
            return Ok(());
        }
        let place = |at| format!("{}: column {}", lines.place(), at + 1);
        let Some(line) = ledger.decode(lines.line(), &mut self.scratch.replaced, place)? else { return Ok(()) };
        let JsonlOptions { text, id, url, source, .. } = &self.options;
        if scan(line, [text, id, url, source], &mut self.members).is_some()
            && push(line, &self.members, &mut self.scratch.values, &mut self.scratch.meta, &mut self.batch)
        {
            return Ok(());
        }
        match parse(line, &self.options) {
            Ok(document) => self.batch.push(document),
            Err(broken) => ledger.record(broken, || lines.place())?,
        }
        Ok(())
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        while self.batch.len() < BATCH_DOCUMENTS && self.batch.bytes() < BATCH_BYTES {
            if !self.lines.advance(&mut self.ledger)? {
                break;
            }
            self.take_line()?;
        }
        if self.scratch.values[0].capacity().max(self.scratch.meta.capacity()) > KEPT_BUFFER {
            self.scratch = Scratch::default();
        }
        if self.batch.is_empty() { Ok(None) } else { self.batch.finish().map(Some) }
    }

    fn position(&self) -> ResumeToken {
        self.lines.position()
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        self.ledger.skipped()
    }

    fn warnings(&self) -> Vec<String> {
        self.ledger.warnings()
    }
}

/// Adds what the scanner found; `false` where only the full parser knows what to do.
fn push(line: &str, members: &Members, scratch: &mut [String; 4], meta: &mut String, batch: &mut BatchBuilder) -> bool {
    if !matches!(members.wanted[0], Some(Found::String(..))) {
        return false;
    }
    let mut values = [None; 4];
    for ((value, found), scratch) in values.iter_mut().zip(&members.wanted).zip(scratch) {
        *value = match found {
            Some(Found::String(range, false)) => Some(&line[range.clone()]),
            Some(Found::String(range, true)) => {
                scratch.clear();
                unescape(&line[range.clone()], scratch);
                Some(scratch.as_str())
            }
            // Fractions print in the parser's way.
            Some(Found::Scalar(range)) if !line[range.clone()].contains('.') => Some(&line[range.clone()]),
            Some(Found::Scalar(_) | Found::Nested) => return false,
            Some(Found::Null) | None => None,
        };
    }
    meta.clear();
    if !members.rest.is_empty() {
        members.write_rest(line, meta);
    }
    let [text, id, url, source] = values;
    let Some(text) = text else { return false };
    batch.push_row(Row { text, id, url, source, meta: (!meta.is_empty()).then_some(meta) });
    true
}

fn parse(line: &str, options: &JsonlOptions) -> Result<Document, Broken> {
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|e| Broken {
        reason: "not a JSON object",
        message: format!("not a JSON object: {}", explain(&e)),
        hint: "each line must hold one JSON object; correct the line".into(),
    })?;
    let text = match object.remove(&options.text) {
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(Broken {
                reason: "text is no string",
                message: format!("`{}` is {}, not a string", options.text, kind(&other)),
                hint: "name the key of the text with `text`".into(),
            });
        }
        None => {
            let keys: Vec<String> = object.keys().map(|key| format!("`{key}`")).collect();
            let keys =
                if keys.is_empty() { "there is no key".into() } else { format!("the keys are {}", keys.join(", ")) };
            return Err(Broken {
                reason: "no text",
                message: format!("there is no `{}`", options.text),
                hint: format!("{keys}; name the one with the text with `text`"),
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

/// The parser's words with the column only: it sees one line, and calls it line 1.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) if error.column() == 0 => what.to_owned(),
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
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
        assert_eq!(
            read(JsonlOptions { invalid_utf8: InvalidUtf8::Reject, on_error: OnError::Skip, ..options })
                .unwrap()
                .0
                .len(),
            1
        );
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
