//! A filter of a library, as core's trait.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use arrow_array::{Array, LargeStringArray, StringArray};
use arrow_buffer::Buffer;
use psann_core::filter::Verdicts;
use psann_core::{Batch, Error, Filter, Result};
use psann_sdk::call::{FilterCall, Lent, LentStrings};

use crate::error;

/// A filter of a plugin.
pub struct PluginFilter {
    hash: String,
    call: FilterCall,
    reasons: Vec<&'static str>,
    scores: Vec<&'static str>,
    columns: Vec<&'static str>,
}

impl PluginFilter {
    /// One of these calls, of the library with this hash.
    pub fn new(hash: String, call: FilterCall) -> Self {
        let interned = |names: &[String]| names.iter().map(|name| intern(name)).collect();
        let reads = call.reads();
        let (reasons, scores, columns) = (interned(&reads.reasons), interned(&reads.scores), interned(&reads.columns));
        Self { hash, call, reasons, scores, columns }
    }
}

/// The same text, for good: core's reports refer to names as constants. Each text is kept once.
fn intern(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
    texts.insert(new);
    new
}

impl Filter for PluginFilter {
    fn reasons(&self) -> &[&'static str] {
        &self.reasons
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let verdicts = lend(batch, &self.columns, |lent| self.call.apply(lent).map_err(error))?;
        let mut all = Verdicts::keep_all(0);
        all.dropped = verdicts.dropped;
        all.rewritten = verdicts.rewritten;
        all.scores = self.scores.iter().copied().zip(verdicts.scores).collect();
        Ok(all)
    }

    fn column(&self) -> Option<&'static str> {
        if self.columns.contains(&"text") { None } else { self.columns.first().copied() }
    }

    fn identity(&self) -> Result<String> {
        Ok(format!("{} {}", self.hash, self.call.identity().map_err(error)?))
    }
}

/// Lends columns of a batch, those that it does not have as nulls.
pub fn lend<T>(batch: &Batch, columns: &[&str], work: impl FnOnce(&Lent<'_>) -> Result<T>) -> Result<T> {
    let rows = batch.len();
    let records = batch.records();
    // Bitmaps that do not begin at a byte are copied, and columns that are missing are made.
    let mut bitmaps: Vec<Option<Buffer>> = Vec::new();
    for name in columns {
        let nulls = records.column_by_name(name).and_then(|column| column.nulls());
        bitmaps.push(nulls.map(|nulls| nulls.inner().sliced()));
    }
    let no_offsets = vec![0_i32; rows + 1];
    let no_bits = vec![0_u8; rows.div_ceil(8)];
    let mut lent = Vec::with_capacity(columns.len());
    for (name, bitmap) in columns.iter().zip(&bitmaps) {
        let bits = bitmap.as_ref().map(Buffer::as_slice);
        let Some(column) = records.column_by_name(name) else {
            lent.push(LentStrings::Small(&no_offsets, &[], Some(&no_bits)));
            continue;
        };
        let any = column.as_any();
        lent.push(if let Some(strings) = any.downcast_ref::<LargeStringArray>() {
            LentStrings::Large(strings.value_offsets(), strings.value_data(), bits)
        } else if let Some(strings) = any.downcast_ref::<StringArray>() {
            LentStrings::Small(strings.value_offsets(), strings.value_data(), bits)
        } else {
            return Err(Error::new(format!("column `{name}` of a batch holds no strings")));
        });
    }
    work(&Lent::new(&lent, rows))
}
