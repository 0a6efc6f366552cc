//! The command line: one definition from which parsing, help and completion come.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// From English web text to a trained, evaluated, talking language model.
#[derive(Debug, Parser)]
#[command(version, name = "psann", max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a recipe: every stage that is not finished yet
    Recipe(RecipeArgs),
    /// Score a trained model on tasks, with the numbers of lm-evaluation-harness
    Evaluate(EvaluateArgs),
    /// Continue a text with a trained model
    Generate(GenerateArgs),
    /// Answer over HTTP with a trained model, as OpenAI's interface does
    Serve(ServeArgs),
    /// Exchange models with the Python reference (psannlm) and Hugging Face
    #[command(subcommand)]
    Model(ModelCommand),
    /// Look into a prepared corpus
    #[command(subcommand)]
    Data(DataCommand),
    /// Show what recipes can use
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Explore the recipe language at a prompt
    Repl(ReplArgs),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `psann recipe FILE` and `psann recipe params FILE`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RecipeArgs {
    /// Other things to do with a recipe
    #[command(subcommand)]
    pub command: Option<RecipeCommand>,
    /// The recipe to run
    #[arg(required = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a parameter of the recipe, or an option of the finished plan (`pretrain.optimizer.lr=3e-4`)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub sets: Vec<(String, String)>,
    /// Say what would be read, written and computed, and do nothing
    #[arg(long)]
    pub plan: bool,
    /// Start over instead of continuing what an earlier run left
    #[arg(long)]
    pub fresh: bool,
    /// Continue an unfinished run; this is what happens anyway, and the flag makes it an error if there is none
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// How often all processes start again, from the newest checkpoint, when one of several fails
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub restarts: u32,
    /// Folder that holds the runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
}

/// `psann recipe params`.
#[derive(Debug, Subcommand)]
pub enum RecipeCommand {
    /// List what `--set` can change, with values and help
    Params {
        /// The recipe
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `psann evaluate RUN` and `psann evaluate compare FIRST SECOND`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct EvaluateArgs {
    /// Other things to do with results
    #[command(subcommand)]
    pub command: Option<EvaluateCommand>,
    /// A run's folder (`runs/quickstart`), a saved model's, or a Hugging Face folder
    #[arg(required = true, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// Tasks, with commas between: wikitext, lambada_openai, hellaswag, piqa, winogrande, or TOML files of your own
    #[arg(long, required = true, value_name = "TASK", value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Folder or files with the documents of the tasks (`DIR/hellaswag/validation.jsonl`)
    #[arg(long, required = true, value_name = "DIR", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Examples before each question; by default what the task says
    #[arg(long, value_name = "N")]
    pub fewshot: Option<u64>,
    /// Seed of the draws of examples
    #[arg(long, value_name = "N", default_value_t = 1234, allow_negative_numbers = true)]
    pub fewshot_seed: i64,
    /// Write prompts with the tokenizer's chat template, or with the one in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "clap's way to tell: left out, without a value, with one")]
    pub chat_template: Option<Option<PathBuf>>,
    /// With a chat template: whether examples are turns of their own, which is the default there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fewshot_as_multiturn: Option<bool>,
    /// What the model is told before everything else
    #[arg(long, value_name = "TEXT")]
    pub system_instruction: Option<String>,
    /// The first documents of each task only: a number, or below 1 a share of them
    #[arg(long, value_name = "N", conflicts_with = "samples")]
    pub limit: Option<f64>,
    /// These documents only, by their number: JSON such as `{"piqa": [0, 3]}`, or a file with it
    #[arg(long, value_name = "JSON")]
    pub samples: Option<String>,
    /// Most tokens that the model reads at once; by default what it was trained on
    #[arg(long, value_name = "N")]
    pub max_length: Option<u64>,
    /// Replicates of the bootstrap behind the standard error of perplexity; 0 leaves all standard errors out
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub bootstrap: u64,
    /// Documents computed at once; changes no result
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: u64,
    /// What matrices are stored in; fp32 gives the numbers that others quote
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = WeightsKind::Fp32)]
    pub weights: WeightsKind,
    /// Processes that share the work; changes no result
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub ranks: usize,
    /// Threads of each process
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Show the prompts of the first N documents of each task with token boundaries and warnings, and compute nothing
    #[arg(long, value_name = "N")]
    pub show_prompt: Option<usize>,
    /// Folder for results, samples and the journal; `evaluations` in a run's folder by default
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// The model's name in results; its path by default
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Ask everything again instead of going on from what an earlier evaluation wrote down
    #[arg(long)]
    pub fresh: bool,
    /// Print the result file instead of the table
    #[arg(long)]
    pub json: bool,
}

/// `psann evaluate compare`.
#[derive(Debug, Subcommand)]
pub enum EvaluateCommand {
    /// Tell whether two results differ by more than chance, document by document
    Compare {
        /// A `results_….json`, with its sample files beside it
        #[arg(value_name = "FIRST")]
        first: PathBuf,
        /// Another one
        #[arg(value_name = "SECOND")]
        second: PathBuf,
    },
}

/// What matrices are stored in, as `--weights` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightsKind {
    // No help of their own: it would stretch the help of every flag over several lines.
    Fp32,
    Bf16,
}

/// `psann generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// A run's folder (`runs/quickstart`) or a saved model's
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The text to continue; without it, standard input is read
    #[arg(long, short)]
    pub prompt: Vec<String>,
    /// Tokens to add at most
    #[arg(long, default_value_t = 100)]
    pub tokens: usize,
    /// Above 1 bolder, below 1 safer, 0 always the likeliest token
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f64,
    /// Choose among the k likeliest tokens only; 0 is off
    #[arg(long, default_value_t = 0)]
    pub top_k: usize,
    /// Choose among the likeliest tokens that together have this probability; 1 is off
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f64,
    /// Make tokens already there less likely: divide positive logits by this, multiply negative ones; 1 is off
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What matrices are stored in: bf16 halves memory and is faster
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = WeightsKind::Fp32)]
    pub weights: WeightsKind,
    /// Print JSON, one object a prompt
    #[arg(long)]
    pub json: bool,
}

/// `psann serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A run's folder (`runs/quickstart`) or a saved model's
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Address to listen at; other machines reach `0.0.0.0` and `::`
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen at; 0 takes any that is free
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// What clients must send as `Authorization: Bearer KEY`; better given as the variable PSANN_API_KEY
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Let other machines in without a key
    #[arg(long, conflicts_with = "api_key")]
    pub no_key: bool,
    /// What clients call the model; by default its folder's name
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Most tokens that the model reads; by default what the run trained with, else 2048
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub context: Option<usize>,
    /// What matrices are stored in: bf16 halves memory and answers faster, fp32 is what evaluation quotes
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = WeightsKind::Fp32)]
    pub weights: WeightsKind,
    /// A file with the chat template, in place of the tokenizer's own
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Most texts in progress at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub streams: usize,
    /// Most texts that wait for their turn; further requests are told to come back
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub queue: usize,
    /// Most tokens of a completion; by default what the context leaves
    #[arg(long, value_name = "TOKENS")]
    pub max_tokens: Option<usize>,
    /// Most tokens that the texts in progress may grow to together, for their caches; by default enough for all
    #[arg(long, value_name = "TOKENS")]
    pub cache_tokens: Option<usize>,
    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub connections: usize,
    /// Most seconds of a request, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Threads of the network
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Serve `/tokenizer_info`, `/tokenize` and `/detokenize`, too
    #[arg(long)]
    pub tokenizer_routes: bool,
}

/// `psann model`.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Make a saved model of a Hugging Face folder, or of a file of psannlm: a model, a trainer's checkpoint or a state
    /// dict
    Import(ModelImportArgs),
    /// Write a trained model as a file that psannlm 2.0.1 loads, or as a Hugging Face folder
    Export(ModelExportArgs),
}

/// `psann model export`.
#[derive(Debug, Args)]
pub struct ModelExportArgs {
    /// A run's folder (`runs/quickstart`) or a saved model's
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The file to write, `NAME.pt`, or the folder
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// What to write
    #[arg(long, value_enum, value_name = "NAME", default_value = "psannlm")]
    pub format: ExportFormat,
    /// Dtype of the weights in a Hugging Face folder
    #[arg(long, value_enum, value_name = "NAME", default_value = "fp32")]
    pub dtype: ExportDtype,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `psann model export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A file that psannlm 2.0.1 loads, of `model/waveresnet`
    Psannlm,
    /// A folder that transformers loads, of `model/llama`
    #[value(name = "huggingface", alias = "hf")]
    HuggingFace,
}

/// Dtypes of written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportDtype {
    /// 32-bit floating point
    Fp32,
    /// bfloat16
    Bf16,
}

/// `psann model import`.
#[derive(Debug, Args)]
pub struct ModelImportArgs {
    /// The file or the Hugging Face folder; nothing in it is executed
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The folder to make; `psann generate` and recipes take it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Attention heads, for a file that does not say
    #[arg(long, value_name = "N")]
    pub heads: Option<u32>,
    /// How the model knows positions, for a file that does not say
    #[arg(long, value_enum, value_name = "NAME")]
    pub positions: Option<Positions>,
    /// Any other option of the model that the file does not say (`sine.decay_mode=relu`)
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub sets: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Positional encodings, as `--positions` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Positions {
    /// Rotary
    Rope,
    /// A bias that grows with distance
    Alibi,
    /// A fixed table added to the embedding
    Sinusoidal,
}

/// `psann data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// What came, what went and why, as numbers
    Stats {
        /// A prepared corpus, or a run that prepared one
        #[arg(value_name = "DIR")]
        corpus: PathBuf,
        /// Print JSON (the whole report)
        #[arg(long)]
        json: bool,
    },
    /// Some documents, spread evenly over the corpus; with `--step`, what a run saw at that step
    Peek {
        /// A prepared corpus, or a run that prepared one
        #[arg(value_name = "DIR")]
        corpus: PathBuf,
        /// Show the batch that this training step of the run saw, with its sources
        #[arg(long, value_name = "N", conflicts_with_all = ["documents", "validation"])]
        step: Option<u64>,
        /// Show one row of that batch, counted from 0
        #[arg(long, value_name = "N", requires = "step")]
        row: Option<u64>,
        /// How many
        #[arg(short = 'n', long = "documents", default_value_t = 3)]
        documents: u64,
        /// Show held-out documents
        #[arg(long)]
        validation: bool,
        /// Characters shown of each document; 0 shows all
        #[arg(long, default_value_t = 400)]
        chars: usize,
        /// Print JSON, one object a document
        #[arg(long)]
        json: bool,
    },
    /// What became of a document, or what the filters say of a text
    Why {
        /// A prepared corpus, or a run that prepared one
        #[arg(value_name = "DIR")]
        corpus: PathBuf,
        /// A document: its place (`12-3405`) or the id that the source gave
        #[arg(long, value_name = "ID", conflicts_with = "text", required_unless_present = "text")]
        doc: Option<String>,
        /// A file with a text to ask about; `-` is standard input
        #[arg(long, value_name = "FILE")]
        text: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `psann plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List sources, filters, tokenizers, models, optimizers, sharders and stages
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one with all its options
    Info {
        /// Its name, or `kind/name` where a name means several
        #[arg(value_name = "NAME")]
        name: String,
        /// Print JSON (the schema)
        #[arg(long)]
        json: bool,
    },
}

/// `psann repl`.
#[derive(Debug, Args)]
pub struct ReplArgs {
    /// A recipe to load first
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

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

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, as in `--set steps=50`".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_assignment_keeps_equal_signs_of_its_value() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(assignment("steps").is_err());
        assert!(assignment("=5").is_err());
    }
}
