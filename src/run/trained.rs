//! A trained model with its tokenizer, found from what a user names: a run, one of its stages, a saved model, or a folder
//! of Hugging Face.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result, Tokenizer};
use psann_data::tokenizer::{self, TextTokenizer};
use psann_train::checkpoint::{Loaded, load_model};
use psann_train::export::CONFIG;

use super::RunDirectory;

/// What generation needs.
pub struct Trained {
    /// The model and its weights.
    pub loaded: Loaded,
    /// The tokenizer it was trained with.
    pub tokenizer: TextTokenizer,
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
        Self::of_folders(&model, &tokenizer)
    }

    fn of_folders(model: &Path, tokenizer: &Path) -> Result<Self> {
        let loaded = load_model(model)?;
        let tokenizer = tokenizer::open(tokenizer)?;
        tokenizer::check_vocabulary(tokenizer.vocabulary(), loaded.model.vocabulary() as usize)?;
        Ok(Self { loaded, tokenizer })
    }
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
