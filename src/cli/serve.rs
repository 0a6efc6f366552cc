//! `psann serve RUN`.

use std::path::PathBuf;

use clap::Args;

use super::WeightsKind;

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

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}
