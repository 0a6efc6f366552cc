//! Log-likelihoods of continuations: how probable is this ending, given that context?
//!
//! Multiple-choice tasks ask it several times about one context. A context is read once for all its continuations,
//! which start from a clone of its key-value cache. Log-softmax is double precision over fp32 logits.

use std::collections::BTreeMap;

use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use crate::network::{Network, Session};

/// Rows of logits that exist in double precision at once.
const ROWS: i64 = 32;

/// A question: how probable is `continuation` behind `context`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Tokens before it, at least one: put the prefix token there when there is no context.
    pub context: Vec<u32>,
    /// Tokens that are scored.
    pub continuation: Vec<u32>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Log-likelihood of the continuation in nats, at most 0.
    pub log_likelihood: f64,
    /// Whether each of its tokens is the likeliest at its place, so that greedy decoding would say it.
    pub is_greedy: bool,
}

/// Scores every request, in order. `length` is the most tokens the model may read: a longer context loses its
/// beginning.
///
/// # Errors
/// When a context is empty, or a continuation alone is longer than `length`.
pub fn log_likelihoods(network: Network<'_>, requests: &[Request], length: usize) -> Result<Vec<Score>> {
    let mut of_context: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        of_context.entry(readable_context(request, length)?).or_default().push(index);
    }
    let mut scores = vec![Score { log_likelihood: 0.0, is_greedy: true }; requests.len()];
    for (context, indices) in of_context {
        let mut session = Session::new(network);
        let first = session.feed(&network.ids(&[context])?)?;
        // Choices of one task are often equal to the letter; each is computed once.
        let mut known: BTreeMap<&[u32], Score> = BTreeMap::new();
        for index in indices {
            let continuation = requests[index].continuation.as_slice();
            let score = match known.get(continuation) {
                Some(score) => *score,
                None => score(network, &session, &first, continuation)?,
            };
            known.insert(continuation, score);
            scores[index] = score;
        }
    }
    Ok(scores)
}

/// The end of the context that fits in front of the continuation. The continuation's last token is never read, so
/// the context and the rest of it may fill `length`.
fn readable_context(request: &Request, length: usize) -> Result<&[u32]> {
    let (context, continuation) = (&request.context, request.continuation.len());
    if context.is_empty() {
        return Err(Error::new("a continuation cannot be scored without a token in front of it"));
    }
    if continuation > length {
        return Err(Error::new(format!(
            "a continuation of {continuation} tokens does not fit into a context of {length}"
        ))
        .hint("give a longer `context`"));
    }
    let room = length + 1 - continuation.max(1);
    Ok(&context[context.len().saturating_sub(room)..])
}

fn score(network: Network<'_>, session: &Session<'_>, first: &Tensor, continuation: &[u32]) -> Result<Score> {
    let Some((_, read)) = continuation.split_last() else {
        return Ok(Score { log_likelihood: 0.0, is_greedy: true });
    };
    tch::no_grad(|| {
        // Checked before they index logits: the last one is never read by the model.
        let targets = network.ids(&[continuation])?.view([-1, 1]);
        let logits = if read.is_empty() {
            first.shallow_clone()
        } else {
            let rest = session.clone().feed_all(&network.ids(&[read])?)?.squeeze_dim(0);
            Tensor::cat(&[first, &rest], 0)
        };
        let greedy = logits.argmax(-1, true).eq_tensor(&targets).all();
        let mut sum = 0.0;
        let rows = targets.size()[0];
        for start in (0..rows).step_by(ROWS as usize) {
            let count = ROWS.min(rows - start);
            let logs = logits.narrow(0, start, count).log_softmax(-1, Kind::Double);
            sum += logs.gather(1, &targets.narrow(0, start, count), false).sum(Kind::Double).double_value(&[]);
        }
        if !sum.is_finite() {
            return Err(Error::new("the log-likelihood of a continuation is not finite")
                .hint("the model's weights are damaged, or its training diverged; see the losses in metrics.jsonl"));
        }
        Ok(Score { log_likelihood: sum, is_greedy: greedy.int64_value(&[]) != 0 })
    })
}

#[cfg(test)]
mod tests {
    use tch::IndexOp;

    use super::*;
    use crate::testing::{Script, Toy};

    fn request(context: &[u32], continuation: &[u32]) -> Request {
        Request { context: context.to_vec(), continuation: continuation.to_vec() }
    }

    /// The definition: one forward over everything, full logits.
    fn of_full_logits(network: Network<'_>, request: &Request, length: usize) -> f64 {
        let all = [request.context.as_slice(), request.continuation.as_slice()].concat();
        let all = &all[all.len().saturating_sub(length + 1)..];
        let logits = Session::new(network).feed_all(&network.ids(&[&all[..all.len() - 1]]).unwrap()).unwrap();
        let logs = logits.squeeze_dim(0).log_softmax(-1, Kind::Double);
        let first = all.len() - request.continuation.len();
        (first..all.len()).map(|t| f64::try_from(logs.i((t as i64 - 1, i64::from(all[t])))).unwrap()).sum()
    }

    #[test]
    fn shared_contexts_give_the_log_likelihoods_of_full_logits() {
        let toy = Toy::new(13);
        let network = toy.network();
        let requests = [
            request(&[1, 2, 3, 4], &[5, 6]),
            request(&[7], &[8]),
            request(&[1, 2, 3, 4], &[12]),
            request(&[1, 2, 3, 4], &[5, 6, 0, 9, 9, 1]),
            request(&[1, 2, 3], &[4, 5, 6]),
            request(&[1, 2, 3, 4], &[5, 6]),
        ];
        for length in [64, 6] {
            let scores = log_likelihoods(network, &requests, length).unwrap();
            for (score, request) in scores.iter().zip(&requests) {
                let expected = of_full_logits(network, request, length);
                assert!(
                    (score.log_likelihood - expected).abs() < 1e-5 * expected.abs(),
                    "{score:?} {expected} {length}"
                );
            }
            assert_eq!(scores[0], scores[5]);
        }
        let long = log_likelihoods(network, &requests[3..4], 64).unwrap();
        let cut = log_likelihoods(network, &requests[3..4], 6).unwrap();
        assert_ne!(long, cut, "a context that does not fit loses its beginning");
    }

    #[test]
    fn greedy_means_that_every_token_is_the_likeliest() {
        let script = Script::new(&[9, 3, 1, 4], 10);
        let requests =
            [request(&[0, 0], &[3, 1, 4]), request(&[0, 0], &[3, 1, 5]), request(&[0], &[9]), request(&[0], &[8, 3])];
        let scores = log_likelihoods(script.network(), &requests, 64).unwrap();
        let greedy: Vec<bool> = scores.iter().map(|score| score.is_greedy).collect();
        assert_eq!(greedy, [true, false, true, false]);
    }

    #[test]
    fn an_empty_continuation_is_certain_and_impossible_requests_are_errors() {
        let toy = Toy::new(13);
        let ask = |request| log_likelihoods(toy.network(), &[request], 4);
        assert_eq!(ask(request(&[1], &[])).unwrap()[0], Score { log_likelihood: 0.0, is_greedy: true });
        assert!(ask(request(&[], &[1])).is_err());
        assert!(ask(request(&[1], &[1, 1, 1, 1, 1])).is_err());
        assert!(ask(request(&[1], &[13])).is_err(), "the last token is not read, but must exist");
        assert_eq!(ask(request(&[1, 2, 3, 4, 5], &[1, 1, 1, 1])).unwrap().len(), 1);
    }
}
