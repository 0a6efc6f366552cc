//! Means, perplexities and their standard errors.

use std::num::NonZero;
use std::thread;

use crate::python::MersenneTwister;

/// Replicates that share a generator in the bootstrap.
const CHUNK: usize = 1000;

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sum of values over the sum of weights.
pub fn weighted_mean(values: impl Iterator<Item = (f64, u64)>) -> f64 {
    let (sum, weight) = values.fold((0.0, 0), |(sum, total), (value, weight)| (sum + value, total + weight));
    sum / weight as f64
}

/// `exp(-mean)`.
pub fn perplexity(log_likelihoods: &[f64]) -> f64 {
    (-mean(log_likelihoods)).exp()
}

/// The standard deviation of a sample, with one degree of freedom taken by its mean.
pub fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// The standard error of a mean.
pub fn mean_error(values: &[f64]) -> f64 {
    deviation(values) / (values.len() as f64).sqrt()
}

/// The standard error of a perplexity: the deviation of `iterations` perplexities of documents drawn with replacement.
///
/// Draws come in chunks of a thousand, each with a generator of its own, seeded by the chunk's number; what does not fill
/// a chunk is left out. So threads share the work and the number of them changes nothing.
pub fn bootstrap_error(log_likelihoods: &[f64], iterations: usize) -> f64 {
    let chunk = CHUNK.min(iterations).max(1);
    let mut replicates = vec![0.0; iterations / chunk * chunk];
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = (iterations / chunk).div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (number, part) in replicates.chunks_mut(share * chunk).enumerate() {
            scope.spawn(move || {
                for (offset, chunk) in part.chunks_mut(chunk).enumerate() {
                    replicate(log_likelihoods, (number * share + offset) as i64, chunk);
                }
            });
        }
    });
    deviation(&replicates)
}

fn replicate(log_likelihoods: &[f64], seed: i64, into: &mut [f64]) {
    let mut random = MersenneTwister::new(seed);
    let count = log_likelihoods.len();
    for replicate in into {
        let sum: f64 = (0..count).map(|_| log_likelihoods[random.choice(count)]).sum();
        *replicate = (-(sum / count as f64)).exp();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether two numbers agree to twelve digits.
    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-12 * expected.abs()
    }

    #[test]
    fn the_bootstrap_is_the_references() {
        let values: Vec<f64> = (1..8).map(|i| -0.5 * f64::from(i)).collect();
        assert!(near(perplexity(&values), 7.389_056_098_930_65));
        for (iterations, expected) in [
            (500, 3.024_410_693_683_447),
            (1000, 3.263_091_676_465_836_4),
            (2000, 3.204_465_306_614_576),
            (2500, 3.204_465_306_614_576),
        ] {
            assert!(near(bootstrap_error(&values, iterations), expected), "{iterations}");
        }
    }

    #[test]
    fn the_error_of_a_mean_is_closed_form() {
        assert!(near(mean_error(&[1.0, 0.0, 0.0, 1.0, 1.0]), 0.244_948_974_278_317_83));
    }
}
