//! Batches to ask filters about.

use crate::call::{Lent, LentStrings};
use crate::{Document, Result};

/// Documents in columns, as the host lends them.
#[derive(Debug)]
pub struct Texts {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug)]
enum Column {
    /// The text.
    Large(Vec<i64>, Vec<u8>),
    /// Everything else, with a bit for each row that has a value.
    Small(Vec<i32>, Vec<u8>, Vec<u8>),
}

impl Texts {
    /// These columns of the documents.
    pub fn new<S: AsRef<str>>(columns: &[S], documents: &[Document]) -> Self {
        let column = |name: &S| {
            let value = |document: &Document| match name.as_ref() {
                "text" => Some(document.text.clone()),
                "id" => document.id.clone(),
                "url" => document.url.clone(),
                "source" => document.source.clone(),
                _ => document.meta.clone(),
            };
            let (mut offsets, mut data, mut valid) = (vec![0], Vec::new(), vec![0_u8; documents.len().div_ceil(8)]);
            for (row, document) in documents.iter().enumerate() {
                let value = value(document);
                valid[row / 8] |= u8::from(value.is_some()) << (row % 8);
                data.extend_from_slice(value.unwrap_or_default().as_bytes());
                offsets.push(data.len() as i64);
            }
            if name.as_ref() == "text" {
                return Column::Large(offsets, data);
            }
            Column::Small(offsets.into_iter().map(|offset| offset as i32).collect(), data, valid)
        };
        Self { columns: columns.iter().map(column).collect(), rows: documents.len() }
    }

    /// Lends them for a call.
    ///
    /// # Errors
    /// What the call says.
    pub fn lend<T>(&self, work: impl FnOnce(&Lent<'_>) -> Result<T>) -> Result<T> {
        let columns: Vec<LentStrings<'_>> = self.columns.iter().map(Column::lend).collect();
        work(&Lent::new(&columns, self.rows))
    }
}

impl Column {
    fn lend(&self) -> LentStrings<'_> {
        match self {
            Self::Large(offsets, data) => LentStrings::Large(offsets, data, None),
            Self::Small(offsets, data, valid) => LentStrings::Small(offsets, data, Some(valid)),
        }
    }
}
