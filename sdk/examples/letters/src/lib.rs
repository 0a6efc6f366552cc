//! A filter: documents with too small a share of letters are dropped.

use psann_sdk::prelude::*;

psann_sdk::options! {
    /// Keeps documents that consist of letters for the most part.
    pub struct LettersOptions {
        /// The least share of letters among all characters.
        #[schemars(range(min = 0.0, max = 1.0))]
        min: f64 = 0.6,
    }
}

/// The filter.
pub struct Letters {
    min: f64,
}

impl Filter for Letters {
    type Options = LettersOptions;
    const NAME: &'static str = "letters";
    const PRIMARY: Option<&'static str> = Some("min");
    const REASONS: &'static [&'static str] = &["too few letters"];
    const SCORES: &'static [&'static str] = &["letters"];

    fn new(options: LettersOptions, _host: Host) -> Result<Self> {
        if !(0.0..=1.0).contains(&options.min) {
            return Err(Error::usage(format!("option `min` must be a share between 0 and 1, found {}", options.min)));
        }
        Ok(Self { min: options.min })
    }

    fn judge(&self, doc: Doc<'_>) -> Verdict {
        // Most letters are of the Latin alphabet, and those are told apart without a table.
        let is_letter = |c: char| c.is_ascii_alphabetic() || (!c.is_ascii() && c.is_alphabetic());
        let letters = doc.text().chars().filter(|c| is_letter(*c)).count();
        let all = doc.text().chars().count();
        Verdict::at_least(letters as f64 / all.max(1) as f64, self.min)
    }
}

psann_sdk::export_plugin! { id: "org.psann.letters", filters: [Letters] }
