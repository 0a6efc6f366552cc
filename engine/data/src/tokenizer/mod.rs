//! The stage `tokenizer`: trains a byte-level BPE or loads one, checks that it fits the text, and stores it.

mod check;
mod folder;
mod load;
mod text;
mod train;
mod words;

use std::path::{Path, PathBuf};

use psann_core::plan::Component;
use psann_core::{Error, Event, Observer, Result, Tokenizer, options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{check_text, check_vocabulary};
pub use folder::{CONFIG, NamedTemplate, SPECIAL, TEMPLATE, chat_templates};
pub use load::{LoadOptions, load};
pub use text::TextTokenizer;
pub use train::{TrainBpeOptions, train_bpe};

use crate::loader::TrainingText;

psann_core::register!(Stage, "tokenizer", TokenizerStageOptions);

/// Trains or loads the tokenizer and checks that it fits the text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerStageOptions {
    /// How to come by the tokenizer.
    #[schemars(extend("x-plugin" = "tokenizer"))]
    pub tokenizer: Option<Component>,
}

/// What the stage did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerReport {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Bytes of sampled text per token.
    pub bytes_per_token: String,
}

/// Name of the tokenizer's file in the stage's folder.
pub const FILE: &str = "tokenizer.json";

/// The files that make a tokenizer.
pub const FILES: [&str; 2] = [FILE, SPECIAL];

/// The files of the tokenizer in `folder` that go where it goes: [`FILES`], and of what Python's tools read beside them
/// whatever there is.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let beside = [CONFIG, TEMPLATE].map(|name| folder.join(name)).into_iter().filter(|path| path.is_file());
    FILES.map(|name| folder.join(name)).into_iter().chain(beside).collect()
}

/// Runs the stage: documents from `text`, results into `directory`.
pub fn tokenizer_stage(
    options: &TokenizerStageOptions,
    text: &TrainingText,
    directory: &Path,
    observer: &dyn Observer,
) -> Result<TokenizerReport> {
    let component = options.tokenizer.as_ref().ok_or_else(|| Error::usage("no tokenizer is named"))?;
    let mut lossy = false;
    let tokenizer = match component.name.as_str() {
        "train_bpe" => {
            let options: TrainBpeOptions = options::parse(&component.options)?;
            let limit = options.sample.map_or(usize::MAX, |count| count.0 as usize);
            let mut texts = Vec::new();
            for document in text.read()?.take(limit) {
                texts.push(document?.text);
            }
            observer.event(Event::Note(format!("training a tokenizer on {} documents", texts.len())));
            train_bpe(&options, &texts)?
        }
        "load" => {
            let options: LoadOptions = options::parse(&component.options)?;
            lossy = options.lossy;
            load(&options)?
        }
        other => return Err(Error::usage(format!("no tokenizer is called `{other}`"))),
    };
    let mut samples = Vec::new();
    for document in text.read()?.take(200) {
        samples.push(document?.text);
    }
    let bytes_per_token = check_text(&tokenizer, &samples, lossy)?;
    tokenizer.save(directory)?;
    Ok(TokenizerReport { vocabulary: tokenizer.vocabulary(), bytes_per_token: format!("{bytes_per_token:.2}") })
}

/// The tokenizer that a stage or a user left in `folder` (or the file itself).
pub fn open(path: &Path) -> Result<TextTokenizer> {
    load(&LoadOptions { path: Some(path.display().to_string()), ..LoadOptions::default() })
}

/// What a `load` tokenizer is, for fingerprints: a hash of its file.
pub fn identity(options: &Value) -> Result<String> {
    let options: LoadOptions = options::parse(options)?;
    Ok(load(&options)?.identity())
}

#[cfg(test)]
mod tests;
