//! Paired tests.

use super::super::metrics::statistics::deviation;
use crate::python::MersenneTwister;

/// The quantiles of the standard normal distribution for a two-sided test at 5 % with a power of 80 %, added.
const DETECTABLE: f64 = 1.959_963_984_540_054 + 0.841_621_233_572_914;

/// How documents' values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Their mean.
    Mean,
    /// `exp(-mean)`, by weight.
    Perplexity,
    /// Bits per unit of weight.
    Bits,
}

impl Kind {
    /// Of a metric.
    pub fn of(metric: &str) -> Self {
        match metric {
            "perplexity" | "word_perplexity" | "byte_perplexity" => Self::Perplexity,
            "bits_per_byte" => Self::Bits,
            _ => Self::Mean,
        }
    }

    fn value(self, sum: f64, weight: f64) -> f64 {
        match self {
            Self::Mean => sum / weight,
            Self::Perplexity => (-sum / weight).exp(),
            Self::Bits => -sum / weight / std::f64::consts::LN_2,
        }
    }
}

/// Values of two results, document by document.
#[derive(Debug)]
pub struct Pairs {
    kind: Kind,
    first: Vec<(f64, f64)>,
    second: Vec<(f64, f64)>,
}

/// What a bootstrap says of a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// 95 % of the differences.
    pub interval: [f64; 2],
    /// Two-sided.
    pub p: f64,
    /// The smallest difference that would be seen with a power of 80 %.
    pub detectable: f64,
}

impl Pairs {
    /// Values with their weights.
    pub fn new(kind: Kind, first: Vec<(f64, f64)>, second: Vec<(f64, f64)>) -> Self {
        Self { kind, first, second }
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.first.len().min(self.second.len())
    }

    /// Whether every value is 0 or 1.
    pub fn is_right_or_wrong(&self) -> bool {
        let truth = |(value, weight): &(f64, f64)| *weight == 1.0 && (*value == 0.0 || *value == 1.0);
        self.kind == Kind::Mean && self.first.iter().chain(&self.second).all(truth)
    }

    /// Second less first, document by document.
    pub fn changes(&self) -> impl Iterator<Item = f64> + '_ {
        self.first.iter().zip(&self.second).map(|(first, second)| second.0 - first.0)
    }

    /// The value of both.
    pub fn values(&self) -> [f64; 2] {
        [&self.first, &self.second].map(|side| {
            let (sum, weight) = side.iter().fold((0.0, 0.0), |(sum, all), (value, weight)| (sum + value, all + weight));
            self.kind.value(sum, weight)
        })
    }

    /// Draws documents with replacement, the same ones for both.
    pub fn bootstrap(&self, replicates: usize) -> Drawn {
        let mut random = MersenneTwister::new(0);
        let count = self.len();
        let replicates = replicates.max(1);
        let mut differences: Vec<f64> = (0..replicates)
            .map(|_| {
                let mut sums = [(0.0, 0.0); 2];
                for _ in 0..count {
                    let document = random.choice(count);
                    for (sum, side) in sums.iter_mut().zip([&self.first, &self.second]) {
                        sum.0 += side[document].0;
                        sum.1 += side[document].1;
                    }
                }
                self.kind.value(sums[1].0, sums[1].1) - self.kind.value(sums[0].0, sums[0].1)
            })
            .collect();
        let spread = if replicates > 1 { deviation(&differences) } else { f64::NAN };
        differences.sort_by(f64::total_cmp);
        let at = |share: f64| differences[((share * replicates as f64) as usize).min(replicates - 1)];
        let share = |side: &dyn Fn(&f64) -> bool| {
            (differences.iter().filter(|difference| side(difference)).count() + 1) as f64 / (replicates + 1) as f64
        };
        let p = 2.0 * share(&|difference| *difference <= 0.0).min(share(&|difference| *difference >= 0.0));
        Drawn { interval: [at(0.025), at(0.975)], p: p.min(1.0), detectable: DETECTABLE * spread }
    }
}

/// McNemar's exact test: how likely a fair coin splits the flipped documents as unevenly (two-sided).
pub fn mcnemar(gained: u64, lost: u64) -> f64 {
    let flips = gained + lost;
    let fewer = gained.min(lost);
    // ln C(n, k) - n ln 2, from one k to the next.
    let mut term = -(flips as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=fewer {
        tail += term.exp();
        term += ((flips - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Holm's correction: the p-values at which a family of tests as a whole errs that often.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut least = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        least = least.max((p_values[index] * remaining).min(1.0));
        corrected[index] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-12
    }

    #[test]
    fn mcnemar_is_the_binomial_test() {
        assert!(near(mcnemar(0, 0), 1.0));
        assert!(near(mcnemar(5, 5), 1.0));
        assert!(near(mcnemar(0, 5), 2.0 / 32.0));
        assert!(near(mcnemar(10, 2), 2.0 * f64::from(1 + 12 + 66) / 4096.0));
        // Far beyond where a power of two is still a number.
        assert!(mcnemar(2000, 1000) < 1e-60 && (0.9..=1.0).contains(&mcnemar(2000, 2001)));
    }

    #[test]
    fn holm_multiplies_the_smallest_most_and_keeps_the_order() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.5]);
        for (found, expected) in corrected.iter().zip([0.04, 0.09, 0.09, 0.5]) {
            assert!(near(*found, expected), "{corrected:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_constant_gain_is_certain_and_no_gain_is_chance() {
        let values = |shift: f64| (0..50).map(|i| (-f64::from(i % 7) + shift, 1.0)).collect::<Vec<_>>();
        let sure = Pairs::new(Kind::Mean, values(0.0), values(1.0)).bootstrap(1000);
        assert!(sure.p < 0.01 && near(sure.interval[0], 1.0) && near(sure.interval[1], 1.0));
        let none = Pairs::new(Kind::Perplexity, values(0.0), values(0.0)).bootstrap(1000);
        assert_eq!((none.p, none.interval), (1.0, [0.0, 0.0]));
    }
}
