//! How fast this machine serves: the real server, real sockets, and readers that take streamed texts side by side.
//!
//! What batching is worth shows in the tokens of a second for many streams beside those for one: a pass reads the weights
//! once for all of them. What it costs each reader shows in the time to the first token and in the pace of a stream.

mod client;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use psann_core::{Error, Event, Observer, Result};
use serde::Serialize;

use super::{BenchModel, SEED, made_up_tokens};
use crate::server::{ServedModel, Server, ServerOptions};
use client::Timed;
use words::Words;

/// What to time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServeBenchOptions {
    /// The model.
    #[serde(flatten)]
    pub model: BenchModel,
    /// Readers at once, one measurement for each number.
    pub streams: Vec<usize>,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of a text.
    pub tokens: usize,
    /// Texts of each reader. All begin a round together.
    pub rounds: usize,
}

impl Default for ServeBenchOptions {
    fn default() -> Self {
        Self { model: BenchModel::default(), streams: vec![1, 8, 32], prompt: 64, tokens: 64, rounds: 3 }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServeBenchReport {
    /// What was timed.
    pub options: ServeBenchOptions,
    /// Parameters of the model.
    pub parameters: i64,
    /// A measurement for each number of streams.
    pub loads: Vec<Load>,
}

/// What came out for a number of readers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Readers at once.
    pub streams: usize,
    /// Tokens of all texts, over the time from the first request to the last token, prompts included; of the median
    /// round.
    pub tokens_per_second: f64,
    /// Tokens behind the first one of a text, over the time between that and its last; of the median text.
    pub stream_tokens_per_second: f64,
    /// Half of the texts had their first token within so many seconds.
    pub first_token_seconds_p50: f64,
    /// Of 100 texts, 99 had.
    pub first_token_seconds_p99: f64,
}

impl fmt::Display for ServeBenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, milli) = (&self.options, 1000.0);
        writeln!(
            f,
            "  {} tokens behind a prompt of {}, {} rounds; {} parameters in {}, {} threads",
            options.tokens,
            options.prompt,
            options.rounds,
            self.parameters,
            options.model.dtype(),
            options.model.threads
        )?;
        writeln!(f, "  streams   tokens/s   of one stream   first token: median       p99")?;
        for load in &self.loads {
            writeln!(
                f,
                "  {:>7} {:>10.1} {:>15.1} {:>18.1} ms {:>6.1} ms",
                load.streams,
                load.tokens_per_second,
                load.stream_tokens_per_second,
                load.first_token_seconds_p50 * milli,
                load.first_token_seconds_p99 * milli
            )?;
        }
        Ok(())
    }
}

/// Times a server with a new `waveresnet`.
///
/// # Errors
/// When the sizes do not make a model, a count is 0, or the server does not answer.
pub fn serve_bench(options: &ServeBenchOptions) -> Result<ServeBenchReport> {
    let counts = [options.prompt, options.tokens, options.rounds];
    if counts.contains(&0) || options.streams.is_empty() || options.streams.contains(&0) {
        return Err(Error::usage("a bench needs at least one stream, token of prompt, token to generate and round"));
    }
    let vocabulary = u32::try_from(options.model.vocab)
        .map_err(|_| Error::usage(format!("a vocabulary of {} tokens cannot be served", options.model.vocab)))?;
    let (model, parameters) = psann_torch::threads::apart(|| options.model.build())?;
    let count = parameters.iter().flatten().map(|value| value.numel() as i64).sum();
    let served = ServedModel {
        model: Arc::from(model),
        parameters,
        tokenizer: Arc::new(Words { vocabulary }),
        chat: None,
        ends: Vec::new(),
        name: "bench".into(),
        context: options.prompt + options.tokens,
    };
    let most = options.streams.iter().copied().max().unwrap_or(1);
    let server_options = ServerOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        streams: most,
        queue: most,
        // A reader connects anew for each text, and its last connection may close later than it reads.
        connections: 2 * most,
        ..ServerOptions::default()
    };
    let switch = Arc::new(Switch::default());
    let server = Server::bind(served, server_options, Arc::<Switch>::clone(&switch))?;
    let address = server.address();
    let serving = std::thread::spawn(move || server.run());
    let loads = loads(address, options);
    switch.off.store(true, Ordering::Relaxed);
    serving.join().map_err(|_| Error::new("the benched server panicked"))??;
    Ok(ServeBenchReport { options: options.clone(), parameters: count, loads: loads? })
}

/// Stops the server after the bench.
#[derive(Default)]
struct Switch {
    off: AtomicBool,
}

impl Observer for Switch {
    fn event(&self, _: Event) {}

    fn stop_requested(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }
}

fn loads(address: SocketAddr, options: &ServeBenchOptions) -> Result<Vec<Load>> {
    // The first pass allocates what later ones find.
    client::stream(address, &prompt(options, 0), options.tokens)?;
    options.streams.iter().map(|streams| load(address, options, *streams)).collect()
}

fn load(address: SocketAddr, options: &ServeBenchOptions, streams: usize) -> Result<Load> {
    let (mut paces, mut firsts, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let started = Instant::now();
        let texts = together(address, options, streams, round)?;
        let seconds = started.elapsed().as_secs_f64();
        rates.push((texts.len() * options.tokens) as f64 / seconds);
        firsts.extend(texts.iter().map(|text| text.first));
        let behind = options.tokens - 1;
        paces.extend(texts.iter().filter(|_| behind > 0).map(|text| behind as f64 / (text.last - text.first)));
    }
    Ok(Load {
        streams,
        tokens_per_second: percentile(&mut rates, 0.5),
        stream_tokens_per_second: percentile(&mut paces, 0.5),
        first_token_seconds_p50: percentile(&mut firsts, 0.5),
        first_token_seconds_p99: percentile(&mut firsts, 0.99),
    })
}

/// A text for each of `streams` readers at once.
fn together(address: SocketAddr, options: &ServeBenchOptions, streams: usize, round: usize) -> Result<Vec<Timed>> {
    std::thread::scope(|scope| {
        let read = |number: usize| {
            let prompt = prompt(options, round * streams + number);
            scope.spawn(move || client::stream(address, &prompt, options.tokens))
        };
        let readers: Vec<_> = (0..streams).map(read).collect();
        let panicked = |_| Error::new("a reader of the bench panicked");
        readers.into_iter().map(|reader| reader.join().map_err(panicked)?).collect()
    })
}

/// Tokens that no other text begins with.
fn prompt(options: &ServeBenchOptions, number: usize) -> Vec<u32> {
    made_up_tokens(options.prompt, options.model.vocab, (SEED as u64).wrapping_add(number as u64))
}

/// The smallest of `values` that at least `share` of them do not exceed; NaN of none. Sorts them.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use psann_plugins_nn as _;

    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_so_many_do_not_exceed() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 100.0);
        assert_eq!(percentile(&mut values, 0.99), 198.0);
        assert_eq!(percentile(&mut values, 1.0), 200.0);
        assert_eq!(percentile(&mut values, 0.0), 1.0);
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&mut [7.0], 0.99), 7.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_tiny_model_is_served_to_every_number_of_readers() {
        let model = BenchModel { d_model: 16, layers: 2, heads: 2, d_mlp: 32, vocab: 50, threads: 1, bf16: false };
        let options = ServeBenchOptions { model, streams: vec![1, 3], prompt: 5, tokens: 4, rounds: 2 };
        let report = serve_bench(&options).unwrap();
        assert_eq!(report.loads.iter().map(|load| load.streams).collect::<Vec<_>>(), [1, 3]);
        for load in &report.loads {
            assert!(load.tokens_per_second > 0.0 && load.stream_tokens_per_second > 0.0, "{load:?}");
            assert!(0.0 < load.first_token_seconds_p50, "{load:?}");
            assert!(load.first_token_seconds_p50 <= load.first_token_seconds_p99, "{load:?}");
        }
        assert_eq!(report.to_string().lines().count(), 4);
    }

    #[test]
    fn no_two_prompts_begin_alike() {
        let options = ServeBenchOptions::default();
        let (first, second) = (prompt(&options, 0), prompt(&options, 1));
        assert_eq!((first.len(), second.len()), (64, 64));
        assert_ne!(first[0], second[0]);
    }

    #[test]
    fn a_bench_of_nothing_is_refused() {
        let options = ServeBenchOptions::default();
        assert!(serve_bench(&ServeBenchOptions { streams: vec![0], ..options.clone() }).is_err());
        assert!(serve_bench(&ServeBenchOptions { streams: Vec::new(), ..options.clone() }).is_err());
        assert!(serve_bench(&ServeBenchOptions { tokens: 0, ..options }).is_err());
    }
}
