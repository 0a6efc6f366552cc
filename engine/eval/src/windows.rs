//! Cuts a document into windows a model can read, so that each of its tokens is predicted exactly once.
//!
//! The first window predicts from the document's start. Each later one predicts the next `stride` tokens from a full
//! window of those before: with `stride` equal to `length` windows share nothing but one token (the usual,
//! cheapest measure, and the rule of lm-evaluation-harness's rolling log-likelihood), with a smaller stride every token has
//! at least `length - stride` tokens of context.

/// One forward: `inputs` are read, and the last `targets` predictions count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First position of the input, in a text that starts with the prefix token.
    pub start: usize,
    /// Tokens read.
    pub length: usize,
    /// How many of the last predictions are scored.
    pub scored: usize,
}

/// The windows over a text of `total` tokens, the prefix among them: token 0 is given, 1 to `total - 1` are predicted.
///
/// `length` is the most tokens that a window reads, `stride` the most that it newly predicts; both at least 1, and a
/// `stride` beyond `length` counts as `length`.
pub fn rolling(total: usize, length: usize, stride: usize) -> Vec<Window> {
    let (length, predicted) = (length.max(1), total.saturating_sub(1));
    let stride = stride.clamp(1, length);
    let mut windows = Vec::new();
    let mut done = 0;
    while done < predicted {
        let scored = (predicted - done).min(if done == 0 { length } else { stride });
        let end = done + scored;
        let start = end.saturating_sub(length);
        windows.push(Window { start, length: end - start, scored });
        done = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_window_looks_back_for_context() {
        let window = |start, length, scored| Window { start, length, scored };
        assert_eq!(rolling(11, 4, 4), [window(0, 4, 4), window(4, 4, 4), window(6, 4, 2)]);
        assert_eq!(rolling(8, 4, 2), [window(0, 4, 4), window(2, 4, 2), window(3, 4, 1)]);
        assert_eq!(rolling(3, 4, 4), [window(0, 2, 2)]);
        assert_eq!(rolling(1, 4, 4), []);
        assert_eq!(rolling(0, 4, 4), []);
    }

    proptest! {
        #[test]
        fn every_token_is_predicted_once_with_the_context_promised(total in 0_usize..200, length in 1_usize..20, stride in 1_usize..25) {
            let mut next = 1;
            for window in rolling(total, length, stride) {
                prop_assert!(window.length <= length && window.scored <= window.length);
                // The prediction of input position p is token p + 1.
                let first = window.start + window.length - window.scored + 1;
                prop_assert_eq!(first, next);
                let context = window.length - window.scored + 1;
                prop_assert!(window.start == 0 || context > length - stride.min(length));
                next += window.scored;
            }
            prop_assert_eq!(next, total.max(1));
        }
    }
}
