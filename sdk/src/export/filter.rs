//! From a [`Filter`] to the table `psann.filter/1`.

use std::marker::PhantomData;

use serde_json::{Value, json};

use super::guard::answer;
use super::handle::{self, Create};
use super::{Component, component};
use crate::abi::{ArrowArray, ArrowSchema, PSANN_THREAD_SAFE, PsannError, PsannFilter, PsannHandle, PsannText};
use crate::arrow::build::{self, BitsBuilder, StringsBuilder, Values};
use crate::filter::MOST_SCORES;
use crate::{Documents, Error, Filter, Host, Result, Verdict, options};

/// A filter, whatever its type.
pub trait FilterObject: Send + Sync {
    /// As [`Filter::identity`].
    fn identity(&self) -> Result<String>;
    /// What it reads and says.
    fn bind(&self) -> Value;
    /// Judges a batch that crossed.
    ///
    /// # Safety
    /// A valid struct array of the columns that it named, all strings UTF-8.
    unsafe fn apply(&self, batch: &ArrowArray) -> Result<(ArrowArray, ArrowSchema)>;
}

/// The component of a [`Filter`].
pub struct FilterOf<F>(PhantomData<fn() -> F>);

impl<F: Filter> FilterOf<F> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<F: Filter> Component<dyn FilterObject> for FilterOf<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn manifest(&self) -> Value {
        component("psann.filter/1", F::NAME, F::VERSION, F::PRIMARY, &options::schema::<F::Options>())
    }

    fn create(&self, options: &str, host: Host) -> Result<Box<dyn FilterObject>> {
        Ok(Box::new(Object(F::new(options::read(options)?, host)?)))
    }
}

struct Object<F>(F);

impl<F: Filter> FilterObject for Object<F> {
    fn identity(&self) -> Result<String> {
        self.0.identity()
    }

    fn bind(&self) -> Value {
        json!({ "columns": F::COLUMNS, "reasons": F::REASONS, "scores": F::SCORES, "rewrites": F::REWRITES })
    }

    unsafe fn apply(&self, batch: &ArrowArray) -> Result<(ArrowArray, ArrowSchema)> {
        const { assert!(F::SCORES.len() <= MOST_SCORES, "a filter has at most 4 scores") };
        const { assert!(!F::REASONS.is_empty(), "a filter needs a reason to drop for") };
        // SAFETY: by the contract of this function.
        let documents = unsafe { Documents::borrow(batch, F::COLUMNS)? };
        let verdicts = self.0.judge_all(&documents)?;
        if verdicts.len() != documents.len() {
            return Err(Error::new(format!("gave {} verdicts on {} documents", verdicts.len(), documents.len())));
        }
        export(&verdicts, F::REASONS.len(), F::SCORES)
    }
}

/// Verdicts as columns: `keep`, `reason`, `text` where one was rewritten, and each score.
fn export(verdicts: &[Verdict], reasons: usize, scores: &[&str]) -> Result<(ArrowArray, ArrowSchema)> {
    let (mut keep, mut reason) = (BitsBuilder::default(), Vec::with_capacity(verdicts.len()));
    for verdict in verdicts {
        if let Some(beyond) = verdict.dropped.filter(|reason| usize::from(*reason) >= reasons) {
            return Err(Error::new(format!("drops for reason {beyond} and names {reasons}, counted from 0")));
        }
        keep.push(verdict.is_kept());
        reason.push(verdict.dropped.unwrap_or_default());
    }
    let mut columns = vec![("keep".to_owned(), Values::Bits(keep)), ("reason".to_owned(), Values::Reasons(reason))];
    if verdicts.iter().any(|verdict| verdict.text.is_some()) {
        let mut texts = StringsBuilder::default();
        for verdict in verdicts {
            texts.push(verdict.text.as_deref());
        }
        columns.push(("text".to_owned(), Values::Strings(texts)));
    }
    for (place, name) in scores.iter().enumerate() {
        let values = verdicts.iter().map(|verdict| verdict.scores[place]).collect();
        columns.push((format!("score:{name}"), Values::Scores(values)));
    }
    let schema = build::schema(columns.iter().map(|(name, values)| (name.as_str(), values)));
    Ok((build::rows(columns.into_iter().map(|(_, values)| values).collect(), verdicts.len()), schema))
}

/// The table; `create` knows the library.
pub const fn table(create: Create) -> PsannFilter {
    PsannFilter {
        struct_size: size_of::<PsannFilter>() as u32,
        flags: PSANN_THREAD_SAFE,
        create: Some(create),
        destroy: Some(handle::destroy::<dyn FilterObject>),
        identity: Some(identity),
        bind: Some(bind),
        apply: Some(apply),
    }
}

unsafe extern "C" fn identity(handle: *mut PsannHandle, text: *mut PsannText, error: *mut PsannError) -> i32 {
    // SAFETY: the host passes a handle of this table, and valid places.
    unsafe { handle::ask::<dyn FilterObject>(handle, text, error, FilterObject::identity) }
}

unsafe extern "C" fn bind(handle: *mut PsannHandle, json: *mut PsannText, error: *mut PsannError) -> i32 {
    // SAFETY: as above.
    unsafe { handle::ask::<dyn FilterObject>(handle, json, error, |filter| Ok(filter.bind().to_string())) }
}

unsafe extern "C" fn apply(
    handle: *mut PsannHandle,
    batch: *const ArrowArray,
    verdicts: *mut ArrowArray,
    schema: *mut ArrowSchema,
    error: *mut PsannError,
) -> i32 {
    // SAFETY: as above; the host's batch is valid during the call and has the columns that `bind` named.
    unsafe {
        let held = handle::held::<dyn FilterObject>(handle);
        let found = held.poison.guard(|| held.object.apply(&*batch));
        let given = found.map(|(array, of)| {
            *verdicts = array;
            *schema = of;
        });
        answer(given, error)
    }
}
