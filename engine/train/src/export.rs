//! Stage `save`: a trained model as a folder that needs nothing else.
//!
//! `model.safetensors` holds the weights, `config.json` says which model plugin reads them, and the tokenizer's files
//! lie beside. `config.json` is written last: a folder without it is no model yet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use psann_core::optimizer::Part;
use psann_core::plan::Component;
use psann_core::quantity::Bytes;
use psann_core::registry::Kind as PluginKind;
use psann_core::{Error, Result};
use psann_torch::bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::checkpoint::tensors::{self, Entry, Rows};
use crate::checkpoint::{Found, Record, Recorder, find_model};
use crate::files::{self, FileSystem};
use crate::options::Precision;

/// Says which model reads the weights beside it.
pub const CONFIG: &str = "config.json";
/// Name of the weights' file, where one is enough.
pub const MODEL: &str = "model.safetensors";
/// Says which file each tensor is in, where there are several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Saves the trained model with its tokenizer, ready to use elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaveOptions {
    /// Format of the weights.
    pub format: Format,
    /// Folder to save into; by default one inside the run.
    pub path: Option<String>,
    /// Dtype of the weights in safetensors.
    pub dtype: Precision,
    /// Largest size of one safetensors file; more weights are spread over several, listed in an index.
    pub max_shard_size: Bytes,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { format: Format::default(), path: None, dtype: Precision::Fp32, max_shard_size: Bytes(5_000_000_000) }
    }
}

psann_core::register!(Stage, "save", SaveOptions, primary = "path");

/// Format of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Safetensors, as Hugging Face lays them out.
    #[default]
    Safetensors,
    /// One file `model.pt` that the Python reference (psannlm 2.0.1) loads.
    Psannlm,
    /// A folder that transformers and other programs load, for `model::llama`.
    HuggingFace,
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
    /// The files of weights, with their sizes and hashes.
    pub weights: BTreeMap<String, Record>,
}

const FORMAT: &str = "psann-model";
const VERSION: u32 = 2;

impl SavedConfig {
    fn new() -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            model: Component::new(PluginKind::Model, ""),
            parameters: 0,
            step: 0,
            tokens: 0,
            weights: BTreeMap::new(),
        }
    }

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
/// `destination`, which is made if it is missing. Each file appears as a whole. Weights go from the shards of all ranks
/// straight to their places, a few megabytes at a time.
pub fn save(
    source: &Path,
    destination: &Path,
    tokenizer_files: &[PathBuf],
    options: &SaveOptions,
) -> Result<SaveReport> {
    let mut found = find_model(source)?;
    fs::create_dir_all(destination).map_err(|e| files::cannot_write(destination, e))?;
    let weights = consolidate(&mut found, destination, options)?;
    copy_all(tokenizer_files, destination)?;
    let (step, tokens) = found.state.as_ref().map_or((0, 0), |state| (state.step, state.tokens));
    let specs = found.model.segments().iter().flat_map(|segment| &segment.parameters);
    let parameters = specs.map(|spec| spec.elements() as u64).sum();
    let model = found.component;
    describe(destination, &SavedConfig { model, parameters, step, tokens, weights, ..SavedConfig::new() })
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
    let rows = |(name, tensor): &(String, Tensor)| Rows {
        name: name.clone(),
        tensor: tensor.shallow_clone(),
        first: 0,
        part: Part::Rows,
    };
    let rows: Vec<Rows> = parameters.iter().map(rows).collect();
    let record = write_recorded(&destination.join(MODEL), |recorder| tensors::write(recorder, rows))?;
    let config = SavedConfig {
        model: component.clone(),
        parameters: parameters.iter().map(|(_, tensor)| tensor.numel() as u64).sum(),
        step,
        tokens,
        weights: BTreeMap::from([(MODEL.to_owned(), record)]),
        ..SavedConfig::new()
    };
    describe(destination, &config)
}

/// Writes the configuration, which makes the folder a model.
fn describe(destination: &Path, config: &SavedConfig) -> Result<SaveReport> {
    let text =
        serde_json::to_string_pretty(config).map_err(|e| Error::new("cannot write the configuration").because(e))?;
    files::write(&FileSystem, &destination.join(CONFIG), (text + "\n").as_bytes())?;
    let bytes = config.weights.values().map(|record| record.bytes).sum();
    Ok(SaveReport { path: destination.to_owned(), parameters: config.parameters, bytes })
}

/// Writes the weights of `found` as whole tensors, in the order of the model.
pub(crate) fn consolidate(
    found: &mut Found,
    destination: &Path,
    options: &SaveOptions,
) -> Result<BTreeMap<String, Record>> {
    let kind = options.dtype.kind();
    let mut files: Vec<Vec<Entry>> = vec![Vec::new()];
    let mut size = 0;
    for spec in found.model.segments().iter().flat_map(|segment| &segment.parameters) {
        let entry =
            Entry { name: spec.name.clone(), kind, shape: spec.shape.clone(), first: 0, part: Part::Rows, start: size };
        if size > 0 && size + entry.bytes() > options.max_shard_size.0 {
            files.push(Vec::new());
            size = 0;
        }
        let entry = Entry { start: size, ..entry };
        size += entry.bytes();
        if let Some(last) = files.last_mut() {
            last.push(entry);
        }
    }
    let count = files.len();
    let mut records = BTreeMap::new();
    let mut index = serde_json::Map::new();
    for (number, entries) in files.iter().enumerate() {
        let name = match count {
            1 => MODEL.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let record = write_recorded(&destination.join(&name), |recorder| {
            recorder.header(&tensors::header(entries, false)?)?;
            for entry in entries {
                let stored = found.weights.tensors().get(&entry.name).map_or(kind, |whole| whole.kind);
                let mut put = |values: &[u8]| put(recorder, values, stored, kind);
                found.weights.stream(&entry.name, &mut put).map_err(io::Error::other)?;
            }
            Ok(())
        })?;
        index.extend(entries.iter().map(|entry| (entry.name.clone(), name.clone().into())));
        records.insert(name, record);
    }
    if count > 1 {
        let total: u64 = files.iter().flatten().map(Entry::bytes).sum();
        let text = format!("{:#}\n", json!({ "metadata": { "total_size": total }, "weight_map": index }));
        files::write(&FileSystem, &destination.join(INDEX), text.as_bytes())?;
    }
    Ok(records)
}

/// Writes some values of dtype `from` as `to`.
fn put(recorder: &mut Recorder<'_>, values: &[u8], from: Kind, to: Kind) -> Result<()> {
    let failed = |e: io::Error| Error::new("cannot write weights").because(e);
    if from == to {
        return recorder.data(values).map_err(failed);
    }
    let count = (values.len() / from.elt_size_in_bytes()) as i64;
    let tensor = Tensor::f_from_data_size(values, &[count], from).and_then(|values| values.f_to_kind(to));
    let tensor = tensor.map_err(|e| Error::new("cannot convert weights").because(e))?;
    recorder.data(bytes::of(&tensor)?).map_err(failed)
}

/// Lets `content` write the file at `path`, as a whole or not at all.
fn write_recorded(path: &Path, content: impl FnOnce(&mut Recorder<'_>) -> io::Result<()>) -> Result<Record> {
    let mut record = None;
    files::write_with(&FileSystem, path, |file| {
        let mut file = io::BufWriter::with_capacity(1 << 20, file);
        let mut recorder = Recorder::new(&mut file);
        content(&mut recorder)?;
        record = Some(recorder.finish()?);
        file.flush()
    })?;
    record.ok_or_else(|| Error::new(format!("`{}` was not written", path.display())))
}

/// Copies files into a folder.
pub(crate) fn copy_all(files: &[PathBuf], destination: &Path) -> Result<()> {
    for file in files {
        let name = file.file_name().ok_or_else(|| Error::new(format!("`{}` is no file", file.display())))?;
        copy(file, &destination.join(name))?;
    }
    Ok(())
}

/// Copies a file as a whole or not at all.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source =
        File::open(from).map_err(|e| Error::new(format!("cannot read `{}`", from.display())).because(e))?;
    files::write_with(&FileSystem, to, |file| {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            file.write_all(&buffer[..count])?;
        }
    })
}
