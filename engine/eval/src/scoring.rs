//! Log-likelihoods of continuations: how probable is this ending, given that context?
//!
//! Multiple-choice tasks ask it several times about one context, or about contexts that begin alike. What the requests of
//! a document have in common is computed once: it is one run of a pass, and each request's own rest a run that continues
//! it. Log-softmax is double precision over fp32 logits, sums are in the order of the text. On the CPU a score has the
//! same bits whatever shares its pass, with or without a shared beginning.

use std::collections::BTreeMap;

use psann_core::pass::{Pass, Past, Run};
use psann_core::{Error, Result};
use psann_torch::inference;

use crate::network::Network;

/// A question: how probable is `continuation` behind `context`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Tokens before it, at least one: put the prefix token there when there is no context.
    pub context: Vec<u32>,
    /// Tokens that are scored.
    pub continuation: Vec<u32>,
}

impl Request {
    /// All that the model reads for it: the last token is only predicted.
    fn tokens(&self) -> Vec<u32> {
        let mut tokens = [self.context.as_slice(), &self.continuation].concat();
        tokens.pop();
        tokens
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Log-likelihood of the continuation in nats, at most 0.
    pub log_likelihood: f64,
    /// Whether each of its tokens is the likeliest at its place, so that greedy decoding would say it.
    pub is_greedy: bool,
}

/// Whether requests share what they begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// It is computed once for the requests of a document.
    Shared,
    /// Each request is computed on its own, as software without the idea does; for comparison.
    Alone,
}

/// Scores the requests of some documents in one pass; gives each document's scores in the order of its requests.
///
/// # Errors
/// When a context is empty, a token is beyond the vocabulary, or a score is not finite.
pub fn score(network: Network<'_>, documents: &[&[Request]], sharing: Sharing) -> Result<Vec<Vec<Score>>> {
    let mut layout = Layout::default();
    let mut places = Vec::new();
    for requests in documents {
        let asked: Vec<&Request> = requests.iter().filter(|request| !request.continuation.is_empty()).collect();
        if asked.iter().any(|request| request.context.is_empty()) {
            return Err(Error::new("a continuation cannot be scored without a token in front of it"));
        }
        match sharing {
            Sharing::Shared => places.extend(layout.add(&asked)),
            Sharing::Alone => places.extend(asked.iter().flat_map(|request| layout.add(&[request]))),
        }
    }
    let mut scores = layout.compute(network, &places)?.into_iter();
    let certain = Score { log_likelihood: 0.0, is_greedy: true };
    let score = |request: &Request| {
        if request.continuation.is_empty() { Some(certain) } else { scores.next() }
    };
    let mut score = score;
    documents
        .iter()
        .map(|requests| requests.iter().map(&mut score).collect::<Option<Vec<Score>>>())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::new("a request was left without a score"))
}

/// Tokens that a pass over these requests computes.
pub fn cost(requests: &[Request], sharing: Sharing) -> usize {
    let mut layout = Layout::default();
    let asked: Vec<&Request> = requests.iter().filter(|request| !request.continuation.is_empty()).collect();
    match sharing {
        Sharing::Shared => drop(layout.add(&asked)),
        Sharing::Alone => asked.iter().for_each(|request| drop(layout.add(&[request]))),
    }
    layout.ids.len()
}

/// Where a request's predictions are made (places in the pass), and what they should predict.
type Predictions = Vec<(i64, u32)>;

/// The runs of a pass.
#[derive(Debug, Default)]
struct Layout {
    ids: Vec<u32>,
    runs: Vec<Run>,
}

impl Layout {
    /// Lays out requests that may begin alike.
    fn add(&mut self, requests: &[&Request]) -> Vec<Predictions> {
        let all: Vec<Vec<u32>> = requests.iter().map(|request| request.tokens()).collect();
        let shared = common_beginning(&all);
        let base = (shared > 0).then(|| self.run(&all[0][..shared], Past::Nothing));
        let past = base.map_or(Past::Nothing, |(index, _)| Past::Run(index));
        // Choices of one task are often equal to the letter; each is computed once.
        let mut rests: BTreeMap<&[u32], i64> = BTreeMap::new();
        let mut predictions = Vec::with_capacity(requests.len());
        for (request, tokens) in requests.iter().zip(&all) {
            let rest = &tokens[shared..];
            let start = match rests.get(rest) {
                Some(start) => *start,
                None if rest.is_empty() => 0,
                None => self.run(rest, past).1,
            };
            rests.insert(rest, start);
            let place = |position: usize| match base {
                Some((_, base)) if position < shared => base + position as i64,
                _ => start + (position - shared) as i64,
            };
            let first = request.context.len() - 1;
            let of_token = |(index, token): (usize, &u32)| (place(first + index), *token);
            predictions.push(request.continuation.iter().enumerate().map(of_token).collect());
        }
        predictions
    }

    /// Appends a run; its number and its first token's place.
    fn run(&mut self, tokens: &[u32], past: Past) -> (usize, i64) {
        let start = self.ids.len() as i64;
        self.ids.extend_from_slice(tokens);
        self.runs.push(Run { tokens: start..self.ids.len() as i64, past });
        (self.runs.len() - 1, start)
    }

    fn compute(self, network: Network<'_>, requests: &[Predictions]) -> Result<Vec<Score>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let vocabulary = network.model.vocabulary();
        if let Some((_, wrong)) = requests.iter().flatten().find(|(_, token)| i64::from(*token) >= vocabulary) {
            return Err(Error::new(format!("token {wrong} is outside of the model's vocabulary of {vocabulary}"))
                .hint("use the tokenizer that the model was trained with"));
        }
        let mut wanted: Vec<i64> = requests.iter().flatten().map(|(place, _)| *place).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut pairs: Vec<(i64, i64)> = Vec::new();
        let row = |place: i64| wanted.partition_point(|wanted| *wanted < place);
        for (place, token) in requests.iter().flatten() {
            pairs.push((row(*place) as i64, i64::from(*token)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut pass = Pass::new(self.runs, Vec::new())?;
        let (logs, greedy) = network.project(&self.ids, &mut pass, Some(&wanted), |hidden, weight| {
            inference::log_likelihoods(hidden, weight, &pairs)
        })?;
        let of_request = |predictions: &Predictions| {
            let mut score = Score { log_likelihood: 0.0, is_greedy: true };
            for (place, token) in predictions {
                let row = row(*place);
                let pair = pairs.partition_point(|pair| *pair < (row as i64, i64::from(*token)));
                score.log_likelihood += logs[pair];
                score.is_greedy &= greedy[row] == i64::from(*token);
            }
            if score.log_likelihood.is_finite() {
                return Ok(score);
            }
            Err(Error::new("the log-likelihood of a continuation is not finite")
                .hint("the model's weights are damaged, or its training diverged; see the losses in metrics.jsonl"))
        };
        requests.iter().map(of_request).collect()
    }
}

/// How many tokens all texts begin with; the whole of it where there is one.
fn common_beginning(texts: &[Vec<u32>]) -> usize {
    let Some((first, others)) = texts.split_first() else { return 0 };
    let same = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    others.iter().map(same).min().unwrap_or(first.len())
}

#[cfg(test)]
mod tests {
    use tch::{IndexOp, Kind};

    use super::*;
    use crate::session::Session;
    use crate::testing::{Script, Toy};

    fn request(context: &[u32], continuation: &[u32]) -> Request {
        Request { context: context.to_vec(), continuation: continuation.to_vec() }
    }

    fn scores(network: Network<'_>, requests: &[Request]) -> Result<Vec<Score>> {
        Ok(score(network, &[requests], Sharing::Shared)?.remove(0))
    }

    /// The definition: one forward over everything, full logits.
    fn of_full_logits(network: Network<'_>, request: &Request) -> f64 {
        let all = [request.context.as_slice(), request.continuation.as_slice()].concat();
        let logits = Session::new(network).feed_all(&[&all[..all.len() - 1]]).unwrap();
        let logs = logits.squeeze_dim(0).log_softmax(-1, Kind::Double);
        let first = request.context.len();
        (first..all.len()).map(|t| f64::try_from(logs.i((t as i64 - 1, i64::from(all[t])))).unwrap()).sum()
    }

    fn requests() -> Vec<Request> {
        vec![
            request(&[1, 2, 3, 4], &[5, 6]),
            request(&[1, 2, 3, 4], &[12]),
            request(&[1, 2, 3, 4], &[5, 6, 0, 9, 9, 1]),
            request(&[1, 2, 3], &[4, 5, 6]),
            request(&[1, 2, 7, 4], &[5, 6]),
            request(&[1, 2, 3, 4], &[5, 6]),
            request(&[1], &[2]),
        ]
    }

    #[test]
    fn shared_beginnings_give_the_log_likelihoods_of_full_logits() {
        let toy = Toy::new(13);
        let network = toy.network();
        let requests = requests();
        let found = scores(network, &requests).unwrap();
        for (score, request) in found.iter().zip(&requests) {
            let expected = of_full_logits(network, request);
            assert!((score.log_likelihood - expected).abs() < 1e-5 * expected.abs(), "{score:?} {expected}");
        }
        assert_eq!(found[0], found[5]);
        let unlike = [request(&[7], &[8]), request(&[1, 2], &[8])];
        let documents = [&requests[..], &unlike];
        let both = score(network, &documents, Sharing::Shared).unwrap();
        let alone = score(network, &documents, Sharing::Alone).unwrap();
        for (shared, alone) in both.iter().flatten().zip(alone.iter().flatten()) {
            assert!((shared.log_likelihood - alone.log_likelihood).abs() < 1e-5);
        }
        assert_eq!(both.iter().map(Vec::len).collect::<Vec<_>>(), [7, 2]);
    }

    #[test]
    fn what_is_shared_is_computed_once() {
        // The beginning `1`; behind it 2 3 4 5, 2 3 4, 2 3 4 5 6 0 9 9 and 2 7 4 5; the request for `2` needs no more.
        assert_eq!(cost(&requests(), Sharing::Shared), 1 + 4 + 3 + 8 + 4);
        assert_eq!(cost(&requests(), Sharing::Alone), 5 + 4 + 9 + 5 + 5 + 5 + 1);
        assert_eq!(cost(&[request(&[1, 2, 3], &[4]), request(&[1, 2, 3], &[5])], Sharing::Shared), 3);
        assert_eq!(cost(&[], Sharing::Shared), 0);
    }

    #[test]
    fn greedy_means_that_every_token_is_the_likeliest() {
        let script = Script::new(&[9, 3, 1, 4], 10);
        let requests =
            [request(&[0, 0], &[3, 1, 4]), request(&[0, 0], &[3, 1, 5]), request(&[0], &[9]), request(&[0], &[8, 3])];
        let scores = scores(script.network(), &requests).unwrap();
        let greedy: Vec<bool> = scores.iter().map(|score| score.is_greedy).collect();
        assert_eq!(greedy, [true, false, true, false]);
    }

    #[test]
    fn an_empty_continuation_is_certain_and_impossible_requests_are_errors() {
        let toy = Toy::new(13);
        let ask = |request| scores(toy.network(), &[request]);
        assert_eq!(ask(request(&[1], &[])).unwrap()[0], Score { log_likelihood: 0.0, is_greedy: true });
        assert!(ask(request(&[], &[1])).is_err());
        assert!(ask(request(&[1], &[13])).is_err(), "the last token is not read, but must exist");
        assert!(ask(request(&[13], &[1])).is_err());
        assert!(scores(toy.network(), &[]).unwrap().is_empty());
    }
}
