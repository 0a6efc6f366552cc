//! The command line: one definition from which parsing, help and completion come. Verbs with many flags have a file of
//! their own.

mod bench;
mod data;
mod evaluate;
mod model;
mod plugin;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::*;
pub use data::{DataArgs, DataCommand};
pub use evaluate::{EvaluateArgs, EvaluateCommand};
pub use model::{ExportDtype, ExportFormat, ModelCommand, ModelExportArgs, ModelImportArgs};
pub use plugin::{Language, PluginArgs, PluginCommand, PluginFlags, PluginKind};
pub use serve::ServeArgs;

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
    Data(DataArgs),
    /// Show what recipes can use, and make, check and trust plugins of others
    Plugin(PluginArgs),
    /// Explore the recipe language at a prompt
    Repl(ReplArgs),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `psann recipe FILE` and `psann recipe params FILE`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// Trust the plugins that the recipe names instead of asking
    #[arg(long, conflicts_with = "no_plugins")]
    pub yes: bool,
    /// Plugins
    #[command(flatten)]
    pub plugins: PluginFlags,
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

/// `psann repl`.
#[derive(Debug, Args)]
pub struct ReplArgs {
    /// A recipe to load first
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Plugins
    #[command(flatten)]
    pub plugins: PluginFlags,
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
