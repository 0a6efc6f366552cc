//! The `impl`s of authors, linked into psann: one trait, two ways to come in.
//!
//! ```ignore
//! psann_plugins_dynamic::register_filter!(Letters);
//! ```

use psann_core::batch::{BatchBuilder, Row};
use psann_core::filter::Verdicts;
use psann_core::options::Schema;
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, DataSource, Error, Filter, Result};
use psann_sdk::{Host, Verdict, options};
use serde_json::Value;

use crate::{error, filter};

/// The schema of an author's options.
pub fn schema<T: psann_sdk::Options>() -> Schema {
    Schema::from_json(options::schema::<T>())
}

/// Makes an author's filter.
///
/// # Errors
/// What it says against its options.
pub fn make_filter<F: psann_sdk::Filter>(value: &Value) -> Result<Box<dyn Filter>> {
    let made = F::new(checked::<F::Options>(value)?, Host::SILENT).map_err(error)?;
    Ok(Box::new(BuiltInFilter(made)))
}

/// Makes an author's source.
///
/// # Errors
/// What it says against its options.
pub fn make_source<S: psann_sdk::Source>(value: &Value) -> Result<Box<dyn DataSource>> {
    let made = S::new(checked::<S::Options>(value)?, Host::SILENT).map_err(error)?;
    Ok(Box::new(BuiltInSource(made)))
}

fn checked<T: psann_sdk::Options>(value: &Value) -> Result<T> {
    let problems = schema::<T>().check(value);
    if !problems.is_empty() {
        return Err(psann_core::options::error_of(&problems));
    }
    options::read(&value.to_string()).map_err(error)
}

struct BuiltInFilter<F>(F);

impl<F: psann_sdk::Filter> Filter for BuiltInFilter<F> {
    fn reasons(&self) -> &[&'static str] {
        F::REASONS
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let said = filter::lend(batch, F::COLUMNS, |lent| {
            // SAFETY: the strings of an Arrow array are UTF-8.
            let documents = unsafe { lent.documents(F::COLUMNS) }.map_err(error)?;
            self.0.judge_all(&documents).map_err(error)
        })?;
        let mut verdicts = Verdicts::keep_all(said.len());
        for (place, name) in F::SCORES.iter().enumerate() {
            verdicts.scores.insert(name, said.iter().map(|verdict| verdict.score_at(place)).collect());
        }
        for (row, verdict) in said.into_iter().enumerate() {
            verdicts.dropped[row] = verdict.reason();
            if let Some(text) = Verdict::into_text(verdict) {
                verdicts.rewrite(row, text);
            }
        }
        Ok(verdicts)
    }

    fn identity(&self) -> Result<String> {
        self.0.identity().map_err(error)
    }
}

struct BuiltInSource<S>(S);

impl<S: psann_sdk::Source> DataSource for BuiltInSource<S> {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let pieces = self.0.partitions().map_err(error)?;
        let partition = |(index, piece): (usize, psann_sdk::Partition)| Partition {
            index,
            location: format!("{}: {}", S::NAME, piece.name),
            start: 0,
            end: None,
            bytes: piece.bytes,
        };
        Ok(pieces.into_iter().enumerate().map(partition).collect())
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let resume = resume.map(|token| token.0.as_str()).filter(|token| !token.is_empty());
        let reader = self.0.open(partition.index, resume).map_err(error)?;
        let position = ResumeToken(resume.unwrap_or_default().to_owned());
        Ok(Box::new(BuiltInReader { location: partition.location.clone(), reader, position }))
    }

    fn identity(&self) -> Result<String> {
        self.0.identity().map_err(error)
    }
}

struct BuiltInReader<R> {
    location: String,
    reader: R,
    position: ResumeToken,
}

impl<R: psann_sdk::Reader> BatchReader for BuiltInReader<R> {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let Some(found) = self.reader.next().map_err(|e| error(e).within(&self.location))? else { return Ok(None) };
        if found.is_empty() {
            return Err(Error::new(format!("{}: a batch without documents", self.location)));
        }
        let mut batch = BatchBuilder::default();
        found.each(|text, [id, url, source, meta]| batch.push_row(Row { text, id, url, source, meta }));
        self.position = ResumeToken(self.reader.position());
        batch.finish().map(Some)
    }

    fn position(&self) -> ResumeToken {
        self.position.clone()
    }
}

/// Registers a [`psann_sdk::Filter`] as a built-in.
#[macro_export]
macro_rules! register_filter {
    ($filter:ty) => {
        $crate::register!(@submit Filter, $filter, psann_sdk::Filter, $crate::built_in::make_filter::<$filter>);
    };
}

/// Registers a [`psann_sdk::Source`] as a built-in.
#[macro_export]
macro_rules! register_source {
    ($source:ty) => {
        $crate::register!(@submit Source, $source, psann_sdk::Source, $crate::built_in::make_source::<$source>);
    };
}

/// What both have in common.
#[doc(hidden)]
#[macro_export]
macro_rules! register {
    (@submit $kind:ident, $type:ty, $trait:path, $make:expr) => {
        psann_core::inventory::submit! {
            psann_core::registry::Plugin {
                kind: psann_core::registry::Kind::$kind,
                name: <$type as $trait>::NAME,
                version: <$type as $trait>::VERSION,
                primary: <$type as $trait>::PRIMARY,
                schema: &$crate::built_in::schema::<<$type as $trait>::Options>,
                factory: psann_core::registry::Factory::$kind(&$make),
                origin: None,
            }
        }
    };
}
