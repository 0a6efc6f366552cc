//! A filter: short documents are dropped. Change `judge` to say what you think of a document.

use psann_sdk::prelude::*;

psann_sdk::options! {
    /// {summary}.
    pub struct WordsOptions {
        /// The fewest words that a document may have.
        least: u64 = 5,
    }
}

/// The filter.
pub struct Words {
    least: u64,
}

impl Filter for Words {
    type Options = WordsOptions;
    const NAME: &'static str = "{component}";
    /// Reports count for which reason documents were dropped, and show how scores are distributed.
    const REASONS: &'static [&'static str] = &["too few words"];
    const SCORES: &'static [&'static str] = &["words"];

    fn new(options: WordsOptions, _host: Host) -> Result<Self> {
        Ok(Self { least: options.least })
    }

    /// What it says of one document, whatever the others are.
    fn judge(&self, doc: Doc<'_>) -> Verdict {
        let words = doc.text().split_whitespace().count() as u64;
        let verdict = if words >= self.least { Verdict::keep() } else { Verdict::drop(0) };
        verdict.score(0, words as f64)
    }
}

psann_sdk::export_plugin! { id: "{id}", filters: [Words] }
