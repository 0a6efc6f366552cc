//! Where a run begins: fresh weights from the seed, or the newest checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use psann_core::initialise::initialise;
use psann_core::{Error, Result};
use tch::Tensor;

use super::Job;
use crate::checkpoint::{self, MODEL, OPTIMIZER, State, parameters_of};

/// Installs weights, optimizer state and data position. Gives the checkpoint that the run goes on from, if there is one.
pub fn continue_or_begin(job: &mut Job<'_>) -> Result<Option<(State, PathBuf)>> {
    let Some(folder) = checkpoint::newest(job.directory)? else {
        let seed = i64::from_ne_bytes(job.options.seed.to_ne_bytes());
        let parameters = initialise(job.model.as_ref(), seed)?;
        install(job, parameters)?;
        return Ok(None);
    };
    let state = State::read(&folder)?;
    state.check_identity(&job.identity, &folder)?;
    let weights = checkpoint::read_verified(&folder, &state, MODEL)?;
    install(job, parameters_of(job.model.as_ref(), weights, &folder.join(MODEL))?)?;
    let optimizer = checkpoint::read_verified(&folder, &state, OPTIMIZER)?;
    install_optimizer(job, optimizer, &folder.join(OPTIMIZER))?;
    job.stream.seek(&state.cursor).map_err(|e| e.within(format!("`{}`", folder.display())))?;
    Ok(Some((state, folder)))
}

fn install(job: &mut Job<'_>, parameters: Vec<Vec<Tensor>>) -> Result<()> {
    let segments = job.model.segments();
    for (segment, values) in segments.iter().zip(parameters) {
        job.sharder.install(&segment.parameters, values)?;
    }
    Ok(())
}

/// Sorts `NAME.STATE` tensors to the shards they belong to.
fn install_optimizer(job: &mut Job<'_>, tensors: Vec<(String, Tensor)>, path: &Path) -> Result<()> {
    let mut by_parameter: BTreeMap<String, Vec<(String, Tensor)>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some((parameter, state)) = name.rsplit_once('.') else {
            return Err(Error::new(format!("`{}`: `{name}` is no optimizer state", path.display())));
        };
        by_parameter.entry(parameter.to_owned()).or_default().push((state.to_owned(), tensor));
    }
    for (index, shard) in job.sharder.shards().iter().enumerate() {
        if let Some(state) = by_parameter.remove(&shard.spec.name) {
            job.optimizer.load_state(index, state)?;
        }
    }
    match by_parameter.keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::new(format!("`{}`: the model has no parameter `{name}`", path.display()))),
    }
}
