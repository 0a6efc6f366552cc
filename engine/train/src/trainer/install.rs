//! Where a run begins: fresh weights from the seed, or the newest checkpoint.

use std::path::{Path, PathBuf};

use psann_core::initialise::initialise_each;
use psann_core::{Model, Result};

use super::Job;
use crate::checkpoint::{self, State};

/// Installs weights, optimizer state and data position. Gives the checkpoint that the run goes on from, if there is one.
pub fn continue_or_begin(job: &mut Job<'_>) -> Result<Option<(State, PathBuf)>> {
    job.sharder.install(job.model.segments())?;
    if let Some(found) = go_back(job)? {
        return Ok(Some(found));
    }
    let seed = i64::from_ne_bytes(job.options.seed.to_ne_bytes());
    let starts = first_shards(job.model.as_ref());
    let shards = job.sharder.shards();
    initialise_each(job.model.as_ref(), seed, |segment, parameter, value| {
        shards[starts[segment] + parameter].fill(&value);
        Ok(())
    })?;
    Ok(None)
}

/// Goes back to the newest checkpoint, all ranks to the same one; `None` when there is none. What one of them cannot read
/// stops all.
pub fn go_back(job: &mut Job<'_>) -> Result<Option<(State, PathBuf)>> {
    let ranks = job.sharder.ranks();
    let Some(folder) = checkpoint::newest_of_all(job.directory, ranks.as_ref())? else { return Ok(None) };
    let state = checkpoint::agree(read(job, &folder), ranks.as_ref())?;
    Ok(Some((state, folder)))
}

fn read(job: &mut Job<'_>, folder: &Path) -> Result<State> {
    let state = State::read(folder)?;
    state.check_identity(&job.identity, folder)?;
    checkpoint::load_into(folder, &state, job.sharder.as_mut(), job.optimizer.as_mut())?;
    job.stream.seek(&state.cursor).map_err(|e| e.within(format!("`{}`", folder.display())))?;
    Ok(state)
}

/// The first shard of each segment.
fn first_shards(model: &dyn Model) -> Vec<usize> {
    let sizes = model.segments().iter().map(|segment| segment.parameters.len());
    sizes.scan(0, |next, size| Some(std::mem::replace(next, *next + size))).collect()
}
