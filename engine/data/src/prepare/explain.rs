//! Why a text would be dropped: every filter asked about it, one by one.

use psann_core::{BatchBuilder, Document, Result};
use serde::Serialize;
use serde_json::Value;

use super::passes::Filters;
use super::report::scores_of;

/// What one filter says of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub filter: String,
    /// Why it would drop the text; `None` keeps it.
    pub dropped: Option<String>,
    /// The numbers behind it.
    pub scores: Value,
    /// Whether it would change the text.
    pub rewrites: bool,
    /// Whether the whole corpus has a say in the verdict, so that a text alone tells only part of it.
    pub corpus: bool,
}

/// Asks every filter about `document`, also behind one that would drop it. Each sees the text as those before it left it.
///
/// # Errors
/// When a filter fails on the text.
pub fn explain(filters: &Filters, document: &Document) -> Result<Vec<Explanation>> {
    let mut document = document.clone();
    let mut explanations = Vec::new();
    for named in &filters.all {
        let mut builder = BatchBuilder::default();
        builder.push(document.clone());
        let mut verdicts =
            named.filter.apply(&builder.finish()?).map_err(|e| e.within(format!("filter `{}`", named.name)))?;
        let reason = verdicts.dropped.first().copied().flatten();
        let word = |code: u16| named.filter.reasons().get(usize::from(code)).copied().unwrap_or("unnamed").to_owned();
        let text = verdicts.rewritten.first_mut().and_then(Option::take);
        explanations.push(Explanation {
            filter: named.name.clone(),
            dropped: reason.map(word),
            scores: scores_of(&verdicts, 0),
            rewrites: text.is_some(),
            corpus: named.filter.corpus().is_some(),
        });
        if let Some(text) = text {
            document.text = text;
        }
    }
    Ok(explanations)
}
