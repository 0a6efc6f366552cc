//! `jsonl`: one JSON object a line, as most text corpora are published.

use std::collections::BTreeMap;

use psann_core::quantity::Bytes;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Files, Lookup, Named, Paths};
use super::limits::{BATCH_BYTES, BATCH_DOCUMENTS, MAX_DOCUMENT, check_limit};
use super::lines::{Lines, is_blank};
use super::on_error::{InvalidUtf8, Ledger, OnError};
use super::record::RecordParser;

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
        let JsonlOptions { text, id, url, source, .. } = options;
        let parser = RecordParser::new([text, id, url, source]);
        Ok(Box::new(Reader { lines, ledger, parser, replaced: String::new() }))
    }

    fn part(&self, partition: &Partition, number: u64, of: u64) -> Result<Option<Partition>> {
        self.files()?.part(partition, number, of)
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
    ledger: Ledger,
    parser: RecordParser,
    /// A line whose invalid bytes were replaced.
    replaced: String,
}

impl Reader {
    fn take_line(&mut self, batch: &mut BatchBuilder) -> Result<()> {
        let (lines, ledger) = (&self.lines, &mut self.ledger);
        if is_blank(lines.line()) {
            return Ok(());
        }
        let place = |at| format!("{}: column {}", lines.place(), at + 1);
        let Some(line) = ledger.decode(lines.line(), &mut self.replaced, place)? else { return Ok(()) };
        match self.parser.push(line, batch) {
            Ok(()) => Ok(()),
            Err(broken) => ledger.record(broken, || lines.place()),
        }
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        while batch.len() < BATCH_DOCUMENTS && batch.bytes() < BATCH_BYTES && self.lines.advance(&mut self.ledger)? {
            self.take_line(&mut batch)?;
        }
        self.parser.give_back();
        if batch.is_empty() { Ok(None) } else { batch.finish().map(Some) }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use psann_core::Document;

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
