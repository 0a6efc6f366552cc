//! Something that looks at a model in the middle of its training: evaluation is a room beside this one, so it comes through
//! this door.

use psann_core::quantity::Span;
use psann_core::{Model, Result, Sharder};
use serde_json::Value;

/// Looks at a model every so many steps.
pub trait Probe {
    /// How often.
    fn every(&self) -> Span;

    /// Looks at the model after `step` steps. All ranks look at the same time, and bring parameters together in the same
    /// order. The result joins the line of the step in `metrics.jsonl`, under `evaluation`.
    ///
    /// # Errors
    /// Ends the training; it goes on from its newest checkpoint.
    fn look(&mut self, step: u64, model: &dyn Model, sharder: &mut dyn Sharder) -> Result<Value>;
}
