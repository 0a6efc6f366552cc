//! `psann model VERB`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::assignment;

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
