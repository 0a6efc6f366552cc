//! Calls of `psann.filter/1`.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use super::{Handle, Lent, Plugin, broken, call, is_shared, text_of};
use crate::abi::{ArrowArray, ArrowSchema, PsannFilter};
use crate::arrow::{Column, Numbers, Records, Schema, release_array, release_schema};
use crate::document::COLUMNS;
use crate::{Error, Result};

/// What a filter reads and says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reads {
    /// The columns that it wants, in this order.
    pub columns: Vec<String>,
    /// The reasons that it drops for.
    pub reasons: Vec<String>,
    /// The names of its scores.
    #[serde(default)]
    pub scores: Vec<String>,
    /// Whether it gives documents new texts.
    #[serde(default)]
    pub rewrites: bool,
}

/// What a filter said of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdicts {
    /// Per row the reason to drop it, or `None`.
    pub dropped: Vec<Option<u16>>,
    /// Per row a new text; empty if there is none.
    pub rewritten: Vec<Option<String>>,
    /// Per score of [`Reads::scores`] a value for each row.
    pub scores: Vec<Vec<f64>>,
}

/// The first function that a table lacks.
pub(super) fn complete(table: &PsannFilter) -> Result<(), &'static str> {
    table.create.ok_or("create")?;
    table.destroy.ok_or("destroy")?;
    table.identity.ok_or("identity")?;
    table.bind.ok_or("bind")?;
    table.apply.ok_or("apply").map(drop)
}

/// A filter of a plugin. May be called from several threads at once.
pub struct FilterCall {
    plugin: &'static Plugin,
    table: &'static PsannFilter,
    name: String,
    options: String,
    reads: Reads,
    /// Handles that nobody uses now; a single one if threads share it.
    idle: Mutex<Vec<Arc<Handle>>>,
}

impl FilterCall {
    pub(super) fn new(
        plugin: &'static Plugin,
        table: &'static PsannFilter,
        name: &str,
        options: &Value,
    ) -> Result<Self> {
        let options = options.to_string();
        let handle = create(table, name, &options).map_err(|error| plugin.error(error))?;
        let bind = table.bind.ok_or_else(|| broken("its table has no function `bind`"))?;
        // SAFETY: a handle of this table, and valid places.
        let json = text_of(|text, error| unsafe { bind(handle.handle, text, error) });
        let reads = json.and_then(|json| read(&json)).map_err(|error| plugin.error(error))?;
        let (name, idle) = (name.to_owned(), Mutex::new(vec![Arc::new(handle)]));
        Ok(Self { plugin, table, name, options, reads, idle })
    }

    /// What it reads and says.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// A text that changes when the files that it reads change.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn identity(&self) -> Result<String> {
        let identity = self.table.identity.ok_or_else(|| broken("its table has no function `identity`"))?;
        self.with(|handle| {
            // SAFETY: a handle of this table, and valid places.
            text_of(|text, error| unsafe { identity(handle.handle, text, error) })
        })
    }

    /// Judges a batch of the columns of [`Self::reads`].
    ///
    /// # Errors
    /// What the plugin says; when its verdicts are not as they should be.
    pub fn apply(&self, batch: &Lent<'_>) -> Result<Verdicts> {
        let apply = self.table.apply.ok_or_else(|| broken("its table has no function `apply`"))?;
        self.with(|handle| {
            let (mut array, mut schema) = (ArrowArray::empty(), ArrowSchema::empty());
            // SAFETY: a handle of this table, a batch that is valid during the call, and valid places.
            let done =
                call(|error| unsafe { apply(handle.handle, batch.array(), &raw mut array, &raw mut schema, error) });
            if let Err(error) = done {
                release_array(&mut array);
                release_schema(&mut schema);
                return Err(error);
            }
            // SAFETY: filled by the plugin, whose rules say that both are valid and may be released anywhere.
            let records = unsafe {
                match Schema::import(schema) {
                    Ok(schema) => Records::import(array, Arc::new(schema)),
                    Err(error) => {
                        release_array(&mut array);
                        Err(error)
                    }
                }
            };
            records
                .and_then(|records| self.verdicts(&records, batch.len()))
                .map_err(|error| broken(&format!("its verdicts are not as docs/abi.md says: {error}")))
        })
    }

    fn verdicts(&self, records: &Records, rows: usize) -> Result<Verdicts> {
        if records.len() != rows {
            return Err(Error::new(format!("{} verdicts on {rows} documents", records.len())));
        }
        let Some(Column::Bits(keep)) = records.column("keep")? else {
            return Err(Error::new("there is no column `keep` of booleans"));
        };
        let reasons = match records.column("reason")? {
            None => None,
            Some(Column::Reasons(reasons)) => Some(reasons),
            Some(_) => return Err(Error::new("column `reason` holds no 16-bit unsigned integers")),
        };
        let mut verdicts = Verdicts::default();
        for row in 0..rows {
            let kept = keep.get(row).ok_or_else(|| Error::new(format!("row {row} has no verdict")))?;
            let reason = if kept { None } else { Some(self.reason(reasons, row)?) };
            verdicts.dropped.push(reason);
        }
        match records.column("text")? {
            None => {}
            Some(_) if !self.reads.rewrites => {
                return Err(Error::new("it gives new texts and said that it does not"));
            }
            Some(Column::Strings(texts)) => {
                let text = |row: usize| Ok(texts.text(row)?.map(str::to_owned));
                verdicts.rewritten = (0..rows).map(text).collect::<Result<_>>()?;
            }
            Some(_) => return Err(Error::new("column `text` holds no strings")),
        }
        for name in &self.reads.scores {
            let Some(Column::Scores(scores)) = records.column(&format!("score:{name}"))? else {
                return Err(Error::new(format!("there is no column `score:{name}` of 64-bit floats")));
            };
            verdicts.scores.push((0..rows).map(|row| scores.get(row).unwrap_or(f64::NAN)).collect());
        }
        Ok(verdicts)
    }

    fn reason(&self, reasons: Option<Numbers<'_, u16>>, row: usize) -> Result<u16> {
        let reason = reasons.map_or(Some(0), |reasons| reasons.get(row)).unwrap_or_default();
        let named = self.reads.reasons.len();
        if usize::from(reason) < named {
            return Ok(reason);
        }
        Err(Error::new(format!("row {row} is dropped for reason {reason}, and {named} are named, counted from 0")))
    }

    /// Does something with a handle that no other thread uses, unless they may share it.
    fn with<T>(&self, work: impl FnOnce(&Handle) -> Result<T>) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = is_shared(self.table.flags);
        let taken = if shared { idle().last().cloned() } else { idle().pop() };
        let handle = if let Some(handle) = taken {
            handle
        } else {
            let made = create(self.table, &self.name, &self.options).map_err(|error| self.plugin.error(error))?;
            Arc::new(made)
        };
        let result = work(&handle);
        if !shared {
            idle().push(handle);
        }
        result.map_err(|error| self.plugin.error(error))
    }
}

fn create(table: &PsannFilter, name: &str, options: &str) -> Result<Handle> {
    let create = table.create.ok_or_else(|| broken("its table has no function `create`"))?;
    Handle::create(create, table.destroy, name, options)
}

fn read(json: &str) -> Result<Reads> {
    let wrong = |why: &str| broken(&format!("what it binds is not as docs/abi.md says: {why}"));
    let reads: Reads = serde_json::from_str(json).map_err(|e| wrong(&e.to_string()))?;
    if let Some(unknown) = reads.columns.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        return Err(wrong(&format!("there is no column `{unknown}`; there are `{}`", COLUMNS.join("`, `"))));
    }
    if reads.reasons.is_empty() {
        return Err(wrong("it names no reason"));
    }
    Ok(reads)
}
