//! Documents that a program writes as an Arrow IPC stream.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Cursor, Read};

use arrow_schema::{ArrowError, DataType, Schema};
use psann_core::{BatchBuilder, Error, Result, Row};
use psann_plugins_data::sources::columns::{Columns, Names, Rows, Strings};
use psann_plugins_data::sources::ipc_stream::IpcStream;
use psann_plugins_data::sources::table::{guarded, words};

use super::manifest::Resume;
use super::reader::{Documents, PIPE_BYTES, Step, TOKEN_HINT, check_token};
use super::running::Output;

/// The marker before each message since Arrow 0.15 (2019).
const STREAM_MAGIC: [u8; 4] = [0xff; 4];
const FILE_MAGIC: &[u8] = b"ARRO";

/// The column of the places behind documents.
const RESUME: &str = "resume";

const HINT: &str =
    "the columns are `text` and, where they are there, `id`, `url`, `source` and `meta`, all of them strings";

/// Reads documents row by row.
pub(super) struct ArrowRows {
    stream: IpcStream,
    columns: Columns,
    /// Where the places stand, where the manifest says that there are any.
    places: Option<usize>,
    current: Option<Current>,
    /// Rows so far.
    rows: u64,
}

/// The record batch in work.
struct Current {
    rows: Rows,
    places: Option<Strings>,
    next: usize,
}

impl ArrowRows {
    /// The documents of an output, after its schema was read.
    ///
    /// # Errors
    /// When it is no stream of documents.
    pub fn open(output: Output, resume: Resume) -> Result<Self> {
        let mut reader = BufReader::with_capacity(PIPE_BYTES, output);
        let mut head = Vec::new();
        let read = (&mut reader).take(STREAM_MAGIC.len() as u64).read_to_end(&mut head);
        read.map_err(|e| Error::new("its output cannot be read").because(e))?;
        if head != STREAM_MAGIC {
            let (what, hint) = match head.as_slice() {
                [] => ("it wrote nothing, not even an Arrow schema", "a stream without rows begins with a schema, too"),
                FILE_MAGIC => ("it wrote an Arrow file, which cannot be read from a pipe", "write the stream format"),
                _ => (
                    "what it wrote is no Arrow stream",
                    "write an Arrow IPC stream, and what is meant for people to standard error; for JSON lines the \
                     manifest says `format = \"jsonl\"`",
                ),
            };
            return Err(Error::new(what).hint(hint));
        }
        let reader: Box<dyn BufRead + Send> = Box::new(Cursor::new(head).chain(reader));
        let (stream, schema) =
            IpcStream::open(reader).map_err(|e| Error::new("its Arrow schema cannot be read").because(words(&e)))?;
        let names = Names { text: "text".into(), optional: ["id", "url", "source", "meta"].map(str::to_owned) };
        // Files have quoted names, and their sources have options for the names of columns.
        let explain = |e: Error| Error::new(e.message().replacen("`its stream`", "its stream", 1)).hint(HINT);
        let columns = Columns::find(&schema, &names, "its stream").map_err(explain)?;
        let places = (resume == Resume::Token).then(|| places(&schema)).transpose()?;
        Ok(Self { stream, columns, places, current: None, rows: 0 })
    }

    /// Makes sure that there is a row in the current batch; `None` at the end.
    fn current(&mut self) -> Result<Option<&mut Current>> {
        while self.current.as_ref().is_none_or(|current| current.next >= current.rows.count) {
            let next = guarded(|| -> Result<_, ArrowError> {
                let Some(records) = self.stream.next().transpose()? else { return Ok(None) };
                let places = self.places.map(|index| Strings::new(records.column(index), false)).transpose()?;
                Ok(Some(Current { rows: self.columns.rows(&records)?, places, next: 0 }))
            });
            let damaged = |e| {
                Error::new(format!("its Arrow stream is damaged behind row {}", self.rows))
                    .because(words(&e))
                    .hint("the stream has to be whole: close its writer before the program ends")
            };
            let Some(next) = next.map_err(damaged)? else { return Ok(None) };
            self.current = Some(next);
        }
        Ok(self.current.as_mut())
    }
}

/// The column of places.
fn places(schema: &Schema) -> Result<usize> {
    let hint = "a string for the place behind each document, null where there is none; `resume = \"count\"` needs none";
    let Some((index, field)) = schema.column_with_name(RESUME) else {
        return Err(Error::new(format!("its stream has no column `{RESUME}`")).hint(hint));
    };
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(index),
        other => Err(Error::new(format!("its stream: column `{RESUME}` is of type {other}, not strings")).hint(hint)),
    }
}

impl Documents for ArrowRows {
    fn pass(&mut self, count: u64) -> Result<u64> {
        let mut passed = 0;
        while passed < count {
            let Some(current) = self.current()? else { break };
            let step = ((current.rows.count - current.next) as u64).min(count - passed);
            current.next += step as usize;
            passed += step;
            self.rows += step;
        }
        Ok(passed)
    }

    fn next(&mut self, batch: &mut BatchBuilder) -> Result<Step> {
        let number = self.rows + 1;
        let wrong = |message: String| Error::new(format!("row {number}: {message}"));
        let Some(Current { rows, places, next }) = self.current()? else { return Ok(Step::End) };
        let row = *next;
        let text = rows.text.value(row).ok_or_else(|| wrong("the text is null".into()).hint("write no such rows"))?;
        let text = std::str::from_utf8(&text).map_err(|e| {
            let at = e.valid_up_to();
            wrong(format!("byte 0x{:02x} at {} of the text is not valid UTF-8", text[at], at + 1)).hint("write UTF-8")
        })?;
        let [id, url, source, meta] = rows.optional.each_ref().map(|column| column.as_ref()?.value(row).map(lossy));
        let (id, url, source, meta) = (id.as_deref(), url.as_deref(), source.as_deref(), meta.as_deref());
        let token = places.as_ref().and_then(|places| places.value(row)).map(|place| lossy(place).into_owned());
        if let Some(token) = &token {
            check_token(token).map_err(|why| wrong(why).hint(TOKEN_HINT))?;
        }
        batch.push_row(Row { text, id, url, source, meta });
        *next += 1;
        self.rows = number;
        Ok(Step::Document(token))
    }
}

fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}
