//! Documents: those that a source makes, and those that a filter is asked about.

use crate::abi::{ArrowArray, ArrowSchema};
use crate::arrow::build::{self, StringsBuilder, Values};
use crate::arrow::{self, Column, Strings};
use crate::{Error, Result};

/// The columns that documents can have; `text` always comes first.
pub const COLUMNS: [&str; 5] = ["text", "id", "url", "source", "meta"];

/// One document on its way to psann.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The text itself.
    pub text: String,
    /// An identifier.
    pub id: Option<String>,
    /// The address that the text came from.
    pub url: Option<String>,
    /// The collection that the text belongs to.
    pub source: Option<String>,
    /// Anything else, as a JSON object.
    pub meta: Option<String>,
}

impl Document {
    /// A document of nothing but text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// Documents that a source hands over at once; some hundreds to some thousands, or a few megabytes, are a good number.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    columns: [StringsBuilder; COLUMNS.len()],
}

impl Batch {
    /// Adds a document.
    pub fn push(&mut self, document: &Document) {
        let Document { text, id, url, source, meta } = document;
        let values = [Some(text), id.as_ref(), url.as_ref(), source.as_ref(), meta.as_ref()];
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value.map(String::as_str));
        }
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all columns.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(StringsBuilder::bytes).sum()
    }

    /// Every document: its text, and `id`, `url`, `source`, `meta`.
    pub fn each(&self, mut row: impl FnMut(&str, [Option<&str>; COLUMNS.len() - 1])) {
        for index in 0..self.len() {
            let [text, id, url, source, meta] = &self.columns;
            row(text.get(index).unwrap_or_default(), [id, url, source, meta].map(|column| column.get(index)));
        }
    }

    /// For the other side.
    pub(crate) fn export(self) -> ArrowArray {
        let length = self.len();
        build::rows(self.columns.map(Values::Strings).into(), length)
    }

    /// The schema of all batches.
    pub(crate) fn schema() -> ArrowSchema {
        let columns = COLUMNS.map(|_| Values::Strings(StringsBuilder::default()));
        build::schema(COLUMNS.into_iter().zip(&columns))
    }
}

/// A batch that a filter is asked about; the columns that it named, in that order.
#[derive(Debug)]
pub struct Documents<'a> {
    columns: Vec<(&'a str, Strings<'a>)>,
    length: usize,
}

impl<'a> Documents<'a> {
    /// The batch behind `array`, with columns of these names.
    ///
    /// # Errors
    /// When it has another number of columns, or one that holds no strings.
    ///
    /// # Safety
    /// A valid struct array of UTF-8 strings, as long as it is borrowed.
    pub(crate) unsafe fn borrow(array: &'a ArrowArray, names: &[&'a str]) -> Result<Self> {
        if array.n_children != names.len() as i64 {
            return Err(Error::new(format!("expected a batch of {} columns, found {}", names.len(), array.n_children)));
        }
        let mut columns = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            // SAFETY: it has so many children, and they are valid by the contract of this function.
            let column = unsafe {
                let child = &**array.children.add(index);
                // The host sends `text` as large strings and everything else as small ones.
                arrow::column(child, if *name == "text" { "U" } else { "u" }, array.offset, array.length)?
            };
            let Column::Strings(strings) = column else {
                return Err(Error::new(format!("column `{name}` holds no strings")));
            };
            columns.push((*name, strings));
        }
        Ok(Self { columns, length: array.length as usize })
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All documents, in order.
    pub fn docs(&self) -> impl Iterator<Item = Doc<'_>> {
        (0..self.length).map(|row| Doc { batch: self, row })
    }

    /// All texts, in order.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> {
        let texts = self.strings("text");
        (0..self.length).map(move |row| value(texts, row).unwrap_or_default())
    }

    fn strings(&self, name: &str) -> Option<Strings<'a>> {
        self.columns.iter().find(|(column, _)| *column == name).map(|(_, strings)| *strings)
    }
}

fn value(strings: Option<Strings<'_>>, row: usize) -> Option<&str> {
    // SAFETY: `borrow` is told that all strings are UTF-8.
    unsafe { strings?.text_unchecked(row) }
}

/// A document that a filter is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Doc<'a> {
    batch: &'a Documents<'a>,
    row: usize,
}

impl<'a> Doc<'a> {
    /// The text; empty if the filter did not name that column.
    pub fn text(&self) -> &'a str {
        self.column("text").unwrap_or_default()
    }

    /// The value of a column, if the filter named it and the document has one.
    pub fn column(&self, name: &str) -> Option<&'a str> {
        value(self.batch.strings(name), self.row)
    }
}
