//! How fast batches are made: Parquet, BPE, packed rows, with nobody waiting at the other end.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use psann_core::observer::Silent;
use psann_core::plan::{Component, Flow};
use psann_core::quantity::{Bytes, Count, Share};
use psann_core::registry::Kind;
use psann_core::tokens::{BatchStream, StreamCounters};
use psann_core::{Result, Tokenizer};
use serde::Serialize;
use serde_json::json;

use super::{Clock, status};
use crate::documents::{Manifest, Split, read_texts};
use crate::files::cannot_write;
use crate::loader::{Loader, LoaderOptions, TrainingText};
use crate::prepare::{PrepareJob, PrepareOptions, prepare};
use crate::tokenizer::{TrainBpeOptions, train_bpe};

/// What is measured, and on what.
#[derive(Debug, Clone)]
pub struct LoaderBenchOptions {
    /// JSON lines files with a key `text`.
    pub input: Vec<String>,
    /// Size of the vocabulary that is trained on the text.
    pub vocabulary: u64,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Sequences of a batch.
    pub rows: usize,
    /// Tokeniser threads, one run for each number.
    pub threads: Vec<usize>,
    /// Seconds of each run, about.
    pub seconds: f64,
}

/// Figures of the bench.
#[derive(Debug, Clone, Serialize)]
pub struct LoaderBenchReport {
    /// Documents of the corpus.
    pub documents: u64,
    /// Its text in megabytes (10⁶ bytes).
    pub megabytes: f64,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Text per token.
    pub bytes_per_token: f64,
    /// One for each number of threads.
    pub runs: Vec<LoaderRun>,
}

/// Figures of one number of threads.
#[derive(Debug, Clone, Serialize)]
pub struct LoaderRun {
    /// Tokeniser threads.
    pub threads: usize,
    /// Batches taken.
    pub batches: u64,
    /// Tokens of those batches for each second on the clock.
    pub tokens_per_second: f64,
    /// Tokens for each second of processor time, over all threads.
    pub tokens_per_cpu_second: f64,
    /// Time on the clock.
    pub wall_seconds: f64,
    /// Largest resident memory of the process so far in MB (10⁶ bytes), training of the tokenizer included.
    pub peak_rss_mb: f64,
    /// Resident memory at the end of the run in MB.
    pub rss_mb: f64,
    /// What was done and waited for.
    pub counters: StreamCounters,
}

/// Prepares the input in `folder`, trains a tokenizer on it, and takes batches as fast as they come. The text is read from
/// the shards, however small it is.
///
/// # Errors
/// Those of the stages.
pub fn loader_bench(options: &LoaderBenchOptions, folder: &Path) -> Result<LoaderBenchReport> {
    fs::create_dir_all(folder).map_err(|e| cannot_write(folder, e))?;
    let source = Component { kind: Kind::Source, name: "jsonl".into(), options: json!({ "path": options.input }) };
    let prepare_options = PrepareOptions {
        data: Some(Flow { source, filters: Vec::new() }),
        validation: Share(0.0),
        memory: Bytes(1 << 30),
        ..PrepareOptions::default()
    };
    let job = PrepareJob { options: &prepare_options, fingerprint: "bench", directory: folder, observer: &Silent };
    prepare(&job)?;
    let (bpe, vocabulary) = {
        let texts = read_texts(folder, Split::Train)?;
        let bpe =
            train_bpe(&TrainBpeOptions { vocab: Count(options.vocabulary), ..TrainBpeOptions::default() }, &texts)?;
        let vocabulary = bpe.vocabulary();
        (bpe, vocabulary)
    };
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(bpe);
    let runs = options
        .threads
        .iter()
        .map(|threads| run(options, folder, &tokenizer, *threads))
        .collect::<Result<Vec<LoaderRun>>>()?;
    let shards = Manifest::read(folder)?.train;
    let (bytes, tokens) = runs.iter().fold((0, 0), |(b, t), run| (b + run.counters.bytes, t + run.counters.tokens));
    Ok(LoaderBenchReport {
        documents: shards.iter().map(|shard| shard.documents).sum(),
        megabytes: shards.iter().map(|shard| shard.bytes).sum::<u64>() as f64 / 1e6,
        vocabulary,
        bytes_per_token: bytes as f64 / tokens.max(1) as f64,
        runs,
    })
}

fn run(
    options: &LoaderBenchOptions,
    folder: &Path,
    tokenizer: &Arc<dyn Tokenizer>,
    threads: usize,
) -> Result<LoaderRun> {
    let text = TrainingText::prepared(folder, Split::Train).in_memory(0);
    let loader = LoaderOptions { seq_len: options.seq_len, rows: options.rows, threads, ..LoaderOptions::default() };
    let mut stream = Loader::new(&text, Arc::clone(tokenizer), loader)?;
    let (clock, started) = (Clock::start(), Instant::now());
    let mut batches = 0;
    while started.elapsed().as_secs_f64() < options.seconds {
        stream.next_batch()?;
        batches += 1;
    }
    let (cpu_seconds, wall_seconds) = clock.stop();
    let counters = stream.counters();
    let tokens = (batches * (options.rows * options.seq_len) as u64) as f64;
    Ok(LoaderRun {
        threads,
        batches,
        tokens_per_second: tokens / wall_seconds.max(1e-9),
        tokens_per_cpu_second: tokens / cpu_seconds.max(1e-9),
        wall_seconds,
        peak_rss_mb: status("VmHWM").unwrap_or(0.0) * 1024.0 / 1e6,
        rss_mb: status("VmRSS").unwrap_or(0.0) * 1024.0 / 1e6,
        counters,
    })
}
