//! `text`: plain text files.

use std::collections::BTreeMap;
use std::io::Read;

use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, BatchBuilder, DataSource, Document, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Files, Paths, cannot_read, open};
use super::lines::{BATCH_BYTES, BATCH_DOCUMENTS, InvalidUtf8, Lines, decode};

psann_core::register!(Source, "text", TextOptions, Text::new, primary = "path");

/// Plain text files, also gzip (`.gz`) or zstd (`.zst`): a document per file, per line or per paragraph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextOptions {
    /// A file, a pattern such as `"books/*.txt"`, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// What one document is. Lines and paragraphs without any text are skipped.
    pub documents: Unit,
    /// What happens to text that is not valid UTF-8.
    pub invalid_utf8: InvalidUtf8,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { path: None, manifest: None, documents: Unit::File, invalid_utf8: InvalidUtf8::Error }
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
}

impl Text {
    /// Touches no file yet.
    pub fn new(options: TextOptions) -> Result<Self> {
        Ok(Self { options })
    }

    fn files(&self) -> Result<Files> {
        Files::find(self.options.path.as_ref(), self.options.manifest.as_deref())
    }
}

impl DataSource for Text {
    fn partitions(&self) -> Result<Vec<Partition>> {
        // Only lines can begin in the middle of a file.
        self.files()?.partitions(self.options.documents == Unit::Line)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let files = self.files()?;
        let path = files.of(partition)?;
        let policy = self.options.invalid_utf8;
        if self.options.documents == Unit::File {
            let done = resume.is_some_and(|token| token.0 != "0");
            return Ok(Box::new(WholeFile { path: path.to_owned(), policy, done, skipped: BTreeMap::new() }));
        }
        let lines = Lines::open(path, partition, resume)?;
        let paragraphs = self.options.documents == Unit::Paragraph;
        Ok(Box::new(ByLines { lines, paragraphs, policy, skipped: BTreeMap::new() }))
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }
}

struct WholeFile {
    path: std::path::PathBuf,
    policy: InvalidUtf8,
    done: bool,
    skipped: BTreeMap<String, u64>,
}

impl BatchReader for WholeFile {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        open(&self.path)?.read_to_end(&mut bytes).map_err(|e| cannot_read(&self.path, e))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let place = |bytes: &[u8], at: usize| {
            let line = bytes[..at].split(|byte| *byte == b'\n').count();
            format!("{}:{line}", self.path.display())
        };
        let Some(text) = decode(bytes, self.policy, &mut self.skipped, place)? else { return Ok(None) };
        let mut batch = BatchBuilder::default();
        batch.push(Document { text, id: Some(self.path.display().to_string()), ..Document::default() });
        batch.finish().map(Some)
    }

    fn position(&self) -> ResumeToken {
        ResumeToken(u8::from(self.done).to_string())
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        self.skipped.clone()
    }
}

struct ByLines {
    lines: Lines,
    paragraphs: bool,
    policy: InvalidUtf8,
    skipped: BTreeMap<String, u64>,
}

impl ByLines {
    fn next_document(&mut self) -> Result<Option<Document>> {
        let mut text = String::new();
        while let Some((bytes, _)) = self.lines.next_line()? {
            let lines = &self.lines;
            let place = |_: &[u8], at: usize| format!("{}: column {}", lines.place(), at + 1);
            let Some(line) = decode(bytes, self.policy, &mut self.skipped, place)? else { continue };
            let blank = line.trim().is_empty();
            if blank && text.is_empty() {
                continue;
            }
            if !blank {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&line);
            }
            if blank || !self.paragraphs {
                break;
            }
        }
        Ok((!text.is_empty()).then(|| Document { text, ..Document::default() }))
    }
}

impl BatchReader for ByLines {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        while batch.len() < BATCH_DOCUMENTS && batch.bytes() < BATCH_BYTES {
            let Some(document) = self.next_document()? else { break };
            batch.push(document);
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

    #[test]
    fn parts_of_a_split_file_hold_each_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let lines: Vec<String> = (0..200).map(|n| "x".repeat(n % 13) + &n.to_string()).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let size = fs::metadata(&path).unwrap().len();
        for pieces in [1, 2, 3, 7, 50] {
            let mut found = Vec::new();
            for piece in 0..pieces {
                let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
                let partition =
                    Partition { index: 0, location: String::new(), start, end: Some(end), bytes: end - start };
                let mut part = Lines::open(&path, &partition, None).unwrap();
                while let Some((line, _)) = part.next_line().unwrap() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            assert_eq!(found, lines, "{pieces} pieces");
        }
    }
}
