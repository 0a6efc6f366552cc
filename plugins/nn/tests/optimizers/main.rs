//! Optimizers beside their reference packages, on shards, and across a stop.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod eight_bits;
mod golden;
mod shards;

use psann_core::Optimizer;
use psann_core::collective::{Alone, Collective};
use psann_core::model::ParameterSpec;
use psann_core::optimizer::Step;
use psann_core::sharder::Shard;
use tch::{Device, Kind, Tensor};

/// All of a parameter as one shard.
fn whole(name: &str, value: &Tensor) -> Shard {
    let spec = ParameterSpec { name: name.to_owned(), shape: value.size(), decays: true, trainable: true };
    Shard { spec, segment: 0, parameter: 0, first_row: 0, value: value.copy(), gradient: None }
}

/// One process with the whole model.
const ALONE: Alone = Alone { device: Device::Cpu };

/// One step as the trainer makes it.
fn step(optimizer: &mut dyn Optimizer, shards: &mut [Shard], step: Step, ranks: &dyn Collective) {
    optimizer.prepare(shards, step, ranks).unwrap();
    for (index, shard) in shards.iter_mut().enumerate() {
        let Some(gradient) = &shard.gradient else { continue };
        optimizer.step(index, &shard.spec, &mut shard.value, gradient, step).unwrap();
    }
}

/// Step `number` at full rate.
fn full(number: i64) -> Step {
    Step { number, rate: 1.0, gradient_scale: 1.0 }
}

fn bytes_of(optimizer: &dyn Optimizer, index: usize) -> u64 {
    let size = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    optimizer.state(index).iter().map(|state| size(&state.tensor) as u64).sum()
}

/// Parameters and gradients that several cases share.
struct Stream {
    shards: Vec<Shard>,
    gradients: Vec<Tensor>,
}

impl Stream {
    /// The stream that `case` names.
    fn of(case: &psann_golden::Case) -> Self {
        let name = case.config["stream"].as_str().unwrap();
        let stream = psann_golden::all_cases("psann").into_iter().find(|case| case.name == name).unwrap();
        let io = stream.read("io");
        let names = stream.config["order"].as_array().unwrap();
        let names = names.iter().map(|name| name.as_str().unwrap());
        Self {
            shards: names.clone().map(|name| whole(name, &io[&format!("in.param.{name}")])).collect(),
            gradients: names.map(|name| io[&format!("in.grad.{name}")].to_kind(Kind::Float)).collect(),
        }
    }

    fn steps(&self) -> i64 {
        self.gradients[0].size()[0]
    }

    /// Gives the shards the gradients of 1-based step `number`.
    fn set_gradients(&mut self, number: i64) {
        for (shard, gradients) in self.shards.iter_mut().zip(&self.gradients) {
            shard.gradient = Some(gradients.select(0, number - 1));
        }
    }
}
