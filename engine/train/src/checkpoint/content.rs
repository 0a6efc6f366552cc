//! [`Content`]: the rows that one rank saves, and which rows of a state go with which rows of its parameter.

use std::ops::Range;

use psann_core::model::ParameterSpec;
use psann_core::optimizer::{Part, StateTensor};
use psann_core::sharder::Shard;
use psann_core::{Error, Optimizer, Result, Sharder};
use tch::Device;

use super::tensors::Rows;

/// What one rank writes.
#[derive(Debug, Default)]
pub struct Content {
    /// Rows of weights.
    pub model: Vec<Rows>,
    /// Rows of `NAME.STATE`.
    pub optimizer: Vec<Rows>,
}

impl Content {
    /// What this rank owns, sharing memory with `sharder` and `optimizer`; nothing for a rank whose rows another one saves.
    pub fn of(sharder: &mut dyn Sharder, optimizer: &dyn Optimizer) -> Result<Self> {
        let mut content = Self::default();
        if !sharder.is_saved() {
            return Ok(content);
        }
        for (index, shard) in sharder.shards().iter().enumerate() {
            if shard.value.numel() == 0 {
                // A state without rows, or that of another rank as well.
                continue;
            }
            let spec = &shard.spec;
            let tensor = shard.value.shallow_clone();
            content.model.push(Rows { name: spec.name.clone(), tensor, first: shard.first_row, part: Part::Rows });
            for state in optimizer.state(index) {
                content.optimizer.extend(rows_of(shard, state)?);
            }
        }
        Ok(content)
    }

    /// A copy of its own in the memory of the host.
    #[must_use]
    pub fn detached(self) -> Self {
        let detach = |rows: Rows| {
            let host = rows.tensor.device() == Device::Cpu;
            let tensor = if host { rows.tensor.copy() } else { rows.tensor.to_device(Device::Cpu) };
            Rows { tensor: tensor.detach(), ..rows }
        };
        let all = |rows: Vec<Rows>| rows.into_iter().map(detach).collect();
        Self { model: all(self.model), optimizer: all(self.optimizer) }
    }
}

/// What is saved of a state of `shard`: what every rank has alike is saved by the owner of the first row.
fn rows_of(shard: &Shard, state: StateTensor) -> Result<Option<Rows>> {
    let name = format!("{}.{}", shard.spec.name, state.name);
    if state.part == Part::Whole {
        let rows = Rows { name, tensor: state.tensor, first: 0, part: state.part };
        return Ok((shard.first_row == 0).then_some(rows));
    }
    let expected = entries(&shard.spec, state.part, shard.first_row, shard.rows());
    let found = state.tensor.size().first().copied().unwrap_or(1);
    if found != expected.end - expected.start {
        return Err(Error::new(format!(
            "state `{}` of `{}` has {found} entries for {} rows, {} are {} entries",
            state.name,
            shard.spec.name,
            shard.rows(),
            describe(state.part),
            expected.end - expected.start,
        ))
        .hint("it is a mistake in the optimizer's plugin"));
    }
    Ok((found > 0).then_some(Rows { name, tensor: state.tensor, first: expected.start, part: state.part }))
}

/// The entries of dimension 0 of a state that go with `rows` rows of its parameter, of which `first` is the first. Not for
/// [`Part::Whole`], which has no rows.
pub fn entries(spec: &ParameterSpec, part: Part, first: i64, rows: i64) -> Range<i64> {
    match part {
        Part::Rows | Part::Whole => first..first + rows,
        Part::Blocks(elements) => {
            let start = spec.elements_of(first) as i64;
            let end = start + spec.elements_of(rows) as i64;
            // No rows, no block: the first one would begin where another rank's last one ends.
            let block = |element: i64| (element as u64).div_ceil(elements.unsigned_abs()) as i64;
            block(start)..block(end)
        }
    }
}

fn describe(part: Part) -> String {
    match part {
        Part::Rows | Part::Whole => "rows".to_owned(),
        Part::Blocks(elements) => format!("blocks of {elements}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_neighbours_meet_whatever_they_count() {
        let spec = ParameterSpec { name: "w".into(), shape: vec![5, 384], decays: true, trainable: true };
        // As fsdp cuts five rows of 384 into two: at a multiple of 256 elements.
        let of = |part, first, rows| entries(&spec, part, first, rows);
        assert_eq!((of(Part::Rows, 0, 4), of(Part::Rows, 4, 1)), (0..4, 4..5));
        assert_eq!((of(Part::Blocks(256), 0, 4), of(Part::Blocks(256), 4, 1)), (0..6, 6..8));
        assert_eq!((of(Part::Blocks(1), 0, 4), of(Part::Blocks(1), 4, 1)), (0..1536, 1536..1920));
        assert!(of(Part::Blocks(256), 5, 0).is_empty());
    }
}
