//! Files of models: `psannlm.model` of 2.0.1 with configuration and tokenizer, the older one without a schema, and bare
//! state dicts.

use std::path::Path;

use psann_core::{Error, Result};
use serde_json::{Map, Value};

use super::config;
use super::pickle::{Document, Value as Pickled};
use super::state_dict::StateDict;

/// Tensors with the options of the model they belong to, as far as the file and the user tell.
pub struct Described {
    /// The tensors.
    pub state: StateDict,
    /// Options of our model.
    pub options: Value,
}

/// Reads what `psannlm` 2.0.1 and the older repository save as a model: `config` beside `state_dict`.
pub fn read(document: &Document, path: &Path, has_schema: bool) -> Result<Described> {
    let root = document.root();
    let tensors = required(document, root, "state_dict", path)?;
    let state = StateDict::new(document, tensors, path, "state_dict")?;
    let within = |e: Error| e.within(format!("`{}`", path.display()));
    let stored = document.json(required(document, root, "config", path)?, "config").map_err(within)?;
    let options = if has_schema { config::to_options(&stored) } else { config::of_older(&stored, &state) };
    Ok(Described { state, options: options.map_err(within)? })
}

/// Reads a file that is nothing but a state dict.
pub fn read_bare(document: &Document, path: &Path, given: &Map<String, Value>) -> Result<Described> {
    let state = StateDict::new(document, document.root(), path, "")?;
    let options = config::of_shapes(&state, given).map_err(|e| e.within(format!("`{}`", path.display())))?;
    Ok(Described { state, options })
}

/// The entry `key` of the outermost mapping.
pub fn required<'a>(document: &'a Document, root: &Pickled, key: &str, path: &Path) -> Result<&'a Pickled> {
    document.get(root, key).ok_or_else(|| Error::new(format!("`{}` has no entry `{key}`", path.display())))
}
