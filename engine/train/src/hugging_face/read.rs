//! A folder as a model whose weights are still in their files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use psann_core::{Error, Result, registry};
use serde::Deserialize;
use serde_json::json;
use tch::Kind;

use super::config;
use crate::checkpoint::{Found, Shards, check_tensors};
use crate::export::{INDEX, MODEL};

/// What to do about a damaged folder.
const WAY_OUT: &str = "fetch the folder again";

/// The matrix of the head, where a model has one of its own.
const HEAD: &str = "lm_head.weight";
/// That of the embedding.
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Tables that old programs wrote beside the weights; they follow from the configuration.
const TABLES: &str = ".rotary_emb.inv_freq";

/// Where `weights` are, by tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether `folder` is one of Hugging Face: its `config.json` names a type of model.
pub fn is_folder(folder: &Path) -> bool {
    config::read_json(folder).is_some_and(|config| config.contains_key("model_type"))
}

/// Finds the model in `folder`; its weights are read by whoever wants them.
///
/// # Errors
/// When it is no Llama, a setting is not supported, or files are missing, damaged, or hold other tensors than the
/// configuration asks for.
pub fn find(folder: &Path) -> Result<Found> {
    let mut component = config::read(folder)?;
    let mut weights = open(folder)?;
    let tables: Vec<String> = weights.tensors().keys().filter(|name| name.ends_with(TABLES)).cloned().collect();
    for name in &tables {
        weights.leave_out(name);
    }
    // A tied matrix may be written twice. Two different ones are two, whatever the configuration says: so transformers
    // reads them.
    if component.options["tie_embeddings"] == true && weights.tensors().contains_key(HEAD) {
        let tied = weights.are_equal(HEAD, EMBEDDING)?;
        component.options["tie_embeddings"] = json!(tied);
        if tied {
            weights.leave_out(HEAD);
        }
    }
    let model = registry::model(&component.name, &component.options)
        .map_err(|e| e.within(format!("`{}`", folder.join(crate::export::CONFIG).display())))?;
    check_tensors(&weights, model.segments().iter().flat_map(|segment| &segment.parameters), folder)?;
    for (name, whole) in weights.tensors() {
        if !matches!(whole.kind, Kind::Float | Kind::BFloat16 | Kind::Half | Kind::Double) {
            let file = weights.file_of(name).unwrap_or(folder).display();
            return Err(Error::usage(format!("`{file}`: tensor `{name}` holds {:?}", whole.kind))
                .hint("weights in floating point are supported, quantised ones are not"));
        }
    }
    Ok(Found { component, model, weights, state: None, folder: folder.to_owned() })
}

/// Opens `model.safetensors`, or the files that the index beside it lists.
fn open(folder: &Path) -> Result<Shards> {
    if folder.join(MODEL).is_file() {
        return Shards::open_foreign(folder, [MODEL], WAY_OUT);
    }
    let path = folder.join(INDEX);
    let text = fs::read_to_string(&path).map_err(|e| {
        let error = Error::usage(format!("`{}` has neither `{MODEL}` nor `{INDEX}`", folder.display())).because(e);
        let is_pickled =
            ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| folder.join(name).is_file());
        error.hint(if is_pickled {
            "its weights are pickled; save them as safetensors with transformers"
        } else {
            WAY_OUT
        })
    })?;
    let damaged = |what: String| Error::new(format!("`{}`: {what}", path.display())).hint(WAY_OUT);
    let index: Index =
        serde_json::from_str(&text).map_err(|e| damaged("it is no index of weights".into()).because(e))?;
    let files: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if let Some(file) = files.iter().find(|file| Path::new(file).file_name().is_none_or(|name| name != **file)) {
        return Err(damaged(format!("`{file}` is no name of a file beside it")));
    }
    let weights = Shards::open_foreign(folder, files, WAY_OUT)?;
    for (name, file) in &index.weight_map {
        if weights.file_of(name).and_then(|path| path.file_name()).is_none_or(|found| found != file.as_str()) {
            return Err(damaged(format!("tensor `{name}` is not in `{file}`")));
        }
    }
    Ok(weights)
}
