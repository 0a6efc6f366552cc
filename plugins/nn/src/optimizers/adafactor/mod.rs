//! Adafactor (Shazeer and Stern 2018): the second moment of a matrix is kept as one row and one column, so a large model
//! needs next to no optimizer state.
//!
//! Means over rows, and the sizes of a weight and of its update, belong to the whole parameter. Two sums over ranks a step,
//! for all parameters together, make a sharded step equal an unsharded one up to the rounding of sums.

mod moments;
mod options;

use std::collections::BTreeMap;

use moments::{Second, Update};
pub use options::{AdafactorOptions, Rule};
use psann_core::model::ParameterSpec;
use psann_core::optimizer::{Part, StateTensor, Step};
use psann_core::sharder::Shard;
use psann_core::{Collective, Error, Optimizer, Result};
use psann_torch::optimizer::squared_sum;
use tch::{Device, Kind, Tensor};

use super::Groups;

psann_core::register!(Optimizer, "adafactor", AdafactorOptions, Adafactor::new);

/// The optimizer and its state.
#[derive(Debug)]
pub struct Adafactor {
    options: AdafactorOptions,
    /// By shard.
    second: BTreeMap<usize, Second>,
    /// Running means of updates, by shard, when there is a `beta1`.
    first: BTreeMap<usize, Tensor>,
    /// What the current step will do, by shard.
    planned: BTreeMap<usize, Planned>,
}

#[derive(Debug)]
struct Planned {
    update: Update,
    /// The weight becomes `decay * weight - rate * update`.
    decay: f64,
    rate: f64,
}

/// Sums of one shard that all its ranks need: its columns of squared gradients, and three numbers.
struct Sums {
    columns: Option<Tensor>,
    /// Sum of the row moments of a matrix.
    rows: f64,
    /// Squares of the weights.
    weights: f64,
    /// How many ranks have a gradient.
    gradients: f64,
}

impl Adafactor {
    /// Refuses options that do not go together.
    pub fn new(options: AdafactorOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, second: BTreeMap::new(), first: BTreeMap::new(), planned: BTreeMap::new() })
    }

    /// Takes this rank's gradients into the moments as far as that needs no other rank.
    fn local_sums(&mut self, index: usize, shard: &Shard, step: Step) -> Result<Sums> {
        let weight = self.options.weight_of_step(step);
        let second = self.second.entry(index).or_insert_with(|| Second::zeros(&shard.spec, &shard.value));
        let mut sums = Sums { columns: second.column_sums(), rows: 0.0, weights: 0.0, gradients: 0.0 };
        if let Some(gradient) = &shard.gradient {
            sums.columns = second.take_rows(gradient, step.gradient_scale, self.options.added(), weight)?;
            sums.gradients = 1.0;
        }
        sums.rows = second.sum_of_rows();
        if self.options.needs_size_of_weights() {
            sums.weights = squared_sum(&shard.value)?;
        }
        Ok(sums)
    }
}

impl Optimizer for Adafactor {
    fn peak_learning_rate(&self) -> f64 {
        self.options.peak()
    }

    fn prepare(&mut self, shards: &[Shard], step: Step, ranks: &dyn Collective) -> Result<()> {
        self.planned.clear();
        let trained: Vec<(usize, &Shard)> = shards.iter().enumerate().filter(|(_, s)| s.spec.trainable).collect();
        let local = trained.iter().map(|(index, shard)| self.local_sums(*index, shard, step));
        let sums = added_up(local.collect::<Result<Vec<_>>>()?, ranks)?;

        let weight = self.options.weight_of_step(step);
        let mut sizes = Vec::with_capacity(trained.len());
        for ((index, shard), sums) in trained.iter().zip(&sums) {
            let mut size = 0.0;
            if let Some(second) = self.second.get_mut(index).filter(|_| sums.gradients > 0.0) {
                if let Some(columns) = &sums.columns {
                    second.take_columns(columns, shard.spec.shape[0], weight);
                }
                if let Some(gradient) = &shard.gradient {
                    let mean_row = sums.rows / shard.spec.shape.first().map_or(1.0, |rows| *rows as f64);
                    let update = second.update(gradient, step.gradient_scale, mean_row, &self.options);
                    size = update.squared_sum(gradient)?;
                    self.planned.insert(*index, Planned { update, decay: 1.0, rate: 0.0 });
                }
            }
            sizes.push(size);
        }
        let sizes = numbers(&ranks.sum(&Tensor::from_slice(&sizes))?)?;

        for (((index, shard), sums), size) in trained.iter().zip(&sums).zip(sizes) {
            let elements = shard.spec.elements() as f64;
            let Some(planned) = self.planned.get_mut(index) else { continue };
            let decays = shard.spec.decays || self.options.groups == Groups::All;
            let (decay, rate) = self.options.move_of_step(step, (sums.weights / elements).sqrt());
            planned.decay = if decays { decay } else { 1.0 };
            planned.rate = rate / ((size / elements).sqrt() / self.options.d).max(1.0);
        }
        Ok(())
    }

    fn step(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        _step: Step,
    ) -> Result<()> {
        let Some(Planned { update, decay, rate }) = self.planned.remove(&index) else {
            return Err(Error::new(format!("Adafactor was not prepared for the step of `{}`", spec.name)));
        };
        let Some(beta1) = self.options.beta1 else {
            return update.apply(value, gradient, decay, rate);
        };
        let first = self.first.entry(index).or_insert_with(|| value.zeros_like());
        update.apply(first, gradient, beta1, -(1.0 - beta1) * rate)?;
        *value *= decay;
        *value -= &*first;
        Ok(())
    }

    fn state(&self, index: usize) -> Vec<StateTensor> {
        let Some(second) = self.second.get(&index) else { return Vec::new() };
        let mut state = second.state(self.options.rule);
        if let Some(first) = self.first.get(&index) {
            state.push(StateTensor { name: FIRST.into(), tensor: first.shallow_clone(), part: Part::Rows });
        }
        state
    }

    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()> {
        self.first.remove(&index);
        self.second.remove(&index);
        let mut found: BTreeMap<String, Tensor> = state.into_iter().collect();
        if let Some((name, tensor)) = found.iter().find(|(_, tensor)| tensor.kind() != Kind::Float) {
            return Err(Error::new(format!("Adafactor's `{name}` must be fp32, not {:?}", tensor.kind())));
        }
        if let Some(first) = found.remove(FIRST) {
            self.first.insert(index, first);
        }
        if !found.is_empty() {
            self.second.insert(index, Second::load(found, self.options.rule)?);
        }
        Ok(())
    }

    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64 {
        let first = if self.options.beta1.is_some() { spec.elements_of(rows) } else { 0 };
        size_of::<f32>() as u64 * (first + moments::elements(spec, rows))
    }
}

const FIRST: &str = "exp_avg";

/// Adds up over ranks all in one go.
fn added_up(local: Vec<Sums>, ranks: &dyn Collective) -> Result<Vec<Sums>> {
    let mut parts = Vec::new();
    for sums in &local {
        parts.extend(sums.columns.as_ref().map(|columns| columns.to_device(Device::Cpu)));
        parts.push(Tensor::from_slice(&[sums.rows, sums.weights, sums.gradients]));
    }
    if parts.is_empty() {
        return Ok(local);
    }
    let total = ranks.sum(&Tensor::cat(&parts, 0))?;
    let mut at = 0;
    let mut next = |length: i64| {
        at += length;
        total.narrow(0, at - length, length)
    };
    let of_shard = |sums: Sums| {
        let columns = sums.columns.map(|columns| next(columns.numel() as i64).to_device(columns.device()));
        let numbers = numbers(&next(3))?;
        Ok(Sums { columns, rows: numbers[0], weights: numbers[1], gradients: numbers[2] })
    };
    local.into_iter().map(of_shard).collect()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Vec::try_from(tensor).map_err(|e| Error::new("sums over ranks are no list of numbers").because(e))
}
