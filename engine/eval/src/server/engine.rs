//! What the scheduler asks of a network: to read some tokens of several texts, and to score a prompt.
//!
//! Everything else of the server sees texts, not tensors. What a text becomes must not depend on what is computed beside
//! it, so both functions promise the same bits for a text whatever company it has.

use psann_core::pass::{Pass, Past, Run};
use psann_core::{Error, Result};
use psann_torch::inference;
use tch::Tensor;

use crate::network::Network;
pub use crate::session::{Sequence, Step};

/// Rows of logits that exist at once.
const ROWS: usize = 64;

/// How probable a token was at its place, and what else might have stood there.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// Its log-probability in nats.
    pub log_probability: f64,
    /// The likeliest tokens and their log-probabilities, best first, of equals the lowest id first. The token's own entry
    /// here, if it is among them, has exactly its `log_probability`.
    pub top: Vec<(u32, f64)>,
}

/// Scores each token of `ids` but the first, given those before it, beside the `top` likeliest at its place. The last
/// token is not read. On the CPU a token's score has the bits that evaluation gives it.
pub fn prompt_log_probabilities(network: Network<'_>, ids: &[u32], top: usize) -> Result<Vec<TokenScore>> {
    let (Some((_, read)), Some((_, targets))) = (ids.split_last(), ids.split_first()) else {
        return Ok(Vec::new());
    };
    if read.is_empty() {
        return Ok(Vec::new());
    }
    let run = Run { tokens: 0..read.len() as i64, past: Past::Nothing };
    network.project(read, &mut Pass::new(vec![run], Vec::new())?, None, |hidden, weight| {
        let mut scores = Vec::with_capacity(targets.len());
        for (chunk, targets) in targets.chunks(ROWS).enumerate() {
            let rows = hidden.narrow(0, (chunk * ROWS) as i64, targets.len() as i64);
            scores.extend(token_scores(&inference::linear(&rows, weight, None)?, targets, top)?);
        }
        Ok(scores)
    })
}

/// Scores one token a row of logits `[tokens, vocabulary]`, beside the `top` likeliest of that row. Sums are double
/// precision.
///
/// # Errors
/// When a log-probability is not finite, or a token is beyond the vocabulary.
pub fn token_scores(logits: &Tensor, tokens: &[u32], top: usize) -> Result<Vec<TokenScore>> {
    let (log_sums, _) = inference::normalisers(logits)?;
    let width = logits.size()[1] as usize;
    let rows = Vec::<f32>::try_from(logits.reshape([-1]))
        .map_err(|e| Error::new("cannot read the model's log-probabilities").because(e))?;
    let mut scores = Vec::with_capacity(tokens.len());
    for ((row, log_sum), token) in rows.chunks_exact(width.max(1)).zip(log_sums).zip(tokens) {
        let of_logit = |logit: f32| f64::from(logit) - log_sum;
        let logit = *row
            .get(*token as usize)
            .ok_or_else(|| Error::new(format!("token {token} is outside of the model's vocabulary of {width}")))?;
        let log_probability = of_logit(logit);
        let top: Vec<(u32, f64)> = likeliest(row, top).into_iter().map(|(id, logit)| (id, of_logit(logit))).collect();
        if !log_probability.is_finite() || top.iter().any(|(_, value)| !value.is_finite()) {
            return Err(Error::new("the model's log-probabilities are not finite")
                .hint("its weights are damaged, or its training diverged; see the losses in metrics.jsonl"));
        }
        scores.push(TokenScore { token: *token, log_probability, top });
    }
    Ok(scores)
}

/// The `count` largest values with their places, largest first, of equals the first place first.
fn likeliest(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    for (id, value) in row.iter().enumerate() {
        if best.len() == count && best.last().is_some_and(|(_, least)| value <= least) {
            continue;
        }
        let place = best.partition_point(|(_, other)| other >= value);
        best.insert(place, (id as u32, *value));
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::session::Session;
    use crate::testing::Toy;

    #[test]
    fn a_prompt_is_scored_by_the_log_softmax_of_full_logits() {
        let toy = Toy::new(11);
        let network = toy.network();
        // More than one chunk of rows.
        let ids: Vec<u32> = (0..80).map(|n| (n * 7 + n / 3) % 11).collect();
        let scores = prompt_log_probabilities(network, &ids, 2).unwrap();
        let logits = Session::new(network).feed_all(&[&ids]).unwrap().squeeze_dim(0);
        let table = logits.log_softmax(-1, Kind::Double);
        assert_eq!(scores.len(), ids.len() - 1);
        for (place, score) in scores.iter().enumerate() {
            let row = Vec::<f64>::try_from(table.get(place as i64)).unwrap();
            assert_eq!(score.token, ids[place + 1]);
            assert!((score.log_probability - row[score.token as usize]).abs() < 1e-5);
            let mut sorted = row.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            assert!((score.top[0].1 - sorted[0]).abs() < 1e-5 && (score.top[1].1 - sorted[1]).abs() < 1e-5);
            if let Some((_, value)) = score.top.iter().find(|(id, _)| *id == score.token) {
                assert_eq!(value.to_bits(), score.log_probability.to_bits());
            }
        }
        assert_eq!(prompt_log_probabilities(network, &ids[..1], 1).unwrap(), []);
    }

    #[test]
    fn of_equals_the_lowest_id_comes_first() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0, 2.0, 3.0], 2), [(1, 3.0), (2, 3.0)]);
        assert_eq!(likeliest(&[1.0, 3.0], 0), []);
        assert_eq!(likeliest(&[1.0, 3.0], 5), [(1, 3.0), (0, 1.0)]);
    }

    #[test]
    fn damaged_logits_are_an_error() {
        let logits = Tensor::from_slice(&[0.0_f32, f32::NAN]).view([1, 2]);
        assert!(token_scores(&logits, &[0], 1).is_err());
        assert!(token_scores(&Tensor::from_slice(&[0.0_f32, 1.0]).view([1, 2]), &[2], 1).is_err());
    }
}
