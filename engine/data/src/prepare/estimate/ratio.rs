//! Ratio estimators over clusters, and how far off they may be.
//!
//! The clusters are pieces of the source. What they say of one another is all that is known of the pieces nobody read,
//! so the error comes from how much they differ (Cochran, *Sampling Techniques*, chapters 6 and 9A).

use serde::Serialize;

/// A number and how far off it may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Half the width of its 95 % interval: 0 when it is known, `None` when nothing is known of the error.
    pub error: Option<f64>,
}

impl Measured {
    /// A number that is known.
    pub fn exactly(value: f64) -> Self {
        Self { value, error: Some(0.0) }
    }

    /// The number and its error `factor` times.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, error: self.error.map(|error| error * factor.abs()) }
    }

    /// The number and something known.
    #[must_use]
    pub fn plus(self, known: f64) -> Self {
        Self { value: self.value + known, ..self }
    }

    /// Whether `truth` is within the interval.
    pub fn covers(self, truth: f64) -> bool {
        // What is read whole is summed as floating-point numbers.
        let rounding = 1e-9 * truth.abs();
        self.error.is_none_or(|error| (self.value - truth).abs() <= error + rounding)
    }
}

/// The clusters of a sample: how much of the whole each stands for, and how much of that was not read.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    weights: Vec<f64>,
    unread: Vec<f64>,
}

/// Below this number of clusters of equal weight, they say nothing of one another.
const FEWEST: f64 = 1.5;

impl Clusters {
    /// `(weight, unread share)` of each cluster; the weights may have any sum.
    pub fn new(clusters: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (weights, unread): (Vec<f64>, Vec<f64>) = clusters.into_iter().unzip();
        let all: f64 = weights.iter().sum();
        Self { weights: weights.into_iter().map(|weight| weight / all).collect(), unread }
    }

    /// The same clusters for numbers that vary however much is read, such as time.
    pub fn of_endless(&self) -> Self {
        Self { unread: vec![1.0; self.unread.len()], ..self.clone() }
    }

    /// Sum of `y` by sum of `x`, 0 where there is no `x`.
    pub fn ratio(&self, y: &[f64], x: &[f64]) -> Measured {
        let sum = |values: &[f64]| self.weights.iter().zip(values).map(|(weight, value)| weight * value).sum::<f64>();
        let of_x = sum(x);
        if of_x <= 0.0 {
            return Measured::exactly(0.0);
        }
        let value = sum(y) / of_x;
        if self.unread.iter().all(|unread| *unread <= 0.0) {
            return Measured::exactly(value);
        }
        let squares: f64 = self.weights.iter().map(|weight| weight * weight).sum();
        if 1.0 / squares < FEWEST {
            return Measured { value, error: None };
        }
        let residuals: Vec<f64> = y.iter().zip(x).map(|(y, x)| ((y - value * x) / of_x).powi(2)).collect();
        let spread = sum(&residuals) / (1.0 - squares);
        let unread: f64 = self.weights.iter().zip(&self.unread).map(|(weight, unread)| weight * weight * unread).sum();
        Measured { value, error: Some(student(1.0 / squares - 1.0) * (spread * unread).sqrt()) }
    }
}

/// The two-sided 95 % quantile of Student's distribution; between whole degrees of freedom, the wider one.
fn student(freedom: f64) -> f64 {
    const QUANTILES: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    // Equal weights sum to one only up to rounding.
    let whole = ((freedom + 1e-6) as usize).max(1);
    QUANTILES.get(whole - 1).copied().unwrap_or(1.96 + 2.5 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_mean_is_the_textbook_one() {
        // Mean 4, standard deviation 2, four clusters: 3.182 * 2 / sqrt(4), up to the rounding of the deviation.
        let clusters = Clusters::new([(2.0, 1.0); 4]);
        let values = [2.0, 3.0, 5.0, 6.0];
        let mean = clusters.ratio(&values, &[1.0; 4]);
        let deviation = (10.0_f64 / 3.0).sqrt();
        assert!((mean.value - 4.0).abs() < 1e-12);
        assert!((mean.error.unwrap() - 3.182 * deviation / 2.0).abs() < 1e-9, "{mean:?}");
        // A ratio to something proportional has no error.
        assert!(clusters.ratio(&values, &values.map(|value| value * 3.0)).error.unwrap() < 1e-12);
    }

    #[test]
    fn what_was_read_has_no_error_and_one_cluster_knows_none() {
        assert_eq!(Clusters::new([(1.0, 0.0), (3.0, 0.0)]).ratio(&[1.0, 5.0], &[1.0, 1.0]), Measured::exactly(4.0));
        assert_eq!(Clusters::new([(1.0, 0.5)]).ratio(&[1.0], &[2.0]), Measured { value: 0.5, error: None });
        // One cluster and a crumb are no better than one.
        assert_eq!(Clusters::new([(1.0, 0.5), (0.01, 0.5)]).ratio(&[1.0, 1.0], &[1.0, 1.0]).error, None);
        let half = Clusters::new([(1.0, 0.5); 9]);
        let whole = half.of_endless();
        let values: Vec<f64> = (0..9).map(f64::from).collect();
        let (half, whole) = (half.ratio(&values, &[1.0; 9]), whole.ratio(&values, &[1.0; 9]));
        assert!((half.error.unwrap() / whole.error.unwrap() - 0.5_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn student_is_wide_for_few_clusters() {
        assert_eq!([student(0.6), student(1.0), student(9.99), student(10.0)], [12.706, 12.706, 2.262, 2.228]);
        assert!(student(31.0) < 2.042 && student(1e6) > 1.959);
    }
}
