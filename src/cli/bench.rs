//! `psann bench NAME`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `psann bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time training steps of a model on made-up tokens
    Train(BenchTrainArgs),
    /// Time training steps of several processes that share a model
    Fsdp(BenchFsdpArgs),
    /// Time generation, one token after the other
    Generate(BenchGenerateArgs),
    /// Time the scoring of multiple-choice documents, with and without shared beginnings
    Evaluate(BenchEvaluateArgs),
    /// Time the server, with readers who are there at once
    Serve(BenchServeArgs),
    /// Time the steps of optimizers, and weigh their state
    Optimizer(BenchOptimizerArgs),
    /// Time the search for near copies: from files to Parquet
    Minhash(BenchDataArgs),
    /// Time the rule filters, in the order of FineWeb, on documents in memory
    Filters(BenchDataArgs),
    /// Time language identification on documents in memory
    Language(BenchDataArgs),
    /// Time the search for benchmark items on documents in memory
    Decontaminate(BenchDataArgs),
    /// Time all steps together: from files to Parquet
    Prepare(BenchDataArgs),
    /// Time a filter linked in and in a library, and the search for plugins
    Plugin(BenchPluginArgs),
    /// Time the data stream: from Parquet through a BPE to packed batches
    Loader(BenchLoaderArgs),
}

/// What the benches of the data half read.
#[derive(Debug, Args)]
pub struct BenchDataArgs {
    /// Files of JSON lines with a key `text`, plain, gzip or zstd
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub input: Vec<String>,
    /// A fastText model for the language; without it, the embedded detector is timed
    #[arg(long, value_name = "FILE")]
    pub model: Option<String>,
    /// Folder of benchmarks whose items are looked for
    #[arg(long, value_name = "DIR")]
    pub evals: Option<String>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `psann bench loader`.
#[derive(Debug, Args)]
pub struct BenchLoaderArgs {
    /// Files of JSON lines with a key `text`, plain, gzip or zstd
    #[arg(long, num_args = 1.., value_name = "FILE", default_value = "recipes/corpus/classics.jsonl.zst")]
    pub input: Vec<String>,
    /// Vocabulary of the BPE that is trained on the text
    #[arg(long, default_value_t = 8192)]
    pub vocab: u64,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 1024)]
    pub seq: usize,
    /// Sequences in a batch
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// Tokeniser threads, one run for each number
    #[arg(long, num_args = 1.., default_values_t = [1, 2])]
    pub threads: Vec<usize>,
    /// Seconds of each run
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Sizes of a benched model.
#[derive(Debug, Args)]
pub struct BenchModelArgs {
    /// Width
    #[arg(long, default_value_t = 384)]
    pub d_model: u64,
    /// Blocks
    #[arg(long, default_value_t = 6)]
    pub layers: u64,
    /// Attention heads
    #[arg(long, default_value_t = 6)]
    pub heads: u64,
    /// Width inside the MLP
    #[arg(long, default_value_t = 1536)]
    pub d_mlp: u64,
    /// Vocabulary
    #[arg(long, default_value_t = 8192)]
    pub vocab: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    pub threads: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `psann bench train`.
#[derive(Debug, Args)]
pub struct BenchTrainArgs {
    /// Sizes
    #[command(flatten)]
    pub model: BenchModelArgs,
    /// Sequences in a micro-batch
    #[arg(long, default_value_t = 4)]
    pub batch: u64,
    /// Tokens in a sequence
    #[arg(long, default_value_t = 512)]
    pub seq: u64,
    /// Activation checkpointing
    #[arg(long, value_enum, default_value_t = Checkpointing::None)]
    pub checkpoint: Checkpointing,
    /// Micro-batches in a step
    #[arg(long, default_value_t = 1)]
    pub accumulation: u64,
    /// Micro-batches that go through a block together, 0 for all; by default all in several processes with `--checkpoint
    /// full`, and 1 otherwise
    #[arg(long)]
    pub together: Option<u64>,
    /// Steps to time
    #[arg(long, default_value_t = 10)]
    pub steps: u64,
    /// Compute in bf16 instead of fp32
    #[arg(long)]
    pub bf16: bool,
}

/// `psann bench fsdp`.
#[derive(Debug, Args)]
pub struct BenchFsdpArgs {
    /// Sizes of each process's work
    #[command(flatten)]
    pub train: BenchTrainArgs,
    /// Processes
    #[arg(long, default_value_t = 2)]
    pub ranks: u64,
    /// When gathered weights are let go
    #[arg(long, value_enum, default_value_t = ShardingMode::Full)]
    pub mode: ShardingMode,
    /// Gradients travel in bf16
    #[arg(long)]
    pub bf16_wire: bool,
    /// Simulate a network that gives each process so many Gbit/s
    #[arg(long, value_name = "GBIT")]
    pub link: Option<f64>,
}

/// When gathered weights are let go, as `--mode` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShardingMode {
    /// After each segment
    Full,
    /// After the step
    GradOp,
}

/// `psann bench optimizer`.
#[derive(Debug, Args)]
pub struct BenchOptimizerArgs {
    /// Width of the model whose parameters are moved
    #[arg(long, default_value_t = 768)]
    pub d_model: u64,
    /// Its blocks
    #[arg(long, default_value_t = 12)]
    pub layers: u64,
    /// Its vocabulary
    #[arg(long, default_value_t = 32768)]
    pub vocab: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    pub threads: u64,
    /// Steps of each optimizer to time
    #[arg(long, default_value_t = 10)]
    pub steps: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `psann bench generate`.
#[derive(Debug, Args)]
pub struct BenchGenerateArgs {
    /// Sizes
    #[command(flatten)]
    pub model: BenchModelArgs,
    /// Tokens in the prompt
    #[arg(long, default_value_t = 64)]
    pub prompt: usize,
    /// Tokens to generate
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Store matrices in bf16 instead of fp32
    #[arg(long)]
    pub bf16: bool,
}

/// `psann bench evaluate`.
#[derive(Debug, Args)]
pub struct BenchEvaluateArgs {
    /// Sizes
    #[command(flatten)]
    pub model: BenchModelArgs,
    /// Documents
    #[arg(long, default_value_t = 16)]
    pub documents: usize,
    /// Documents computed at once
    #[arg(long, default_value_t = 4)]
    pub batch: usize,
    /// Tokens of a context, examples included
    #[arg(long, default_value_t = 500)]
    pub context: usize,
    /// Endings of a document
    #[arg(long, default_value_t = 4)]
    pub endings: usize,
    /// Tokens of an ending
    #[arg(long, default_value_t = 24)]
    pub ending: usize,
}

/// `psann bench serve`.
#[derive(Debug, Args)]
pub struct BenchServeArgs {
    /// Sizes
    #[command(flatten)]
    pub model: BenchModelArgs,
    /// Readers at once, one measurement for each number
    #[arg(long, num_args = 1.., default_values_t = [1, 8, 32])]
    pub streams: Vec<usize>,
    /// Tokens in a prompt
    #[arg(long, default_value_t = 64)]
    pub prompt: usize,
    /// Tokens of a text
    #[arg(long, default_value_t = 64)]
    pub tokens: usize,
    /// Texts of each reader
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Store matrices in bf16 instead of fp32
    #[arg(long)]
    pub bf16: bool,
}

/// Activation checkpointing, as `--checkpoint` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Checkpointing {
    /// Keep every activation
    None,
    /// Keep the inputs of blocks, compute the rest again
    Full,
}

/// `psann bench plugin`.
#[derive(Debug, Args)]
pub struct BenchPluginArgs {
    /// The library of the example `letters`; by default the one that was built with psann
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Documents in a batch
    #[arg(long, default_value_t = 1024)]
    pub documents: usize,
    /// Bytes of a document
    #[arg(long, default_value_t = 2048)]
    pub bytes: usize,
    /// Batches of each side
    #[arg(long, default_value_t = 201)]
    pub rounds: usize,
    /// Libraries in the search
    #[arg(long, default_value_t = 50)]
    pub libraries: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
