//! Trained models from disk, for those who use them: generation, evaluation, export.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use psann_core::model::ParameterSpec;
use psann_core::plan::Component;
use psann_core::{Error, Model, Result, registry};
use tch::{Device, Kind, Tensor};

use super::restore::check_tensors;
use super::shards::{Shards, Wanted};
use super::{OPTIMIZER, STATE, State, newest, way_out};
use crate::export::{CONFIG, SavedConfig};
use crate::hugging_face;

/// A model with its weights.
pub struct Loaded {
    /// How the registry makes it.
    pub component: Component,
    /// The network.
    pub model: Box<dyn Model>,
    /// fp32 on the CPU, one list per segment, in spec order.
    pub parameters: Vec<Vec<Tensor>>,
    /// Where the run stood; `None` for a saved model.
    pub state: Option<State>,
    /// The folder that was read: a checkpoint or a saved model.
    pub folder: PathBuf,
}

/// A model whose weights are still in their files.
pub struct Found {
    /// How the registry makes it.
    pub component: Component,
    /// The network.
    pub model: Box<dyn Model>,
    /// Exactly the parameters of the network.
    pub weights: Shards,
    /// Where the run stood; `None` for a saved model.
    pub state: Option<State>,
    /// The folder: a checkpoint or a saved model.
    pub folder: PathBuf,
}

/// Loads the model in `directory`: a checkpoint, a saved model, a folder of Hugging Face, or the folder of a training
/// stage, of which the newest checkpoint counts. Takes the memory of the model once.
pub fn load_model(directory: &Path) -> Result<Loaded> {
    let mut found = find_model(directory)?;
    let mut wanted = BTreeMap::new();
    let mut room = |spec: &ParameterSpec| {
        let tensor = Tensor::empty(spec.shape.as_slice(), (Kind::Float, Device::Cpu));
        wanted.insert(spec.name.clone(), Wanted { first: 0, into: tensor.shallow_clone() });
        tensor
    };
    let segments = found.model.segments().iter();
    let parameters = segments.map(|segment| segment.parameters.iter().map(&mut room).collect()).collect();
    found.weights.fill(&wanted)?;
    let Found { component, model, state, folder, .. } = found;
    Ok(Loaded { component, model, parameters, state, folder })
}

/// Finds what [`load_model`] loads.
pub fn find_model(directory: &Path) -> Result<Found> {
    let folder = if directory.join(STATE).is_file() || directory.join(CONFIG).is_file() {
        directory.to_owned()
    } else if let Some(checkpoint) = newest(directory)? {
        checkpoint
    } else {
        return Err(Error::usage(format!("`{}` holds no trained model", directory.display()))
            .hint("name the folder of a run, a checkpoint, or a saved model"));
    };
    let (component, state, weights) = if folder.join(STATE).is_file() {
        let state = State::read(&folder)?;
        let files = state.files.iter().filter(|(name, _)| !name.starts_with(OPTIMIZER));
        let weights = Shards::open(&folder, files, way_out(&folder))?;
        (state.model.clone(), Some(state), weights)
    } else if hugging_face::is_folder(&folder) {
        return hugging_face::find(&folder);
    } else {
        let config = SavedConfig::read(&folder)?;
        let weights = Shards::open(&folder, &config.weights, "save the model again")?;
        (config.model, None, weights)
    };
    let model = registry::model(&component.name, &component.options)?;
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    check_tensors(&weights, specs, &folder)?;
    Ok(Found { component, model, weights, state, folder })
}
