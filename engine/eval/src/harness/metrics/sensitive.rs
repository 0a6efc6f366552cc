//! Measures that move before accuracy does.
//!
//! A small model answers a benchmark near chance for most of its training, while the probability it gives to the right
//! ending rises from the first hour. These numbers are reported beside the standard ones and never in their place.

use super::statistics;

/// What one document tells beyond right or wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensitive {
    /// Log-probability of the right ending.
    pub gold: f64,
    /// Bytes of the text whose probability that is.
    pub bytes: usize,
    /// The right ending's log-probability less that of the best wrong one, where there are wrong ones.
    pub margin: Option<f64>,
    /// Accuracy so scaled that guessing gives 0 and knowing gives 1; where there are several endings.
    pub centred: Option<f64>,
}

impl Sensitive {
    /// From the log-likelihoods of all endings; `bytes` of the right one.
    pub fn of_choices(log_likelihoods: &[f64], gold: usize, bytes: usize) -> Self {
        let wrong = log_likelihoods.iter().enumerate().filter(|(index, _)| *index != gold).map(|(_, value)| *value);
        let best = wrong.fold(None, |best: Option<f64>, value| Some(best.map_or(value, |best| best.max(value))));
        let chance = 1.0 / log_likelihoods.len() as f64;
        let right = f64::from(u8::from(super::choice::first_largest(log_likelihoods) == gold));
        Self {
            gold: log_likelihoods[gold],
            bytes,
            margin: best.map(|best| log_likelihoods[gold] - best),
            centred: best.map(|_| (right - chance) / (1.0 - chance)),
        }
    }
}

/// The same of many documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensitiveSummary {
    /// Mean log-probability of the right ending.
    pub gold_log_probability: f64,
    /// Mean margin.
    pub margin: Option<f64>,
    /// Bits per byte of the right endings, taken together.
    pub bits_per_byte: f64,
    /// Mean centred accuracy.
    pub centred_accuracy: Option<f64>,
}

impl SensitiveSummary {
    /// Of all documents; `None` where there is none.
    pub fn of(documents: &[Sensitive]) -> Option<Self> {
        if documents.is_empty() {
            return None;
        }
        let every = |value: &dyn Fn(&Sensitive) -> Option<f64>| {
            let values: Option<Vec<f64>> = documents.iter().map(value).collect();
            values.map(|values| statistics::mean(&values))
        };
        let gold: f64 = documents.iter().map(|document| document.gold).sum();
        let bytes: usize = documents.iter().map(|document| document.bytes).sum();
        Some(Self {
            gold_log_probability: gold / documents.len() as f64,
            margin: every(&|document| document.margin),
            bits_per_byte: -gold / bytes as f64 / std::f64::consts::LN_2,
            centred_accuracy: every(&|document| document.centred),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_centred_at_zero() {
        let right = Sensitive::of_choices(&[-1.0, -2.0, -3.0, -4.0], 0, 2);
        let wrong = Sensitive::of_choices(&[-1.0, -2.0, -3.0, -4.0], 2, 2);
        assert_eq!((right.margin, right.centred), (Some(1.0), Some(1.0)));
        assert_eq!((wrong.margin, wrong.centred), (Some(-2.0), Some(-1.0 / 3.0)));
        let guessing = SensitiveSummary::of(&[right, wrong, wrong, wrong]).unwrap();
        assert!(guessing.centred_accuracy.unwrap().abs() < 1e-12);
        assert_eq!(guessing.gold_log_probability, -2.5);
        assert_eq!(guessing.bits_per_byte, 10.0 / 8.0 / std::f64::consts::LN_2);
    }
}
