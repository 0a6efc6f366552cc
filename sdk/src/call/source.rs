//! Calls of `psann.source/1`.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Handle, Plugin, broken, call, is_shared, said, text_of};
use crate::abi::{ArrowArray, ArrowArrayStream, ArrowSchema, PSANN_ECANCELED, PsannSource, PsannStr};
use crate::arrow::{self, Column, Records, Schema, Strings};
use crate::document::COLUMNS;
use crate::{Error, Fault, Partition, Result};

/// The first function that a table lacks.
pub(super) fn complete(table: &PsannSource) -> Result<(), &'static str> {
    table.create.ok_or("create")?;
    table.destroy.ok_or("destroy")?;
    table.identity.ok_or("identity")?;
    table.partitions.ok_or("partitions")?;
    table.open.ok_or("open")?;
    table.position.ok_or("position").map(drop)
}

/// A source of a plugin. May be called from several threads at once.
pub struct SourceCall {
    plugin: &'static Plugin,
    table: &'static PsannSource,
    name: String,
    options: String,
    /// Used by one thread at a time, unless they may share it.
    handle: Mutex<Arc<Handle>>,
}

impl SourceCall {
    pub(super) fn new(
        plugin: &'static Plugin,
        table: &'static PsannSource,
        name: &str,
        options: &Value,
    ) -> Result<Self> {
        let options = options.to_string();
        let handle = create(table, name, &options).map_err(|error| plugin.error(error))?;
        let (name, handle) = (name.to_owned(), Mutex::new(Arc::new(handle)));
        Ok(Self { plugin, table, name, options, handle })
    }

    /// A text that changes when the content changes.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn identity(&self) -> Result<String> {
        let identity = self.table.identity.ok_or_else(|| broken("its table has no function `identity`"))?;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a handle of this table, and valid places.
        let found = text_of(|text, error| unsafe { identity(handle.handle, text, error) });
        found.map_err(|error| self.plugin.error(error))
    }

    /// The independent pieces, in order.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        let partitions = self.table.partitions.ok_or_else(|| broken("its table has no function `partitions`"))?;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a handle of this table, and valid places.
        let json = text_of(|text, error| unsafe { partitions(handle.handle, text, error) });
        let read = |json: String| {
            serde_json::from_str(&json).map_err(|e| broken(&format!("its partitions are not as docs/abi.md says: {e}")))
        };
        json.and_then(read).map_err(|error| self.plugin.error(error))
    }

    /// Opens a piece, at its start or where [`Stream::position`] was.
    ///
    /// # Errors
    /// What the plugin says; when the schema is not that of documents.
    pub fn open(&self, partition: u64, resume: Option<&str>) -> Result<Stream> {
        let open = self.table.open.ok_or_else(|| broken("its table has no function `open`"))?;
        let opened = || {
            let handle = if is_shared(self.table.flags) {
                Arc::clone(&self.handle.lock().unwrap_or_else(PoisonError::into_inner))
            } else {
                Arc::new(create(self.table, &self.name, &self.options)?)
            };
            let mut stream = ArrowArrayStream::empty();
            let resume = resume.map_or(PsannStr::EMPTY, PsannStr::new);
            // SAFETY: a handle of this table, a text that is valid during the call, and valid places.
            let done = call(|error| unsafe { open(handle.handle, partition, resume, &raw mut stream, error) });
            if let Err(error) = done {
                release(&mut stream);
                return Err(error);
            }
            Stream::new(self.plugin, self.table, handle, stream)
        };
        opened().map_err(|error| self.plugin.error(error))
    }
}

fn create(table: &PsannSource, name: &str, options: &str) -> Result<Handle> {
    let create = table.create.ok_or_else(|| broken("its table has no function `create`"))?;
    Handle::create(create, table.destroy, name, options)
}

/// Batches of a piece of a source. Released when it is dropped.
pub struct Stream {
    plugin: &'static Plugin,
    table: &'static PsannSource,
    batches: Box<ArrowArrayStream>,
    schema: Arc<Schema>,
    failed: bool,
    /// Destroyed after the stream: fields are dropped in this order, and `drop` releases the stream first.
    handle: Arc<Handle>,
}

// SAFETY: the interface says that a stream may move between threads and is used by one at a time.
unsafe impl Send for Stream {}

impl Stream {
    fn new(
        plugin: &'static Plugin,
        table: &'static PsannSource,
        handle: Arc<Handle>,
        stream: ArrowArrayStream,
    ) -> Result<Self> {
        if stream.release.is_none() {
            return Err(broken("it opened nothing and called that a success"));
        }
        let mut stream = Box::new(stream);
        let schema = match schema(&mut stream) {
            Ok(schema) => Arc::new(schema),
            Err(error) => {
                release(&mut stream);
                return Err(error);
            }
        };
        Ok(Self { plugin, table, batches: stream, schema, failed: false, handle })
    }

    /// The columns that are in it and that psann does not read.
    pub fn ignored(&self) -> Vec<String> {
        let columns = self.schema.columns().into_iter().map(|(name, _)| name);
        columns.filter(|name| !COLUMNS.contains(&name.as_str())).collect()
    }

    /// The next documents, each given to `row`; their number, or `None` at the end.
    ///
    /// # Errors
    /// What the plugin says; when the rows are not as they should be. Nothing can be read after that.
    pub fn next(&mut self, row: &mut dyn FnMut(Row<'_>)) -> Result<Option<usize>> {
        let found = if self.failed { Err(Error::new("was read on after it failed")) } else { self.batch(row) };
        found.map_err(|error| {
            self.failed = true;
            self.plugin.error(error)
        })
    }

    fn batch(&mut self, row: &mut dyn FnMut(Row<'_>)) -> Result<Option<usize>> {
        let get_next = self.batches.get_next.ok_or_else(|| broken("its stream has no `get_next`"))?;
        let mut array = ArrowArray::empty();
        // SAFETY: a stream that was not released, used by one thread at a time; a valid place.
        let errno = unsafe { get_next(&raw mut *self.batches, &raw mut array) };
        if errno != 0 {
            arrow::release_array(&mut array);
            return Err(last_error(&mut self.batches, errno));
        }
        if array.release.is_none() {
            return Ok(None);
        }
        // SAFETY: filled by the plugin, whose rules say that it is valid and may be released anywhere.
        let records = unsafe { Records::import(array, Arc::clone(&self.schema)) };
        let rows = records.and_then(|records| {
            rows(&records, row)?;
            Ok(records.len())
        });
        match rows {
            // Whoever reads on a batch without progress may do so forever.
            Ok(0) => Err(broken("it gave a batch without documents, where only the end has none")),
            Ok(count) => Ok(Some(count)),
            Err(error) => Err(broken(&format!("its rows are not as docs/abi.md says: {error}"))),
        }
    }

    /// The place behind the last batch, for [`SourceCall::open`].
    ///
    /// # Errors
    /// What the plugin says.
    pub fn position(&self) -> Result<String> {
        let position = self.table.position.ok_or_else(|| broken("its table has no function `position`"))?;
        // SAFETY: the handle that opened the stream, which was not released; valid places.
        let found =
            text_of(|text, error| unsafe { position(self.handle.handle, &raw const *self.batches, text, error) });
        // Opened with it, the piece would begin again, and nobody would notice.
        let found = match found {
            Ok(empty) if empty.is_empty() => Err(broken("its position is empty, which means the start")),
            found => found,
        };
        found.map_err(|error| self.plugin.error(error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        release(&mut self.batches);
    }
}

fn release(stream: &mut ArrowArrayStream) {
    if let Some(release) = stream.release {
        // SAFETY: not released yet; afterwards `release` is null whatever the plugin did.
        unsafe { release(stream) }
        stream.release = None;
    }
}

fn schema(stream: &mut ArrowArrayStream) -> Result<Schema> {
    let get_schema = stream.get_schema.ok_or_else(|| broken("its stream has no `get_schema`"))?;
    let mut schema = ArrowSchema::empty();
    // SAFETY: a stream that was not released; a valid place.
    let errno = unsafe { get_schema(stream, &raw mut schema) };
    if errno != 0 {
        arrow::release_schema(&mut schema);
        return Err(last_error(stream, errno));
    }
    let wrong = |why: &dyn std::fmt::Display| broken(&format!("its schema is not that of documents: {why}"));
    // SAFETY: filled by the plugin, whose rules say that it is valid and may be released anywhere.
    let schema = unsafe { Schema::import(schema) }.map_err(|error| wrong(&error))?;
    let columns = schema.columns();
    if !columns.iter().any(|(name, _)| name == "text") {
        return Err(wrong(&"there is no column `text`"));
    }
    for (name, format) in columns {
        if COLUMNS.contains(&name.as_str()) && format != "u" && format != "U" {
            return Err(wrong(&format!("column `{name}` has the format `{format}`, not `u` or `U` (strings)")));
        }
    }
    Ok(schema)
}

fn last_error(stream: &mut ArrowArrayStream, errno: i32) -> Error {
    // SAFETY: a stream that was not released; the text is valid until the next call.
    let text = stream.get_last_error.map(|last_error| unsafe { arrow::text(last_error(stream)) }).unwrap_or_default();
    let (message, hint) = text.split_once("\nhint: ").unwrap_or((text.as_str(), ""));
    let fault = if errno == PSANN_ECANCELED { Fault::Cancelled } else { Fault::Failed };
    said(fault, errno, message.to_owned(), hint.to_owned())
}

/// A document of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The text.
    pub text: &'a str,
    /// The others of [`COLUMNS`]: `id`, `url`, `source`, `meta`.
    pub optional: [Option<&'a str>; COLUMNS.len() - 1],
}

fn rows(records: &Records, row: &mut dyn FnMut(Row<'_>)) -> Result<()> {
    let strings = |name: &str| -> Result<Option<Strings<'_>>> {
        match records.column(name)? {
            None => Ok(None),
            Some(Column::Strings(strings)) => Ok(Some(strings)),
            Some(_) => Err(Error::new(format!("column `{name}` holds no strings"))),
        }
    };
    let text = strings("text")?.ok_or_else(|| Error::new("there is no column `text`"))?;
    let mut optional = [None; COLUMNS.len() - 1];
    for (column, name) in optional.iter_mut().zip(&COLUMNS[1..]) {
        *column = strings(name)?;
    }
    let at = |name: &'static str| move |error: Error| Error::new(format!("column `{name}`: {error}"));
    for index in 0..records.len() {
        let found =
            text.text(index).map_err(at("text"))?.ok_or_else(|| Error::new(format!("row {index} has no text")))?;
        let mut values = [None; COLUMNS.len() - 1];
        for ((value, column), name) in values.iter_mut().zip(optional).zip(&COLUMNS[1..]) {
            if let Some(column) = column {
                *value = column.text(index).map_err(at(name))?;
            }
        }
        row(Row { text: found, optional: values });
    }
    Ok(())
}
