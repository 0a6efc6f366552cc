//! How fast this machine generates: greedy decoding over the key-value cache, one text, made-up weights and tokens.
//!
//! The work is what `generate` does for each token (one forward of one token, the last row of logits, the choice),
//! without the text. Weights are drawn as for training: from the same seed the reference software has the same ones, and
//! chooses the same tokens.

use std::fmt;
use std::time::Instant;

use psann_core::{Error, Result};
use serde::Serialize;
use tch::Tensor;

use super::{BenchModel, SEED, made_up_tokens};
use crate::generate::last_row;
use crate::network::Network;
use crate::sampling::{self, Sampling};
use crate::session::Session;

/// What to time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerateBenchOptions {
    /// The model.
    #[serde(flatten)]
    pub model: BenchModel,
    /// Tokens in the prompt.
    pub prompt: usize,
    /// Tokens to generate.
    pub tokens: usize,
    /// Texts to time, behind one that is not.
    pub repeats: usize,
}

impl Default for GenerateBenchOptions {
    fn default() -> Self {
        Self { model: BenchModel::default(), prompt: 64, tokens: 64, repeats: 3 }
    }
}

/// What came out; times are of the median text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerateBenchReport {
    /// What was timed.
    pub options: GenerateBenchOptions,
    /// Parameters of the model.
    pub parameters: i64,
    /// Tokens generated, over the time for the prompt and all of them.
    pub tokens_per_second: f64,
    /// Time to read the prompt and know what follows it.
    pub prefill_seconds: f64,
    /// Median time from one token to the next.
    pub median_token_seconds: f64,
    /// Bytes of parameters that a token needs, over its time: what memory would have to deliver if caches held nothing.
    pub weight_gigabytes_per_second: f64,
    /// The tokens, to compare with other software on the same weights, and between machines.
    pub generated: Vec<u32>,
}

impl fmt::Display for GenerateBenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, milli) = (&self.options, 1000.0);
        writeln!(
            f,
            "  {:.1} tokens/s: {} behind a prompt of {}",
            self.tokens_per_second, options.tokens, options.prompt
        )?;
        writeln!(
            f,
            "  {:.2} ms a token (median), {:.2} ms for the prompt",
            self.median_token_seconds * milli,
            self.prefill_seconds * milli
        )?;
        writeln!(
            f,
            "  {} parameters in {}, {:.1} GB/s of weights, {} threads",
            self.parameters,
            options.model.dtype(),
            self.weight_gigabytes_per_second,
            options.model.threads
        )
    }
}

struct Run {
    generated: Vec<u32>,
    prefill: f64,
    total: f64,
    steps: Vec<f64>,
}

/// Times generation with a new `waveresnet`.
///
/// # Errors
/// When the sizes do not make a model, or a count is 0.
pub fn generate_bench(options: &GenerateBenchOptions) -> Result<GenerateBenchReport> {
    if options.prompt == 0 || options.tokens == 0 || options.repeats == 0 {
        return Err(Error::usage("a bench needs at least one token of prompt, one token to generate and one repeat"));
    }
    let (model, parameters) = options.model.build()?;
    let network = Network::new(model.as_ref(), &parameters)?;
    let prompt = made_up_tokens(options.prompt, options.model.vocab, SEED as u64);
    once(network, &prompt, options.tokens)?;
    let mut runs = (0..options.repeats).map(|_| once(network, &prompt, options.tokens)).collect::<Result<Vec<_>>>()?;
    runs.sort_by(|a, b| a.total.total_cmp(&b.total));
    let Run { generated, prefill, total, mut steps } = runs.swap_remove(runs.len() / 2);
    steps.sort_by(f64::total_cmp);
    // One token alone is chosen from the prompt's logits: there is no step to time.
    let median = steps.get(steps.len() / 2).copied().unwrap_or(f64::NAN);
    let bytes = |values: &[Tensor]| -> usize {
        values.iter().map(|value| value.numel() * value.kind().elt_size_in_bytes()).sum()
    };
    // A token looks one row of the embedding up; every other matrix is read whole.
    let read: usize = parameters.iter().skip(1).map(|values| bytes(values)).sum();
    Ok(GenerateBenchReport {
        options: options.clone(),
        parameters: parameters.iter().flatten().map(|value| value.numel() as i64).sum(),
        tokens_per_second: options.tokens as f64 / total,
        prefill_seconds: prefill,
        median_token_seconds: median,
        weight_gigabytes_per_second: read as f64 / median / 1e9,
        generated,
    })
}

fn once(network: Network<'_>, prompt: &[u32], count: usize) -> Result<Run> {
    let greedy = Sampling::greedy();
    let started = Instant::now();
    let mut session = Session::new(network);
    let mut logits = last_row(&session.feed(&[prompt])?)?;
    let prefill = started.elapsed().as_secs_f64();
    let (mut generated, mut steps) = (Vec::new(), Vec::new());
    loop {
        let next = sampling::choose(&sampling::candidates(&logits, &greedy)?, 0.0)?;
        generated.push(next);
        if generated.len() == count {
            break;
        }
        let step = Instant::now();
        logits = last_row(&session.feed(&[&[next]])?)?;
        steps.push(step.elapsed().as_secs_f64());
    }
    Ok(Run { generated, prefill, total: started.elapsed().as_secs_f64(), steps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Toy;

    #[test]
    fn a_run_times_every_step_but_the_first_token() {
        let toy = Toy::new(31);
        let run = once(toy.network(), &made_up_tokens(5, 31, 1), 4).unwrap();
        assert_eq!((run.generated.len(), run.steps.len()), (4, 3));
        assert!(run.total >= run.prefill + run.steps.iter().sum::<f64>());
    }

    #[test]
    fn a_bench_of_nothing_is_refused() {
        let options = GenerateBenchOptions { tokens: 0, ..GenerateBenchOptions::default() };
        assert!(generate_bench(&options).is_err());
    }
}
