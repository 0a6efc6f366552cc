//! A run goes on: each rank takes its rows of weights and optimizer state, whatever number of ranks saved them.

use std::collections::BTreeMap;
use std::path::Path;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::Part;
use psann_core::sharder::Shard;
use psann_core::{Error, Optimizer, Result, Sharder, suggest};
use tch::{Device, Tensor};

use super::content::entries;
use super::shards::{Shards, Wanted, Whole};
use super::{OPTIMIZER, State, way_out};

/// Fills the shards of `sharder`, which are laid out, and the state of `optimizer` from the checkpoint in `folder`, whose
/// state is `state`.
///
/// # Errors
/// When a file is missing or damaged, or holds another model.
pub fn load_into(folder: &Path, state: &State, sharder: &mut dyn Sharder, optimizer: &mut dyn Optimizer) -> Result<()> {
    let is_of_optimizer = |name: &str| name.starts_with(OPTIMIZER);
    let mut model =
        Shards::open(folder, state.files.iter().filter(|(name, _)| !is_of_optimizer(name)), way_out(folder))?;
    let shards = sharder.shards();
    check_tensors(&model, shards.iter().map(|shard| &shard.spec), folder)?;
    let wanted =
        shards.iter().map(|s| (s.spec.name.clone(), Wanted { first: s.first_row, into: s.value.shallow_clone() }));
    tch::no_grad(|| model.fill(&wanted.collect()))?;
    let states = Shards::open(folder, state.files.iter().filter(|(name, _)| is_of_optimizer(name)), way_out(folder))?;
    tch::no_grad(|| load_states(folder, states, shards, optimizer))
}

/// Fails unless `shards` holds exactly the parameters of `specs`.
pub fn check_tensors<'a>(
    shards: &Shards,
    specs: impl IntoIterator<Item = &'a ParameterSpec>,
    folder: &Path,
) -> Result<()> {
    let place = folder.display();
    let file = |name: &str| shards.file_of(name).unwrap_or(folder).display();
    let specs: BTreeMap<&str, &ParameterSpec> = specs.into_iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let found = shards.tensors();
    let unknown = || found.keys().map(String::as_str).filter(|name| !specs.contains_key(name));
    for (name, spec) in &specs {
        match found.get(*name) {
            Some(whole) if whole.shape == spec.shape => {}
            // No rank has rows of it.
            None if spec.elements() == 0 => {}
            Some(whole) => {
                let (found, needed) = (&whole.shape, &spec.shape);
                return Err(Error::new(format!(
                    "`{}`: tensor `{name}` has shape {found:?}, the model needs {needed:?}",
                    file(name)
                )));
            }
            None => {
                let error = Error::new(format!("`{place}` has no tensor `{name}`"));
                return Err(match suggest::nearest(name, unknown()) {
                    Some(nearest) => error.hint(format!("it has `{nearest}`; is it of this model?")),
                    None => error.hint("is it of this model?"),
                });
            }
        }
    }
    match unknown().next() {
        None => Ok(()),
        Some(name) => {
            Err(Error::new(format!("`{}`: the model has no parameter `{name}`", file(name)))
                .hint("is it of this model?"))
        }
    }
}

/// Sorts `NAME.STATE` tensors to the shards they belong to.
fn load_states(folder: &Path, mut files: Shards, shards: &[Shard], optimizer: &mut dyn Optimizer) -> Result<()> {
    let mut by_parameter: BTreeMap<&str, Vec<(String, String, Whole)>> = BTreeMap::new();
    let tensors = files.tensors().clone();
    for (name, whole) in &tensors {
        let Some((parameter, state)) = name.rsplit_once('.') else {
            return Err(Error::new(format!("`{}`: `{name}` is no optimizer state", folder.display())));
        };
        by_parameter.entry(parameter).or_default().push((name.clone(), state.to_owned(), whole.clone()));
    }
    // All of them are laid out first, so that each file is read once and from front to back.
    let mut wanted = BTreeMap::new();
    let mut states = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        let mut of_shard = Vec::new();
        for (name, state, whole) in by_parameter.remove(shard.spec.name.as_str()).into_iter().flatten() {
            let mut shape = whole.shape.clone();
            let mut first = 0;
            if let (true, Some(size)) = (whole.part != Part::Whole, shape.first_mut()) {
                let rows = shard.spec.shape.first().copied().unwrap_or(1);
                let all = entries(&shard.spec, whole.part, 0, rows).end;
                if *size != all {
                    return Err(Error::new(format!(
                        "`{}`: tensor `{name}` has {size} entries, `{}` needs {all}",
                        folder.display(),
                        shard.spec.name
                    )));
                }
                let own = entries(&shard.spec, whole.part, shard.first_row, shard.rows());
                first = own.start;
                *size = own.end - own.start;
            }
            let into = Tensor::empty(shape.as_slice(), (whole.kind, Device::Cpu));
            of_shard.push((state, into.shallow_clone()));
            wanted.insert(name, Wanted { first, into });
        }
        states.push((index, of_shard));
    }
    if let Some(name) = by_parameter.keys().next() {
        return Err(Error::new(format!("`{}`: the model has no parameter `{name}`", folder.display())));
    }
    files.fill(&wanted)?;
    for (index, of_shard) in states {
        // Without state, too: a run that goes back to its beginning must forget what it had.
        let device = shards[index].value.device();
        let home = of_shard.into_iter().map(|(name, tensor)| (name, tensor.to_device(device))).collect();
        optimizer.load_state(index, home)?;
    }
    Ok(())
}
