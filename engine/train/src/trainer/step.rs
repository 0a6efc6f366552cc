//! One optimizer step: gradients of all micro-batches, their global norm, and the move.

use std::time::{Duration, Instant};

use psann_core::optimizer::Step;
use psann_core::{Error, Model, Optimizer, Result, Sharder};
use psann_torch::optimizer::squared_sum;

use crate::executor::{Executor, MicroBatch, PartTimes, StepSettings};

/// How steps are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stepper {
    /// How the model is walked.
    pub executor: Executor,
    /// Greatest norm of the whole gradient; 0 for no clipping.
    pub clip: f64,
    /// Share of the target probability that is spread over the vocabulary.
    pub label_smoothing: f64,
}

/// What one step gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Mean loss over the targets of all ranks, in nats.
    pub loss: f64,
    /// Mean loss of each of this rank's micro-batches; NaN for one without a target.
    pub micro_losses: Vec<f64>,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Where the time of both passes went.
    pub time: PartTimes,
    /// Norm and optimizer.
    pub optimizer_time: Duration,
}

/// The number of a step, and what changes with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// 1-based step.
    pub number: u64,
    /// Factor on the optimizer's peak rate.
    pub rate: f64,
    /// Key of this step's dropout masks.
    pub dropout_key: Option<u64>,
}

impl Stepper {
    /// Makes one step on `batches`, this rank's share.
    ///
    /// # Errors
    /// When loss or gradient are no finite numbers: the weights are then left as they were.
    pub fn step(
        &self,
        model: &dyn Model,
        sharder: &mut dyn Sharder,
        optimizer: &mut dyn Optimizer,
        batches: &[MicroBatch],
        moment: Moment,
    ) -> Result<Outcome> {
        let mut targets = [batches.iter().map(MicroBatch::targets).sum::<i64>() as f64];
        sharder.all_reduce(&mut targets)?;
        let [targets] = targets;
        if targets == 0.0 {
            return Err(Error::new(format!("the batch of step {} has nothing to predict", moment.number)));
        }
        let settings = StepSettings {
            scale: 1.0 / targets,
            label_smoothing: self.label_smoothing,
            dropout_key: moment.dropout_key,
        };
        let found = self.executor.step(model, sharder, batches, settings)?;
        let started = Instant::now();
        let mut sums = [found.sum, squared_gradient(sharder)?];
        sharder.all_reduce(&mut sums)?;
        let (loss, gradient_norm) = (sums[0] / targets, sums[1].sqrt());
        if !loss.is_finite() || !gradient_norm.is_finite() {
            let what = if loss.is_finite() { "gradient norm" } else { "loss" };
            let value = if loss.is_finite() { gradient_norm } else { loss };
            return Err(Error::new(format!("the {what} of step {} is {value}", moment.number))
                .hint("lower the optimizer's `lr`, lengthen `schedule.warmup`, or lower `clip`"));
        }
        let gradient_scale = if self.clip > 0.0 { (self.clip / (gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        let step = Step { number: moment.number as i64, rate: moment.rate, gradient_scale };
        for (index, shard) in sharder.shards().iter_mut().enumerate() {
            // Frozen, or not part of this step's graph: as in PyTorch, nothing moves, decay included.
            let Some(gradient) = &shard.gradient else { continue };
            optimizer.step(index, &shard.spec, &mut shard.value, gradient, step)?;
        }
        sharder.clear_gradients();
        let micro_losses = found.micro.iter().map(|(sum, targets)| sum / *targets as f64).collect();
        Ok(Outcome { loss, micro_losses, gradient_norm, time: found.time, optimizer_time: started.elapsed() })
    }
}

/// Sum of squares over the gradients of this rank's shards.
fn squared_gradient(sharder: &mut dyn Sharder) -> Result<f64> {
    let mut sum = 0.0;
    for shard in sharder.shards() {
        if let Some(gradient) = &shard.gradient {
            sum += squared_sum(gradient)?;
        }
    }
    Ok(sum)
}
