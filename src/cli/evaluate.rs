//! `psann evaluate RUN` and `psann evaluate compare FIRST SECOND`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::WeightsKind;

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
