//! `psann data VERB`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PluginFlags;

/// `psann data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DataCommand,
    /// Plugins
    #[command(flatten)]
    pub plugins: PluginFlags,
}

/// The verbs of `psann data`.
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
