//! Models as files that `psannlm` 2.0.1 loads: schema `psannlm.model` version 1.

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use psann_core::plan::Component;
use psann_core::{Error, Model, Result};
use psann_torch::bytes;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::archive::ZipWriter;
use super::pickle::Writer;
use super::{TokenizerFiles, config, tokenizer};
use crate::checkpoint::load_model;
use crate::export::SaveReport;
use crate::files::{self, FileSystem};

/// The package whose layout this is.
const PACKAGE: &str = "2.0.1";

/// The folder inside of the archive, which torch names after the file; the same for all, so that equal models give
/// equal bytes.
const ROOT: &str = "model";

/// Writes the model in `source` (a checkpoint, a saved model or a training stage's folder) to the file at `path`.
pub fn export(source: &Path, path: &Path, tokenizer: Option<&TokenizerFiles>) -> Result<SaveReport> {
    let loaded = load_model(source)?;
    let specs = loaded.model.segments().iter().flat_map(|segment| &segment.parameters);
    let parameters: Vec<(&str, &Tensor)> =
        specs.map(|spec| spec.name.as_str()).zip(loaded.parameters.iter().flatten()).collect();
    write(path, &loaded.component, loaded.model.as_ref(), &parameters, tokenizer)
}

/// Writes `parameters` of `model`, made from `component`, to the file at `path`, which appears as a whole.
///
/// # Errors
/// When the reference has no such network, or the file cannot be written.
pub fn write(
    path: &Path,
    component: &Component,
    model: &dyn Model,
    parameters: &[(&str, &Tensor)],
    tokenizer: Option<&TokenizerFiles>,
) -> Result<SaveReport> {
    let config = config::from_options(component, model)?;
    let tokenizer = tokenizer.map(tokenizer::to_reference).transpose()?.unwrap_or(Value::Null);
    let mut pickle = Writer::default();
    pickle.begin_dict();
    for (key, value) in [
        ("schema", json!("psannlm.model")),
        ("schema_version", json!(1)),
        ("package_version", json!(PACKAGE)),
        ("config", config),
    ] {
        pickle.text(key);
        pickle.value(&value);
    }
    pickle.text("state_dict");
    pickle.begin_dict();
    for (index, (name, tensor)) in parameters.iter().enumerate() {
        pickle.text(name);
        pickle.tensor(&index.to_string(), Kind::Float, &tensor.size());
    }
    pickle.end_dict();
    for (key, value) in [("tokenizer", tokenizer), ("device", json!("cpu"))] {
        pickle.text(key);
        pickle.value(&value);
    }
    pickle.end_dict();
    let pickle = pickle.finish();
    files::write_with(&FileSystem, path, |file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let mut zip = ZipWriter::new(&mut file);
        zip.add(&format!("{ROOT}/data.pkl"), &pickle)?;
        zip.add(&format!("{ROOT}/byteorder"), b"little")?;
        for (index, (_, tensor)) in parameters.iter().enumerate() {
            let host = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
            let values = bytes::of(&host).map_err(std::io::Error::other)?;
            zip.add(&format!("{ROOT}/data/{index}"), values)?;
        }
        zip.add(&format!("{ROOT}/version"), b"3\n")?;
        zip.finish()
    })?;
    let bytes = fs::metadata(path).map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e))?;
    Ok(SaveReport {
        path: path.to_owned(),
        parameters: parameters.iter().map(|(_, tensor)| tensor.numel() as u64).sum(),
        bytes: bytes.len(),
    })
}
