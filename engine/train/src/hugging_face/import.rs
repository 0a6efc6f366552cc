//! A folder of Hugging Face as a saved model of ours.

use std::fs;
use std::path::Path;

use psann_core::{Error, Result};
use tch::Kind;

use super::{find, tokenizer_files};
use crate::export::{SaveOptions, save};
use crate::options::Precision;
use crate::reference::ImportReport;

/// Imports `folder` into the folder `destination`, which must be new or empty. Weights stay bf16 if all of them are, and
/// become fp32 else.
///
/// # Errors
/// Those of [`find`], and when the destination cannot be written.
pub fn import(folder: &Path, destination: &Path) -> Result<ImportReport> {
    if fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_some()) || destination.is_file() {
        return Err(Error::usage(format!("`{}` is there already", destination.display()))
            .hint("name a new folder, or remove this one"));
    }
    let found = find(folder)?;
    let is_bf16 = found.weights.tensors().values().all(|whole| whole.kind == Kind::BFloat16);
    drop(found);
    let dtype = if is_bf16 { Precision::Bf16 } else { Precision::Fp32 };
    let beside = tokenizer_files(folder);
    let saved = save(folder, destination, &beside, &SaveOptions { dtype, ..SaveOptions::default() })?;
    Ok(ImportReport {
        layout: "a folder of Hugging Face",
        path: saved.path,
        parameters: saved.parameters,
        step: 0,
        tokenizer: beside.iter().any(|path| path.ends_with(super::BESIDE[0])),
        notes: Vec::new(),
    })
}
