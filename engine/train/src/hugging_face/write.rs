//! A Llama as a folder that transformers loads.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::config;
use crate::checkpoint::find_model;
use crate::export::{CONFIG, SaveOptions, SaveReport, consolidate, copy_all};
use crate::files::{self, FileSystem};

/// A tokenizer as the folder needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerFolder {
    /// Files that are copied.
    pub files: Vec<PathBuf>,
    /// Id of the token that begins a text.
    pub bos: Option<u32>,
    /// Id of the token that ends one.
    pub eos: Option<u32>,
    /// Id of the token that fills rows up.
    pub pad: Option<u32>,
    /// Spellings of special tokens by the names of `tokenizer_config.json`, which is written if it is not among `files`.
    pub named: Map<String, Value>,
}

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Writes the model of `source` (a training stage's folder, a checkpoint, a saved model) with its tokenizer into
/// `destination`, which is made if it is missing. `config.json` comes last: a folder without it is no model yet.
///
/// # Errors
/// When the model is no Llama, or files cannot be read or written.
pub fn export(
    source: &Path,
    destination: &Path,
    tokenizer: Option<&TokenizerFolder>,
    options: &SaveOptions,
) -> Result<SaveReport> {
    let mut found = find_model(source)?;
    let none = TokenizerFolder::default();
    let tokenizer = tokenizer.unwrap_or(&none);
    let config = config::write(&found.component, found.model.as_ref(), options.dtype.kind(), tokenizer)?;
    if fs::canonicalize(source).is_ok_and(|source| fs::canonicalize(destination).is_ok_and(|other| other == source)) {
        return Err(
            Error::usage(format!("`{}` cannot be written onto itself", source.display())).hint("name another folder")
        );
    }
    fs::create_dir_all(destination).map_err(|e| files::cannot_write(destination, e))?;
    let records = consolidate(&mut found, destination, options)?;
    copy_all(&tokenizer.files, destination)?;
    if !tokenizer.files.is_empty() && !tokenizer.files.iter().any(|path| path.ends_with(TOKENIZER_CONFIG)) {
        // Without it transformers would take the type of the model for that of the tokenizer.
        let mut about = tokenizer.named.clone();
        about.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        about.insert("clean_up_tokenization_spaces".into(), json!(false));
        about.insert("model_max_length".into(), config["max_position_embeddings"].clone());
        write_json(&destination.join(TOKENIZER_CONFIG), &about.into())?;
    }
    write_json(&destination.join(CONFIG), &config)?;
    let specs = found.model.segments().iter().flat_map(|segment| &segment.parameters);
    Ok(SaveReport {
        path: destination.to_owned(),
        parameters: specs.map(|spec| spec.elements() as u64).sum(),
        bytes: records.values().map(|record| record.bytes).sum(),
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    files::write(&FileSystem, path, format!("{value:#}\n").as_bytes())
}
