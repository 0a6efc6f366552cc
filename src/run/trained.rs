//! A trained model with its tokenizer, found from what a user names: a run, one of its stages, a saved model, or a folder
//! of Hugging Face.

use std::path::{Path, PathBuf};

use psann_core::plan::Plan;
use psann_core::{Error, Result, Tokenizer};
use psann_data::tokenizer::{self, TextTokenizer};
use psann_eval::chat::Templates;
use psann_train::PretrainOptions;
use psann_train::checkpoint::{Loaded, load_model};
use psann_train::export::CONFIG;
use serde_json::Value;

use super::RunDirectory;
use super::directory::read_json;
use super::stages::corpus_elsewhere;

/// What generation needs.
pub struct Trained {
    /// The model and its weights.
    pub loaded: Loaded,
    /// The tokenizer it was trained with.
    pub tokenizer: TextTokenizer,
    /// Most tokens that it reads at once, where its run or its options tell.
    pub context_length: Option<u64>,
    /// The corpus it was trained on, where the run prepared one.
    pub corpus: Option<PathBuf>,
}

impl Trained {
    /// Opens what `path` names.
    ///
    /// # Errors
    /// When there is nothing trained there, or what is there is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let (model, tokenizer) = locate(path)?;
        let tokenizer = tokenizer.ok_or_else(|| {
            Error::usage(format!("the model `{}` has no tokenizer", path.display()))
                .hint("put the `tokenizer.json` that it was trained with into its folder")
        })?;
        let loaded = load_model(&model)?;
        let tokenizer = tokenizer::open(&tokenizer)?;
        tokenizer::check_vocabulary(tokenizer.vocabulary(), loaded.model.vocabulary() as usize)?;
        let of_options = loaded.component.options.get("max_position_embeddings").and_then(Value::as_u64);
        let (trained_on, corpus) = of_run(path)?;
        Ok(Self { loaded, tokenizer, context_length: trained_on.or(of_options), corpus })
    }
}

/// What a tokenizer's folder does not say of the length that a model reads, as evaluation harnesses assume it.
const DEFAULT_LENGTH: u64 = 2048;

impl Trained {
    /// Most tokens that the model reads at once: what the user `asked` for, what its run or its options tell, what its
    /// tokenizer tells, or 2048.
    pub fn reads_at_most(&self, asked: Option<u64>) -> u64 {
        asked.or(self.context_length).or(self.tokenizer.model_max_length()).unwrap_or(DEFAULT_LENGTH)
    }
}

/// The sequence length of a run's training, and the corpus that it prepared; nothing of what is no run.
fn of_run(path: &Path) -> Result<(Option<u64>, Option<PathBuf>)> {
    let file = path.join("plan.json");
    if !file.is_file() {
        return Ok((None, None));
    }
    let plan: Plan = read_json(&file)?;
    let training = plan.stages.iter().rev().find(|stage| stage.kind == "pretrain");
    let length = training.map(|stage| PretrainOptions::parse(&stage.options)).transpose()?;
    let run = RunDirectory::existing(path)?;
    let prepared = plan.stages.iter().rev().find(|stage| stage.kind == "prepare");
    let entries = run.entries()?;
    let own = entries.iter().rev().find(|entry| entry.kind == "prepare").map(|entry| run.path().join(&entry.folder));
    let corpus = prepared.and_then(corpus_elsewhere).or(own);
    Ok((length.map(|options| options.seq_len), corpus))
}

/// The folders of the model and the tokenizer that `path` names; a saved model may have come without a tokenizer.
pub fn locate(path: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let has_tokenizer = path.join(tokenizer::FILE).is_file();
    if has_tokenizer || path.join(CONFIG).is_file() {
        return Ok((path.to_owned(), has_tokenizer.then(|| path.to_owned())));
    }
    let run = RunDirectory::existing(path)?;
    let folder = |kind: &str, what: &str| -> Result<PathBuf> {
        let entries = run.entries()?;
        let entry = entries.iter().rev().find(|entry| entry.kind == kind).ok_or_else(|| {
            Error::usage(format!("the run `{}` has no {what}", path.display()))
                .hint("its recipe needs a `.pretrain(…)`")
        })?;
        Ok(run.path().join(&entry.folder))
    };
    let (pretrain, tokenizer) = (folder("pretrain", "training")?, folder("tokenizer", "tokenizer")?);
    if !pretrain.is_dir() {
        return Err(Error::usage(format!("the run `{}` has not trained a model yet", path.display()))
            .hint("run its recipe first"));
    }
    Ok((pretrain, Some(tokenizer)))
}

/// The chat template in `file`, or else those of the tokenizer; `None` where it has none.
///
/// # Errors
/// When the file cannot be read, or a template cannot be compiled.
pub fn chat_templates(tokenizer: &TextTokenizer, file: Option<&Path>) -> Result<Option<Templates>> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::new(format!("cannot read `{}`", file.display())).because(e))?;
        return Templates::new(&[("default", text.as_str())], tokenizer).map(Some);
    }
    let own = tokenizer.chat_templates();
    if own.is_empty() {
        return Ok(None);
    }
    Templates::new(&own.iter().map(|one| (one.name.as_str(), one.text.as_str())), tokenizer).map(Some)
}
