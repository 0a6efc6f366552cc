//! How a number is distributed over documents: counts of values rounded to two significant digits, so that they add up
//! exactly in any order and stay few.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by value. As JSON a sorted list of `[value, count]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(f64, u64)>", into = "Vec<(f64, u64)>")]
pub struct Distribution {
    counts: BTreeMap<i64, u64>,
}

/// Added to the exponent so that codes of small numbers sort below those of large ones.
const BIAS: i64 = 400;

/// Order-preserving code of a number rounded to two significant digits.
fn code(value: f64) -> i64 {
    if value == 0.0 {
        return 0;
    }
    let magnitude = value.abs();
    let mut exponent = magnitude.log10().floor() as i64;
    let mut digits = (magnitude / 10_f64.powi(exponent as i32 - 1)).round() as i64;
    if digits >= 100 {
        (exponent, digits) = (exponent + 1, 10);
    }
    let code = (exponent + BIAS) * 100 + digits;
    if value < 0.0 { -code } else { code }
}

fn value(code: i64) -> f64 {
    if code == 0 {
        return 0.0;
    }
    let (exponent, digits) = (code.abs() / 100 - BIAS, code.abs() % 100);
    // Through text, so that 0.35 is the number people write and not a neighbour of it.
    let text = format!("{}{digits}e{}", if code < 0 { "-" } else { "" }, exponent - 1);
    text.parse().unwrap_or(f64::NAN)
}

impl Distribution {
    /// Adds a number; one that is not finite counts as not measured.
    pub fn add(&mut self, number: f64) {
        if number.is_finite() {
            *self.counts.entry(code(number)).or_default() += 1;
        }
    }

    /// Adds all numbers of another.
    pub fn merge(&mut self, other: &Self) {
        for (code, count) in &other.counts {
            *self.counts.entry(*code).or_default() += count;
        }
    }

    /// How many numbers.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Values and their counts, in ascending order.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        self.counts.iter().map(|(code, count)| (value(*code), *count))
    }

    /// The smallest value that at least `share` of the numbers do not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let (total, mut below) = (self.total(), 0);
        let enough = (share * total as f64).ceil().max(1.0) as u64;
        self.values().find_map(|(value, count)| {
            below += count;
            (below >= enough).then_some(value)
        })
    }
}

impl From<Vec<(f64, u64)>> for Distribution {
    fn from(pairs: Vec<(f64, u64)>) -> Self {
        Self { counts: pairs.into_iter().map(|(value, count)| (code(value), count)).collect() }
    }
}

impl From<Distribution> for Vec<(f64, u64)> {
    fn from(distribution: Distribution) -> Self {
        distribution.values().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_two_digits() {
        let mut found = Distribution::default();
        for number in [0.354, 0.346, -2.0, 0.0, 99.6, 1e-9, f64::NAN, f64::INFINITY] {
            found.add(number);
        }
        let expected = [(-2.0, 1), (0.0, 1), (1e-9, 1), (0.35, 2), (100.0, 1)];
        assert_eq!(found.values().collect::<Vec<_>>(), expected);
        assert_eq!((found.quantile(0.5), found.total()), (Some(1e-9), 6));
        assert_eq!(serde_json::from_str::<Distribution>(&serde_json::to_string(&found).unwrap()).unwrap(), found);
    }

    proptest! {
        #[test]
        fn rounding_is_close_and_keeps_order(a in -1e12_f64..1e12, b in -1e-3_f64..1e3) {
            for number in [a, b] {
                prop_assert!((value(code(number)) - number).abs() <= number.abs() * 0.0501);
                prop_assert_eq!(code(value(code(number))), code(number));
            }
            prop_assert_eq!(a < b, code(a) < code(b) || (code(a) == code(b) && a < b));
        }
    }
}
