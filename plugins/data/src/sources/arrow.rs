//! `arrow`: record batches as other programs hand them over, in a file, through a pipe, or printed by a command.

use std::fs::File;
use std::io::BufReader;

use arrow_ipc::reader::FileReaderBuilder;
use arrow_schema::{ArrowError, SchemaRef};
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{DataSource, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::{Columns, Names};
use super::files::{Files, Lookup, Named, Paths};
use super::input::{self, Input};
use super::ipc_stream::IpcStream;
use super::on_error::{DAMAGE_HINT, InvalidUtf8, Ledger, OnError};
use super::table::{Opened, Records, TableReader, guarded, words};

psann_core::register!(Source, "arrow", ArrowOptions, Arrow::new, primary = "path");

/// Arrow IPC, streams and files (also called Feather 2): one document a row.
///
/// Standard input and commands are read once, by one worker, and cannot be resumed in the middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArrowOptions {
    /// A file, a pattern such as `"shards/*.arrow"`, `"-"` for standard input, or a list of them.
    pub path: Option<Paths>,
    /// A file that lists files, one a line, relative to its own folder.
    pub manifest: Option<String>,
    /// A program and its arguments, which prints an Arrow stream.
    pub command: Option<Vec<String>>,
    /// Column of the text.
    pub text: String,
    /// Column of the identifier; used where it is there.
    pub id: String,
    /// Column of the address; used where it is there.
    pub url: String,
    /// Column of the collection's name; used where it is there.
    pub source: String,
    /// Column of anything else, a JSON object as text, as psann writes it; used where it is there.
    pub meta: String,
    /// What happens to rows without text, and to damaged files.
    pub on_error: OnError,
    /// What happens to text that is not valid UTF-8; only columns of bytes can hold it.
    pub invalid_utf8: InvalidUtf8,
}

impl Default for ArrowOptions {
    fn default() -> Self {
        Self {
            path: None,
            manifest: None,
            command: None,
            text: "text".into(),
            id: "id".into(),
            url: "url".into(),
            source: "source".into(),
            meta: "meta".into(),
            on_error: OnError::Fail,
            invalid_utf8: InvalidUtf8::Reject,
        }
    }
}

/// The source.
#[derive(Debug)]
pub struct Arrow {
    options: ArrowOptions,
    files: Lookup,
}

impl Arrow {
    /// Touches no file yet.
    pub fn new(options: ArrowOptions) -> Result<Self> {
        Ok(Self { options, files: Lookup::default() })
    }

    fn files(&self) -> Result<&Files> {
        let ArrowOptions { path, manifest, command, on_error, .. } = &self.options;
        let named = Named { path: path.as_ref(), manifest: manifest.as_deref(), command: command.as_deref() };
        self.files.get(named, *on_error)
    }

    fn columns(&self, schema: &SchemaRef, input: &Input) -> Result<Columns> {
        let ArrowOptions { text, id, url, source, meta, .. } = &self.options;
        let names = Names { text: text.clone(), optional: [id, url, source, meta].map(String::clone) };
        Columns::find(schema, &names, &input.name())
    }

    fn table(&self, input: &Input, opened: input::Opened) -> Result<Opened> {
        let input::Opened { mut reader, running, .. } = opened;
        let head = reader.fill_buf().map_err(|e| input.cannot_read(e))?;
        if head.starts_with(FILE_MAGIC) {
            return self.file(input);
        }
        if !head.starts_with(STREAM_MAGIC) {
            let what = if head.is_empty() { "is empty: not even an Arrow schema" } else { "is no Arrow IPC data" };
            return Err(Error::new(format!("`{}` {what}", input.name())).hint(NOT_ARROW_HINT));
        }
        let (stream, schema) = IpcStream::open(reader).map_err(|e| unreadable(input, &e))?;
        let columns = self.columns(&schema, input)?;
        Ok(Opened { records: Box::new(stream), columns, running })
    }

    /// The file format, whose index is at the end.
    fn file(&self, input: &Input) -> Result<Opened> {
        let Input::File(path) = input else {
            return Err(Error::new(format!("{} is an Arrow file, which cannot be read from a pipe", input.name()))
                .hint("write the stream format instead"));
        };
        let file = File::open(path).map_err(|e| input.cannot_read(e))?;
        let open = || FileReaderBuilder::new().build(BufReader::new(file));
        let reader = guarded(open).map_err(|e| unreadable(input, &e))?;
        let columns = self.columns(&reader.schema(), input)?;
        let records: Records = Box::new(reader);
        Ok(Opened { records, columns, running: None })
    }
}

const FILE_MAGIC: &[u8] = b"ARROW1";
/// The marker before each message since Arrow 0.15 (2019).
const STREAM_MAGIC: &[u8] = &[0xff; 4];
const NOT_ARROW_HINT: &str = "check the file; JSON lines are read by the source `jsonl`, Parquet by `parquet`";

fn unreadable(input: &Input, cause: &ArrowError) -> Error {
    Error::new(format!("`{}` is damaged: its Arrow schema cannot be read", input.name()))
        .because(words(cause))
        .hint(DAMAGE_HINT)
}

impl DataSource for Arrow {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.files()?.partitions(false)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let files = self.files()?;
        let input = files.of(partition)?.clone();
        let done = resume.map_or(Ok(0), |token| input.records_done(token))?;
        let mut ledger = Ledger::new(self.options.on_error, self.options.invalid_utf8);
        let opened = match input.open() {
            Ok(opened) => {
                let running = opened.running.clone();
                self.table(&input, opened).or_else(|error| match running {
                    // No data at all: most likely the command failed.
                    Some(running) if running.is_drained() => running.finish().and(Err(error)),
                    _ => Err(error),
                })
            }
            Err(error) => Err(error),
        };
        let opened = match opened {
            Ok(opened) => Some(opened),
            Err(error) if matches!(input, Input::File(_)) => {
                ledger.damaged(error)?;
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Box::new(TableReader::new(input, opened, ledger, done, done)))
    }

    fn identity(&self) -> Result<String> {
        self.files()?.identity()
    }

    fn notes(&self) -> Result<Vec<String>> {
        self.files()?.notes(false)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use arrow_ipc::writer::{FileWriter, StreamWriter};

    use super::*;

    /// Three batches of 700 rows, as a stream or a file.
    fn write(path: &Path, as_stream: bool) {
        let batch = |part: usize| {
            let texts: ArrayRef =
                Arc::new((0..700).map(|n| Some((700 * part + n).to_string())).collect::<StringArray>());
            RecordBatch::try_from_iter([("text", texts)]).unwrap()
        };
        let file = File::create(path).unwrap();
        if as_stream {
            let mut writer = StreamWriter::try_new(file, &batch(0).schema()).unwrap();
            (0..3).for_each(|part| writer.write(&batch(part)).unwrap());
            writer.finish().unwrap();
        } else {
            let mut writer = FileWriter::try_new(file, &batch(0).schema()).unwrap();
            (0..3).for_each(|part| writer.write(&batch(part)).unwrap());
            writer.finish().unwrap();
        }
    }

    fn texts(source: &Arrow) -> Result<Vec<String>> {
        let mut reader = source.open(&source.partitions()?[0], None)?;
        let mut found = Vec::new();
        while let Some(batch) = reader.next_batch()? {
            found.extend(batch.texts().map(str::to_owned));
        }
        Ok(found)
    }

    fn expected() -> Vec<String> {
        (0..2100).map(|n| n.to_string()).collect()
    }

    #[test]
    fn streams_and_files_resume_behind_the_token() {
        let folder = tempfile::tempdir().unwrap();
        for as_stream in [true, false] {
            let path = folder.path().join("a.arrow");
            write(&path, as_stream);
            let path = Some(Paths::One(path.display().to_string()));
            let source = Arrow::new(ArrowOptions { path, ..ArrowOptions::default() }).unwrap();
            assert_eq!(texts(&source).unwrap(), expected());
            let partition = &source.partitions().unwrap()[0];
            let mut reader = source.open(partition, None).unwrap();
            assert_eq!(reader.next_batch().unwrap().unwrap().len(), 1024);
            let token = reader.position();
            let mut resumed = source.open(partition, Some(&token)).unwrap();
            assert_eq!(resumed.next_batch().unwrap().unwrap().text(0), "1024");
            assert_eq!(resumed.position(), ResumeToken("2048".into()));
        }
    }

    #[test]
    fn a_command_is_read_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrows");
        write(&path, true);
        let run = |script: &str| {
            let command = Some(["sh", "-c", script, path.to_str().unwrap()].map(str::to_owned).to_vec());
            texts(&Arrow::new(ArrowOptions { command, on_error: OnError::Skip, ..ArrowOptions::default() }).unwrap())
        };
        assert_eq!(run("cat \"$0\"").unwrap(), expected());
        for script in [
            "cat \"$0\"; echo oh no >&2; exit 3",
            "head -c 9000 \"$0\"; echo oh no >&2; exit 3",
            "echo oh no >&2; exit 3",
        ] {
            let error = run(script).unwrap_err().to_string();
            assert!(error.contains("failed with exit status: 3") && error.ends_with("oh no"), "{error}");
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_message_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrows");
        write(&path, true);
        let whole = fs::read(&path).unwrap();
        for length in [0, 3, 100, 5000, whole.len() - 9] {
            fs::write(&path, &whole[..length]).unwrap();
            let path = Some(Paths::One(path.display().to_string()));
            let source = Arrow::new(ArrowOptions { path, ..ArrowOptions::default() }).unwrap();
            assert!(texts(&source).is_err(), "{length} bytes");
        }
    }
}
