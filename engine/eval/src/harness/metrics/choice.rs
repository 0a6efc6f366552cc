//! Which of several endings a model prefers.

/// The first of the largest; a value that is no number counts as largest of all, as `numpy.argmax` has it.
pub fn first_largest(values: &[f64]) -> usize {
    if let Some(at) = values.iter().position(|value| value.is_nan()) {
        return at;
    }
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// [`first_largest`] of log-likelihoods divided by lengths. An ending of length 0 gets minus infinity, or no number where
/// its log-likelihood is 0 too.
pub fn first_largest_per(log_likelihoods: &[f64], lengths: &[usize]) -> usize {
    let divided: Vec<f64> =
        log_likelihoods.iter().zip(lengths).map(|(likelihood, length)| likelihood / *length as f64).collect();
    first_largest(&divided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_and_empty_endings_never_win_by_length() {
        assert_eq!(first_largest(&[-2.0, -1.0, -1.0]), 1);
        assert_eq!(first_largest_per(&[-2.0, -1.0], &[4, 1]), 0);
        assert_eq!(first_largest_per(&[-1.0, -9.0], &[0, 1]), 1);
        assert_eq!(first_largest_per(&[-1.0, -9.0], &[0, 0]), 0);
        assert_eq!(first_largest_per(&[-1.0, 0.0], &[1, 0]), 1);
    }
}
