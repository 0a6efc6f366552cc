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
        let (mut letters, mut all) = (0_u32, 0_u32);
        for letter in doc.text().chars() {
            letters += u32::from(letter.is_alphabetic());
            all += 1;
        }
        Verdict::at_least(f64::from(letters) / f64::from(all.max(1)), self.min)
    }
}

psann_sdk::export_plugin! { id: "org.psann.letters", filters: [Letters] }
