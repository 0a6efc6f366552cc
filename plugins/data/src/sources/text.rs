//! `text`: plain text files.

use std::collections::BTreeMap;
use std::io::Read;

use psann_core::quantity::Bytes;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Result, Row};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Files, Lookup, Named, Paths};
use super::input::{Input, Opened};
use super::limits::{BATCH_BYTES, BATCH_DOCUMENTS, MAX_DOCUMENT, check_limit, too_long};
use super::lines::{Lines, without_mark};
use super::on_error::{InvalidUtf8, Ledger, OnError};

psann_core::register!(Source, "text", TextOptions, Text::new, primary = "path");

/// Plain text files, also gzip or zstd: a document per file, per line or per paragraph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextOptions {
    /// A file, a pattern such as `"books/*.txt"`, `"-"` for standard input, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// A program and its arguments, which prints the text.
    pub command: Option<Vec<String>>,
    /// What one document is. Lines and paragraphs without any text are skipped.
    pub documents: Unit,
    /// What happens to damaged files, and to documents that are not valid UTF-8 or too long.
    pub on_error: OnError,
    /// What happens to text that is not valid UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// Longest document. A longer one counts as broken and is never held in memory.
    pub max_document: Bytes,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            path: None,
            manifest: None,
            command: None,
            documents: Unit::File,
            on_error: OnError::Fail,
            invalid_utf8: InvalidUtf8::Reject,
            max_document: MAX_DOCUMENT,
        }
    }
}

/// What one document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A whole file.
    File,
    /// A line.
    Line,
    /// Lines up to an empty one.
    Paragraph,
}

/// The source.
#[derive(Debug)]
pub struct Text {
    options: TextOptions,
    files: Lookup,
}

impl Text {
    /// Touches no file yet.
    pub fn new(options: TextOptions) -> Result<Self> {
        check_limit(options.max_document)?;
        Ok(Self { options, files: Lookup::default() })
    }

    fn files(&self) -> Result<&Files> {
        let TextOptions { path, manifest, command, on_error, .. } = &self.options;
        let named = Named { path: path.as_ref(), manifest: manifest.as_deref(), command: command.as_deref() };
        self.files.get(named, *on_error)
    }

    /// Only lines can begin in the middle of a file.
    fn splits(&self) -> bool {
        self.options.documents == Unit::Line
    }
}

impl DataSource for Text {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.files()?.partitions(self.splits())
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let files = self.files()?;
        let input = files.of(partition)?;
        let limit = self.options.max_document;
        let mut ledger = Ledger::new(self.options.on_error, self.options.invalid_utf8);
        if self.options.documents == Unit::File {
            let done = resume.is_some_and(|token| token.0 != "0");
            return Ok(Box::new(WholeFile { input: input.clone(), limit: limit.0, done, ledger }));
        }
        let lines = Lines::open(input, partition, resume, limit, &mut ledger)?;
        let paragraphs = self.options.documents == Unit::Paragraph;
        Ok(Box::new(ByLines { lines, paragraphs, limit: limit.0 as usize, ledger, text: String::new() }))
    }

    fn part(&self, partition: &Partition, number: u64, of: u64) -> Result<Option<Partition>> {
        if self.splits() { self.files()?.part(partition, number, of) } else { Ok(None) }
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }

    fn notes(&self) -> Result<Vec<String>> {
        // A file that is one document is not split for want of a border, and nobody can change that.
        if self.options.documents == Unit::File { Ok(Vec::new()) } else { self.files()?.notes(self.splits()) }
    }
}

struct WholeFile {
    input: Input,
    limit: u64,
    done: bool,
    ledger: Ledger,
}

impl WholeFile {
    /// The bytes, or `None` for a file that is left out.
    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let Opened { reader, running, .. } = match self.input.open() {
            Ok(opened) => opened,
            Err(error) if matches!(self.input, Input::File(_)) => return self.ledger.damaged(error).map(|()| None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let read = reader.take(self.limit + 1).read_to_end(&mut bytes);
        if let Some(running) = running
            && running.is_drained()
        {
            running.finish()?;
        }
        if let Err(cause) = read {
            // Half a document is none.
            return self.ledger.damaged(self.input.cannot_read(cause)).map(|()| None);
        }
        if bytes.len() as u64 > self.limit {
            self.ledger.record(too_long("the file", self.limit as usize), || self.input.name())?;
            return Ok(None);
        }
        if bytes.is_empty() {
            self.ledger.empty(&self.input.name());
            return Ok(None);
        }
        Ok(Some(bytes))
    }
}

impl BatchReader for WholeFile {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let Some(bytes) = self.read()? else { return Ok(None) };
        let bytes = without_mark(&bytes);
        let name = self.input.name();
        let place = |at: usize| {
            let line = bytes[..at].split(|byte| *byte == b'\n').count();
            format!("{name}:{line}")
        };
        let mut replaced = String::new();
        let Some(text) = self.ledger.decode(bytes, &mut replaced, place)? else { return Ok(None) };
        let mut batch = BatchBuilder::default();
        batch.push_row(Row { text, id: Some(&name), ..Row::default() });
        batch.finish().map(Some)
    }

    fn position(&self) -> ResumeToken {
        ResumeToken(u8::from(self.done).to_string())
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        self.ledger.skipped()
    }

    fn warnings(&self) -> Vec<String> {
        self.ledger.warnings()
    }
}

struct ByLines {
    lines: Lines,
    paragraphs: bool,
    limit: usize,
    ledger: Ledger,
    /// The document in the making.
    text: String,
}

impl ByLines {
    /// Puts the next document into `text`, which stays empty at the end.
    fn next_document(&mut self) -> Result<()> {
        let (mut replaced, mut long) = (String::new(), false);
        self.text.clear();
        while self.lines.advance(&mut self.ledger)? {
            let lines = &self.lines;
            let place = |at: usize| format!("{}: column {}", lines.place(), at + 1);
            let Some(line) = self.ledger.decode(lines.line(), &mut replaced, place)? else { continue };
            let blank = line.trim().is_empty();
            if !blank && !long {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(line);
                long = self.text.len() > self.limit;
            }
            if long {
                self.text = String::new();
            }
            if long && blank {
                long = false;
                self.ledger.record(too_long("the paragraph", self.limit), || lines.place())?;
            } else if !self.text.is_empty() && (blank || !self.paragraphs) {
                return Ok(());
            }
        }
        if self.ledger.has_damage() {
            // Half a paragraph is none.
            self.text.clear();
        } else if long {
            self.ledger.record(too_long("the paragraph", self.limit), || self.lines.place())?;
        }
        Ok(())
    }
}

impl BatchReader for ByLines {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        while batch.len() < BATCH_DOCUMENTS && batch.bytes() < BATCH_BYTES {
            self.next_document()?;
            if self.text.is_empty() {
                break;
            }
            batch.push_row(Row { text: &self.text, ..Row::default() });
        }
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

    use super::*;

    fn read(text: &[u8], documents: Unit) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, text).unwrap();
        let source = Text::new(TextOptions {
            path: Some(Paths::One(path.display().to_string())),
            documents,
            ..TextOptions::default()
        })?;
        let mut found = Vec::new();
        for partition in source.partitions()? {
            let mut reader = source.open(&partition, None)?;
            while let Some(batch) = reader.next_batch()? {
                found.extend(batch.texts().map(str::to_owned));
            }
        }
        Ok(found)
    }

    #[test]
    fn a_document_is_a_file_a_line_or_a_paragraph() {
        let text = b"\none\r\ntwo\n\n\nthree";
        assert_eq!(read(text, Unit::File).unwrap(), ["\none\r\ntwo\n\n\nthree"]);
        assert_eq!(read(text, Unit::Line).unwrap(), ["one", "two", "three"]);
        assert_eq!(read(text, Unit::Paragraph).unwrap(), ["one\ntwo", "three"]);
        assert!(read(b"", Unit::File).unwrap().is_empty());
    }

    #[test]
    fn invalid_utf8_names_the_line() {
        for unit in [Unit::File, Unit::Line] {
            let error = read(b"fine\nbad \xff\n", unit).unwrap_err();
            assert!(error.to_string().contains("a.txt:2"), "{error}");
        }
    }
}
