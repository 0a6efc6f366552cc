//! Files of the Python reference (psann and psannlm): its models and checkpoints read, and models written so that it
//! can read them.
//!
//! Such files are archives of `torch.save`: a pickle that names tensors, and their numbers. Nothing in them is
//! executed.
//!
//! | module | what |
//! |---|---|
//! | [`pickle`] | the pickle as data |
//! | `archive` | the containers: zip, and the stream of old |
//! | `tensors` | views of storages, read one at a time |
//! | `names`, `state_dict` | names without what wrappers add, checked against a model |
//! | `config` | configurations as options of `model/waveresnet`, and back |
//! | `tokenizer` | tokenizers that files carry |
//! | `model_file`, `trainer_file` | the layouts |
//! | `import` | a file as a saved model of ours |
//! | `write` | a model as a file of psannlm 2.0.1 |

mod archive;
mod config;
mod import;
mod model_file;
mod names;
pub mod pickle;
mod state_dict;
mod tensors;
mod tokenizer;
mod trainer_file;
mod write;

use std::path::Path;

use psann_core::plan::Component;
use psann_core::{Error, Model, Result};
use serde_json::{Map, Value};
use tch::Tensor;

use archive::Archive;
use pickle::{Document, Value as Pickled};

pub use import::{ImportReport, import};
pub use tokenizer::TokenizerFiles;
pub use trainer_file::OptimizerState;
pub use write::{export, write};

/// What is read, and what the file cannot tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadOptions {
    /// Options of `model/waveresnet` for files without a configuration, which need `n_heads` and
    /// `positional_encoding`; beside a configuration they must agree with it.
    pub model: Map<String, Value>,
    /// Read a trainer's optimizer state too.
    pub optimizer: bool,
}

/// What was read.
pub struct Imported {
    /// The kind of file.
    pub layout: Layout,
    /// How the registry makes the model.
    pub component: Component,
    /// The model.
    pub model: Box<dyn Model>,
    /// Its parameters by name, in its order, fp32 on the CPU.
    pub parameters: Vec<(String, Tensor)>,
    /// The optimizer's state, where one was asked for and is there.
    pub optimizer: Option<OptimizerState>,
    /// Optimizer steps behind the weights; 0 where the file does not tell.
    pub step: u64,
    /// Tokens that one process saw; 0 where the file does not tell.
    pub tokens: u64,
    /// The tokenizer, where the file has one that we can use.
    pub tokenizer: Option<TokenizerFiles>,
    /// What of the file could not be kept.
    pub notes: Vec<String>,
}

/// Kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `psannlm.model` version 1.
    Model,
    /// `psannlm.trainer` version 1.
    Trainer,
    /// A model of the older repository.
    OlderModel,
    /// A trainer's checkpoint of the older repository.
    OlderTrainer,
    /// A state dict alone.
    StateDict,
}

impl Layout {
    /// What it is, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Model => "a model of psannlm 2",
            Self::Trainer => "a trainer's checkpoint of psannlm 2",
            Self::OlderModel => "a model of an older psannlm",
            Self::OlderTrainer => "a trainer's checkpoint of an older psannlm",
            Self::StateDict => "a state dict",
        }
    }

    fn of(document: &Document) -> Result<Self> {
        let root = document.root();
        let has = |key: &str| document.get(root, key).is_some();
        if has("schema") || has("schema_version") {
            let version = document.get(root, "schema_version");
            if !matches!(version, Some(Pickled::Int(1))) {
                return Err(Error::usage("its schema is not version 1, the only one that is known"));
            }
            return match document.get(root, "schema").and_then(Pickled::text) {
                Some("psannlm.model") => Ok(Self::Model),
                Some("psannlm.trainer") => Ok(Self::Trainer),
                schema => Err(Error::usage(format!("its schema `{}` is not known", schema.unwrap_or("none")))),
            };
        }
        if has("state_dict") && has("config") {
            return Ok(Self::OlderModel);
        }
        if has("model") && has("optim") {
            return Ok(Self::OlderTrainer);
        }
        let entries = document.entries(root).unwrap_or_default();
        if entries.iter().any(|(_, value)| matches!(value, Pickled::Tensor(_))) {
            return Ok(Self::StateDict);
        }
        let names: Vec<String> =
            entries.iter().take(5).filter_map(|(key, _)| Some(format!("`{}`", key.text()?))).collect();
        let holds = if names.is_empty() { root.describe().to_owned() } else { names.join(", ") };
        Err(Error::usage(format!("it is no model and no checkpoint of the reference: it holds {holds}")))
    }
}

/// Reads a file of the reference. Nothing is held twice: each tensor is read once the whole file is known to fit.
///
/// # Errors
/// When it is none, is damaged, needs options that are not given, or is of a network that is not built. Messages name
/// the file and the entry.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Imported> {
    let (mut archive, document) = Archive::open(path)?;
    let within = |e: Error| e.within(format!("`{}`", path.display()));
    let layout = Layout::of(&document).map_err(within)?;
    let described = match layout {
        Layout::Model => model_file::read(&document, path, true)?,
        Layout::OlderModel => model_file::read(&document, path, false)?,
        Layout::Trainer | Layout::OlderTrainer => trainer_file::read(&document, path, &options.model)?,
        Layout::StateDict => model_file::read_bare(&document, path, &options.model)?,
    };
    let (component, model) = config::component(described.options, &options.model, &described.state, path)?;
    let parameters = described.state.read(model.as_ref(), &mut archive)?;
    let mut imported = Imported {
        layout,
        component,
        model,
        parameters,
        optimizer: None,
        step: 0,
        tokens: 0,
        tokenizer: None,
        notes: Vec::new(),
    };
    if matches!(layout, Layout::Trainer | Layout::OlderTrainer) {
        let progress = trainer_file::progress(&document);
        (imported.step, imported.tokens) = (progress.step, progress.tokens);
        if options.optimizer {
            let model = imported.model.as_ref();
            imported.optimizer = Some(trainer_file::optimizer(&document, &described.state, model, &mut archive)?);
        }
    }
    if layout == Layout::Model {
        let stored = document.get(document.root(), "tokenizer");
        imported.tokenizer = tokenizer::read(&document, stored, &mut imported.notes).map_err(within)?;
    }
    Ok(imported)
}

#[cfg(test)]
mod tests;
