//! A file of the reference as a saved model of ours: a folder that everything here reads.

use std::fs;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde::Serialize;

use super::{ReadOptions, read};
use crate::export::save_parameters;
use crate::files::{self, FileSystem};

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// What the file was.
    pub layout: &'static str,
    /// The folder that was made.
    pub path: PathBuf,
    /// Number of weights.
    pub parameters: u64,
    /// Optimizer steps behind them; 0 where the file does not tell.
    pub step: u64,
    /// Whether the file had a tokenizer that could be kept.
    pub tokenizer: bool,
    /// What of the file could not be kept.
    pub notes: Vec<String>,
}

/// Imports the file at `path` into the folder `destination`, which must be new or empty. The tokenizer goes into
/// `tokenizer_files`, the names of its file and of its map of special tokens.
pub fn import(
    path: &Path,
    destination: &Path,
    tokenizer_files: [&str; 2],
    options: &ReadOptions,
) -> Result<ImportReport> {
    if fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_some()) || destination.is_file() {
        return Err(Error::usage(format!("`{}` is there already", destination.display()))
            .hint("name a new folder, or remove this one"));
    }
    let imported = read(path, options)?;
    fs::create_dir_all(destination).map_err(|e| files::cannot_write(destination, e))?;
    if let Some(tokenizer) = &imported.tokenizer {
        for (name, text) in tokenizer_files.into_iter().zip([&tokenizer.json, &tokenizer.special]) {
            files::write(&FileSystem, &destination.join(name), text.as_bytes())?;
        }
    }
    let (step, tokens) = (imported.step, imported.tokens);
    let saved = save_parameters(destination, &imported.component, &imported.parameters, step, tokens)?;
    Ok(ImportReport {
        layout: imported.layout.describe(),
        path: saved.path,
        parameters: saved.parameters,
        step,
        tokenizer: imported.tokenizer.is_some(),
        notes: imported.notes,
    })
}
