//! What the answers of one task are worth: metrics of documents, their aggregates and standard errors.
//!
//! | module | what |
//! |---|---|
//! | [`choice`] | which ending wins, by plain and by normalised log-likelihood |
//! | [`exact`] | whether a generated text is the answer |
//! | [`statistics`] | means, perplexities, standard errors |
//! | [`sensitive`] | measures that move before accuracy does, for small models |
//!
//! Definitions are those of lm-evaluation-harness 0.4.13. It adds numbers one after the other in f64; so does this.

use serde_json::{Value, json};

use crate::python::json::number;

pub mod choice;
pub mod exact;
pub mod sensitive;
pub mod statistics;

pub use exact::ExactMatch;
pub use sensitive::{Sensitive, SensitiveSummary};

/// What is measured of every document of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// Share of documents whose right ending is the likeliest, or (of single continuations) whose continuation is what
    /// greedy decoding gives.
    Accuracy,
    /// Accuracy by log-likelihood per character of the ending.
    AccuracyPerCharacter,
    /// Accuracy by log-likelihood per byte of the ending.
    AccuracyPerByte,
    /// Accuracy by log-likelihood per token of the ending.
    AccuracyPerToken,
    /// `exp(-mean log-likelihood)` of the continuations.
    Perplexity,
    /// `exp(-log-likelihood per word)` of whole texts.
    WordPerplexity,
    /// `exp(-log-likelihood per byte)` of whole texts.
    BytePerplexity,
    /// Bits per byte of whole texts.
    BitsPerByte,
    /// Share of generated texts that equal the answer.
    ExactMatch(ExactMatch),
}

impl Metric {
    /// Its name in result files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accuracy => "acc",
            Self::AccuracyPerCharacter => "acc_norm",
            Self::AccuracyPerByte => "acc_bytes",
            Self::AccuracyPerToken => "acc_tokens",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::ExactMatch(_) => "exact_match",
        }
    }

    /// The metric of this name, with default rules.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Accuracy,
            Self::AccuracyPerCharacter,
            Self::AccuracyPerByte,
            Self::AccuracyPerToken,
            Self::Perplexity,
            Self::WordPerplexity,
            Self::BytePerplexity,
            Self::BitsPerByte,
            Self::ExactMatch(ExactMatch::default()),
        ];
        all.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether a larger value is a better one.
    pub fn higher_is_better(&self) -> bool {
        !matches!(self, Self::Perplexity | Self::WordPerplexity | Self::BytePerplexity | Self::BitsPerByte)
    }

    /// How values of documents become one value, as result files name it.
    pub fn aggregation(&self) -> &'static str {
        match self {
            Self::Perplexity => "perplexity",
            Self::WordPerplexity | Self::BytePerplexity => "weighted_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            _ => "mean",
        }
    }

    /// The value of many documents and its standard error, which is unknown for one document, for weighted measures, and
    /// where `bootstrap` iterations are 0.
    pub fn aggregate(&self, values: &[Measured], bootstrap: usize) -> Aggregate {
        let plain = || values.iter().map(|measured| measured.value).collect::<Vec<f64>>();
        let weighted = || statistics::weighted_mean(values.iter().map(|measured| (measured.value, measured.weight)));
        let known = |error: &dyn Fn() -> f64| (bootstrap > 0 && values.len() > 1).then(error);
        match self {
            Self::WordPerplexity | Self::BytePerplexity => {
                Aggregate { value: (-weighted()).exp(), standard_error: None }
            }
            Self::BitsPerByte => Aggregate { value: -weighted() / std::f64::consts::LN_2, standard_error: None },
            Self::Perplexity => {
                let values = plain();
                Aggregate {
                    value: statistics::perplexity(&values),
                    standard_error: known(&|| statistics::bootstrap_error(&values, bootstrap)),
                }
            }
            _ => {
                let values = plain();
                Aggregate {
                    value: statistics::mean(&values),
                    standard_error: known(&|| statistics::mean_error(&values)),
                }
            }
        }
    }
}

/// A metric of one document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Its value.
    pub value: f64,
    /// What the value is divided by when documents are put together; 1 unless the metric is weighted.
    pub weight: u64,
    shown: Shown,
}

/// How a value stands in a sample file: Python's whole numbers have no decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Real,
    Whole,
    Weighted { whole: bool },
}

impl Measured {
    /// A real number.
    pub fn real(value: f64) -> Self {
        Self { value, weight: 1, shown: Shown::Real }
    }

    /// A whole number, as Python prints it: without decimals.
    pub fn whole(value: i64) -> Self {
        Self { value: value as f64, weight: 1, shown: Shown::Whole }
    }

    /// A log-likelihood of so many words or bytes; `whole` where no token was scored at all.
    pub fn weighted(log_likelihood: f64, weight: u64, whole: bool) -> Self {
        Self { value: log_likelihood, weight, shown: Shown::Weighted { whole } }
    }

    /// The value as it stands in a sample file.
    pub fn json(&self) -> Value {
        match self.shown {
            Shown::Real => number(self.value),
            Shown::Whole => json!(self.value as i64),
            Shown::Weighted { whole: true } => json!([self.value as i64, self.weight]),
            Shown::Weighted { whole: false } => json!([number(self.value), self.weight]),
        }
    }
}

/// A metric of many documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// Its value.
    pub value: f64,
    /// Standard error, where there is one.
    pub standard_error: Option<f64>,
}
