//! Documents out of a stream of Arrow record batches: the reader that Parquet and Arrow sources share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use psann_core::source::{BatchReader, ResumeToken};
use psann_core::{Batch, BatchBuilder, Error, Result, Row};

use super::columns::{Columns, Rows};
use super::input::Input;
use super::limits::{BATCH_BYTES, BATCH_DOCUMENTS};
use super::on_error::{Broken, DAMAGE_HINT, Ledger};
use super::stream::Running;

/// Record batches as a decoder yields them.
pub type Records = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// What a partition of a table consists of.
pub struct Opened {
    /// The rows, from `first_row` on.
    pub records: Records,
    /// Where the columns stand in them.
    pub columns: Columns,
    /// The command that prints them.
    pub running: Option<Arc<Running>>,
}

/// Reads a table row by row.
pub struct TableReader {
    input: Input,
    /// `None` behind the end, or the damage.
    opened: Option<Opened>,
    /// The record batch in work, and its next row.
    rows: Option<(Rows, usize)>,
    /// Rows of the file before this partition, for messages.
    first_row: u64,
    /// Rows of the partition that are done.
    done: u64,
    /// Rows that were done before and are still to be passed over.
    pass: u64,
    /// Whether the partition is all of its file.
    whole: bool,
    ledger: Ledger,
    replaced: String,
}

impl TableReader {
    /// A reader of `opened`, which is `None` for a damaged file. `done` rows are done, `pass` of which `opened` still yields.
    pub fn new(input: Input, opened: Option<Opened>, ledger: Ledger, done: u64, pass: u64) -> Self {
        let replaced = String::new();
        Self { input, opened, rows: None, first_row: 0, done, pass, whole: true, ledger, replaced }
    }

    /// The same for a part of a file, which begins at `first_row`.
    #[must_use]
    pub fn part(self, first_row: u64, whole: bool) -> Self {
        Self { first_row, whole, ..self }
    }

    /// Makes sure that there is a row in `rows`; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if self.rows.as_ref().is_some_and(|(rows, next)| *next < rows.count) {
                return Ok(true);
            }
            let Some(opened) = &mut self.opened else { return Ok(false) };
            let next = guarded(|| match opened.records.next().transpose()? {
                Some(records) => opened.columns.rows(&records).map(Some),
                None => Ok(None),
            });
            let rows = match next {
                Ok(Some(rows)) => rows,
                Err(cause) => {
                    self.damaged(&cause)?;
                    return Ok(false);
                }
                Ok(None) => {
                    self.end()?;
                    return Ok(false);
                }
            };
            let passed = self.pass.min(rows.count as u64);
            self.pass -= passed;
            self.rows = Some((rows, passed as usize));
        }
    }

    fn damaged(&mut self, cause: &ArrowError) -> Result<()> {
        let (name, row) = (self.input.name(), self.first_row + self.done);
        let running = self.opened.take().and_then(|opened| opened.running);
        if let Some(running) = running
            && running.is_drained()
        {
            // Damage at the end of the output: most likely the command failed.
            running.finish()?;
        }
        let error = Error::new(format!("`{name}` is damaged behind row {row}"));
        self.ledger.damaged(error.because(words(cause)).hint(DAMAGE_HINT))
    }

    fn end(&mut self) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        if let Some(running) = opened.running {
            running.finish()?;
        }
        if self.pass > 0 {
            return Err(self.input.changed());
        }
        if self.whole && self.done == 0 {
            self.ledger.empty(&self.input.name());
        }
        Ok(())
    }

    /// Adds the next row to `batch`, unless it is left out.
    fn take_row(&mut self, batch: &mut BatchBuilder) -> Result<()> {
        let Self { rows: Some((rows, next)), ledger, replaced, input, first_row, done, .. } = self else {
            return Ok(());
        };
        let row = *next;
        *next += 1;
        *done += 1;
        let place = || format!("{}: row {}", input.name(), *first_row + *done);
        let Some(text) = rows.text.value(row) else {
            let broken =
                Broken { reason: "text is null", message: "the text is null".into(), hint: "fill the column".into() };
            return ledger.record(broken, place);
        };
        let decoded = ledger.decode(&text, replaced, |at| format!("{}: byte {} of the text", place(), at + 1))?;
        let Some(text) = decoded else { return Ok(()) };
        let [id, url, source, meta] = rows.optional.each_ref().map(|column| column.as_ref()?.value(row).map(lossy));
        let (id, url, source, meta) = (id.as_deref(), url.as_deref(), source.as_deref(), meta.as_deref());
        batch.push_row(Row { text, id, url, source, meta });
        Ok(())
    }
}

/// What a decoder says, without the prefixes that it gathered on its way.
pub fn words(error: &ArrowError) -> String {
    match error {
        ArrowError::ParquetError(text) => text.strip_prefix("Parquet error: ").unwrap_or(text).to_owned(),
        other => other.to_string(),
    }
}

/// Runs a decoder. They promise errors, but damaged sizes and offsets make them panic in places; one damaged file is no
/// reason to end the program.
pub fn guarded<T, E: Into<ArrowError>>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(|| decode().map_err(Into::into)))
        .unwrap_or_else(|_| Err(ArrowError::ParseError("the data is corrupt: impossible sizes or offsets".into())))
}

fn lossy(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

impl BatchReader for TableReader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        while batch.len() < BATCH_DOCUMENTS && batch.bytes() < BATCH_BYTES && self.advance()? {
            self.take_row(&mut batch)?;
        }
        if batch.is_empty() { Ok(None) } else { batch.finish().map(Some) }
    }

    fn position(&self) -> ResumeToken {
        ResumeToken(self.done.to_string())
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        self.ledger.skipped()
    }

    fn warnings(&self) -> Vec<String> {
        self.ledger.warnings()
    }
}
