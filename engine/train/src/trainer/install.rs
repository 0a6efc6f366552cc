//! Where a run begins: fresh weights from the seed, or the newest checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use psann_core::initialise::initialise_each;
use psann_core::{Error, Model, Result};
use tch::Tensor;

use super::Job;
use crate::checkpoint::{self, MODEL, OPTIMIZER, State, parameters_of};

/// Installs weights, optimizer state and data position. Gives the checkpoint that the run goes on from, if there is one.
pub fn continue_or_begin(job: &mut Job<'_>) -> Result<Option<(State, PathBuf)>> {
    let Some(folder) = checkpoint::newest(job.directory)? else {
        let seed = i64::from_ne_bytes(job.options.seed.to_ne_bytes());
        job.sharder.install(job.model.segments())?;
        let starts = first_shards(job.model.as_ref());
        let shards = job.sharder.shards();
        initialise_each(job.model.as_ref(), seed, |segment, parameter, value| {
            shards[starts[segment] + parameter].fill(&value);
            Ok(())
        })?;
        return Ok(None);
    };
    job.sharder.install(job.model.segments())?;
    restore(job, folder).map(Some)
}

/// Goes back to the newest checkpoint; `None` when there is none.
pub fn go_back(job: &mut Job<'_>) -> Result<Option<(State, PathBuf)>> {
    let newest = checkpoint::newest(job.directory)?;
    newest.map(|folder| restore(job, folder)).transpose()
}

fn restore(job: &mut Job<'_>, folder: PathBuf) -> Result<(State, PathBuf)> {
    let state = State::read(&folder)?;
    state.check_identity(&job.identity, &folder)?;
    let weights = checkpoint::read_verified(&folder, &state, MODEL)?;
    fill(job, &parameters_of(job.model.as_ref(), weights, &folder.join(MODEL))?);
    let optimizer = checkpoint::read_verified(&folder, &state, OPTIMIZER)?;
    install_optimizer(job, optimizer, &folder.join(OPTIMIZER))?;
    job.stream.seek(&state.cursor).map_err(|e| e.within(format!("`{}`", folder.display())))?;
    Ok((state, folder))
}

fn fill(job: &mut Job<'_>, parameters: &[Vec<Tensor>]) {
    for (shard, value) in job.sharder.shards().iter_mut().zip(parameters.iter().flatten()) {
        shard.fill(value);
    }
}

/// The first shard of each segment.
fn first_shards(model: &dyn Model) -> Vec<usize> {
    let sizes = model.segments().iter().map(|segment| segment.parameters.len());
    sizes.scan(0, |next, size| Some(std::mem::replace(next, *next + size))).collect()
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
