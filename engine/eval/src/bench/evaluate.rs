//! How fast this machine scores multiple-choice documents, and what sharing their beginnings is worth.
//!
//! The documents have the shape of hellaswag with five examples: one long context, four short endings. Alone, every
//! ending is computed behind a context of its own, as software without prefix sharing does.

use std::fmt;
use std::time::Instant;

use psann_core::{Error, Result};
use serde::Serialize;

use super::{BenchModel, SEED, made_up_tokens};
use crate::network::Network;
use crate::scoring::{self, Request, Score, Sharing};

/// What to time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvaluateBenchOptions {
    /// The model.
    #[serde(flatten)]
    pub model: BenchModel,
    /// Documents.
    pub documents: usize,
    /// Documents in a pass.
    pub batch: usize,
    /// Tokens of a context, examples included.
    pub context: usize,
    /// Endings of a document.
    pub endings: usize,
    /// Tokens of an ending.
    pub ending: usize,
    /// Rounds of both ways, of which the medians count.
    pub repeats: usize,
}

impl Default for EvaluateBenchOptions {
    fn default() -> Self {
        Self { model: BenchModel::default(), documents: 16, batch: 4, context: 500, endings: 4, ending: 24, repeats: 3 }
    }
}

/// What came out; times are medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateBenchReport {
    /// What was timed.
    pub options: EvaluateBenchOptions,
    /// Documents a second, with beginnings shared.
    pub documents_per_second: f64,
    /// The same with every ending alone.
    pub documents_per_second_alone: f64,
    /// How many times as fast sharing is.
    pub speedup: f64,
    /// Tokens of all requests a second, counting shared ones as often as they are asked.
    pub tokens_per_second: f64,
    /// Whether both ways gave the same scores, bit for bit.
    pub identical: bool,
}

impl fmt::Display for EvaluateBenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "  {:.2} documents/s: {} endings of {} tokens behind {} tokens of context",
            self.documents_per_second, options.endings, options.ending, options.context
        )?;
        writeln!(
            f,
            "  {:.2} documents/s with every ending alone: sharing is {:.2} times as fast",
            self.documents_per_second_alone, self.speedup
        )?;
        let same =
            if self.identical { "the same scores, bit for bit" } else { "scores that differ in their last bits" };
        writeln!(f, "  {:.0} tokens/s as asked, {} threads; {same}", self.tokens_per_second, options.model.threads)
    }
}

/// Times the scoring of made-up documents, with and without sharing, in turns.
///
/// # Errors
/// When the sizes do not make a model, or a count is 0.
pub fn evaluate_bench(options: &EvaluateBenchOptions) -> Result<EvaluateBenchReport> {
    let EvaluateBenchOptions { documents, batch, context, endings, ending, repeats, .. } = *options;
    if [documents, batch, context, endings, ending, repeats].contains(&0) {
        return Err(Error::usage("a bench needs at least one document, token, ending and repeat"));
    }
    let (model, parameters) = options.model.build()?;
    let network = Network::new(model.as_ref(), &parameters)?;
    let documents: Vec<Vec<Request>> = (0..documents).map(|number| document(options, number as u64)).collect();
    score(network, &documents[..1], batch, Sharing::Shared)?;
    let (mut shared, mut alone, mut identical) = (Vec::new(), Vec::new(), true);
    for _ in 0..repeats {
        let started = Instant::now();
        let with = score(network, &documents, batch, Sharing::Shared)?;
        shared.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let without = score(network, &documents, batch, Sharing::Alone)?;
        alone.push(started.elapsed().as_secs_f64());
        identical &= with == without;
    }
    let (shared, alone) = (median(&mut shared), median(&mut alone));
    let count = documents.len() as f64;
    Ok(EvaluateBenchReport {
        options: options.clone(),
        documents_per_second: count / shared,
        documents_per_second_alone: count / alone,
        speedup: alone / shared,
        tokens_per_second: count * (endings * (context + ending)) as f64 / shared,
        identical,
    })
}

fn document(options: &EvaluateBenchOptions, number: u64) -> Vec<Request> {
    let EvaluateBenchOptions { context, endings, ending, .. } = *options;
    let seed = (SEED as u64).wrapping_add(number);
    let tokens = made_up_tokens(context + endings * ending, options.model.vocab, seed);
    let (context, rest) = tokens.split_at(context);
    let request = |ending: &[u32]| Request { context: context.to_vec(), continuation: ending.to_vec() };
    rest.chunks(ending).map(request).collect()
}

fn score(network: Network<'_>, documents: &[Vec<Request>], batch: usize, sharing: Sharing) -> Result<Vec<Vec<Score>>> {
    let mut scores = Vec::new();
    for part in documents.chunks(batch) {
        let part: Vec<&[Request]> = part.iter().map(Vec::as_slice).collect();
        scores.extend(scoring::score(network, &part, sharing)?);
    }
    Ok(scores)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_one_context_with_different_endings() {
        let options = EvaluateBenchOptions { context: 9, ending: 3, ..EvaluateBenchOptions::default() };
        let requests = document(&options, 5);
        assert_eq!(requests.len(), 4);
        assert!(
            requests.iter().all(|request| request.context == requests[0].context && request.continuation.len() == 3)
        );
        assert_ne!(requests[0].continuation, requests[1].continuation);
        assert_ne!(document(&options, 6), requests);
    }

    #[test]
    fn a_bench_of_nothing_is_refused() {
        assert!(evaluate_bench(&EvaluateBenchOptions { endings: 0, ..EvaluateBenchOptions::default() }).is_err());
    }
}
