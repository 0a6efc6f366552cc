//! Stage `save`: a trained model as a folder that needs nothing else.
//!
//! `model.safetensors` holds the weights, `config.json` says which model plugin reads them, and the tokenizer's files
//! lie beside. `config.json` is written last: a folder without it is no model yet.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use psann_core::plan::Component;
use psann_core::{Error, Result, registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::checkpoint::{self, MODEL, State};
use crate::files::{self, FileSystem};

/// Says which model reads the weights beside it.
pub const CONFIG: &str = "config.json";

/// Saves the trained model with its tokenizer, ready to use elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaveOptions {
    /// Format of the weights.
    pub format: Format,
    /// Folder to save into; by default one inside the run.
    pub path: Option<String>,
}

psann_core::register!(Stage, "save", SaveOptions, primary = "path");

/// Format of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One safetensors file, fp32.
    #[default]
    Safetensors,
    /// One file `model.pt` that the Python reference (psannlm 2.0.1) loads.
    Psannlm,
}

/// What `config.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedConfig {
    /// `psann-model`.
    pub format: String,
    /// Version of this layout.
    pub version: u32,
    /// How the registry makes the model.
    pub model: Component,
    /// Number of weights.
    pub parameters: u64,
    /// Optimizer steps of the training behind it.
    pub step: u64,
    /// Tokens seen in training.
    pub tokens: u64,
    /// Hexadecimal BLAKE3 of the weights' file.
    pub weights: String,
}

const FORMAT: &str = "psann-model";
const VERSION: u32 = 1;

impl SavedConfig {
    /// Reads the one in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = fs::read_to_string(&path)
            .map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e))?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("`{}` does not describe a psann model", path.display())).because(e))?;
        if config.format != FORMAT || config.version != VERSION {
            return Err(Error::new(format!(
                "`{}` describes {} version {}, this program reads {FORMAT} version {VERSION}",
                path.display(),
                config.format,
                config.version
            )));
        }
        Ok(config)
    }
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaveReport {
    /// The folder.
    pub path: PathBuf,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights' file.
    pub bytes: u64,
}

/// Saves the model of `source` (a training stage's folder or a checkpoint) with copies of `tokenizer_files` into
/// `destination`, which is made if it is missing. Each file appears as a whole.
pub fn save(source: &Path, destination: &Path, tokenizer_files: &[PathBuf]) -> Result<SaveReport> {
    let checkpoint = if source.join(checkpoint::STATE).is_file() {
        source.to_owned()
    } else {
        checkpoint::newest(source)?
            .ok_or_else(|| Error::usage(format!("`{}` holds no checkpoint to save", source.display())))?
    };
    let state = State::read(&checkpoint)?;
    checkpoint::verify(&checkpoint, &state, MODEL)?;
    let model = registry::model(&state.model.name, &state.model.options)?;
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    let parameters = specs.map(|spec| spec.elements() as u64).sum();
    fs::create_dir_all(destination).map_err(|e| files::cannot_write(destination, e))?;
    let weights = destination.join(MODEL);
    let hash = copy(&checkpoint.join(MODEL), &weights)?;
    for file in tokenizer_files {
        let name = file.file_name().ok_or_else(|| Error::new(format!("`{}` is no file", file.display())))?;
        copy(file, &destination.join(name))?;
    }
    let config = SavedConfig {
        format: FORMAT.into(),
        version: VERSION,
        model: state.model,
        parameters,
        step: state.step,
        tokens: state.tokens,
        weights: hash,
    };
    let text =
        serde_json::to_string_pretty(&config).map_err(|e| Error::new("cannot write the configuration").because(e))?;
    files::write(&FileSystem, &destination.join(CONFIG), (text + "\n").as_bytes())?;
    let bytes = fs::metadata(&weights).map_err(|e| files::cannot_write(&weights, e))?.len();
    Ok(SaveReport { path: destination.to_owned(), parameters, bytes })
}

/// Saves `parameters` of the model that `component` makes into the folder `destination`, which is there, after `step`
/// steps on `tokens` tokens.
pub fn save_parameters(
    destination: &Path,
    component: &Component,
    parameters: &[(String, Tensor)],
    step: u64,
    tokens: u64,
) -> Result<SaveReport> {
    let weights = destination.join(MODEL);
    let mut hash = String::new();
    files::write_with(&FileSystem, &weights, |file| {
        let mut file = io::BufWriter::with_capacity(1 << 20, file);
        hash = checkpoint::tensors::write(&mut file, parameters)?;
        file.flush()
    })?;
    let config = SavedConfig {
        format: FORMAT.into(),
        version: VERSION,
        model: component.clone(),
        parameters: parameters.iter().map(|(_, tensor)| tensor.numel() as u64).sum(),
        step,
        tokens,
        weights: hash,
    };
    let text =
        serde_json::to_string_pretty(&config).map_err(|e| Error::new("cannot write the configuration").because(e))?;
    files::write(&FileSystem, &destination.join(CONFIG), (text + "\n").as_bytes())?;
    let bytes = fs::metadata(&weights).map_err(|e| files::cannot_write(&weights, e))?.len();
    Ok(SaveReport { path: destination.to_owned(), parameters: config.parameters, bytes })
}

/// Copies a file as a whole or not at all; gives the hexadecimal BLAKE3 of what was copied.
fn copy(from: &Path, to: &Path) -> Result<String> {
    let mut source =
        File::open(from).map_err(|e| Error::new(format!("cannot read `{}`", from.display())).because(e))?;
    let mut hasher = blake3::Hasher::new();
    files::write_with(&FileSystem, to, |file| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
        }
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}
