//! One optimizer step: gradients of all micro-batches, their global norm, and the move.
//!
//! The two halves are apart, so that between them somebody may look at loss and norm and decide against the move. What
//! they look at was summed in rank order: all ranks see the same bits and decide alike.

use std::time::{Duration, Instant};

use psann_core::collective::sum_values;
use psann_core::optimizer::Step;
use psann_core::{Error, Model, Optimizer, Result, Sharder};
use psann_torch::optimizer::{rounding, squared_sum};
use tch::Kind;

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

/// What the gradients of one step are like.
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

impl Outcome {
    /// Fails when loss or norm is no finite number.
    pub fn check_finite(&self, step: u64) -> Result<()> {
        let (what, value) = match (self.loss.is_finite(), self.gradient_norm.is_finite()) {
            (true, true) => return Ok(()),
            (true, false) => ("gradient norm", self.gradient_norm),
            (false, _) => ("loss", self.loss),
        };
        Err(Error::new(format!("the {what} of step {step} is {value}"))
            .hint("lower the optimizer's `lr`, lengthen `schedule.warmup`, or lower `clip`"))
    }
}

/// The number of a step, and what changes with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// 1-based step.
    pub number: u64,
    /// 1-based number of the move; smaller than the step's when moves were left out.
    pub update: u64,
    /// Factor on the optimizer's peak rate.
    pub rate: f64,
    /// Key of this step's random choices: dropout masks, stochastic rounding.
    pub key: u64,
    /// Whether dropout is on.
    pub dropout: bool,
}

impl Moment {
    /// Step `number` of a run that leaves nothing out, at the peak rate and without dropout.
    pub fn plain(number: u64) -> Self {
        Self { number, update: number, rate: 1.0, key: number, dropout: false }
    }
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
        let mut outcome = self.gradients(model, sharder, batches, moment)?;
        outcome.check_finite(moment.number)?;
        self.apply(sharder, optimizer, &mut outcome, moment)?;
        Ok(outcome)
    }

    /// Brings the gradients of a step into the shards.
    pub fn gradients(
        &self,
        model: &dyn Model,
        sharder: &mut dyn Sharder,
        batches: &[MicroBatch],
        moment: Moment,
    ) -> Result<Outcome> {
        let ranks = sharder.ranks();
        let mut targets = [batches.iter().map(MicroBatch::targets).sum::<i64>() as f64];
        sum_values(ranks.as_ref(), &mut targets)?;
        let [targets] = targets;
        if targets == 0.0 {
            return Err(Error::new(format!("the batch of step {} has nothing to predict", moment.number)));
        }
        let settings = StepSettings {
            scale: 1.0 / targets,
            label_smoothing: self.label_smoothing,
            // Ranks see other sequences, so they drop other values.
            dropout_key: moment.dropout.then(|| mixed(moment.key, ranks.rank() as u64)),
        };
        let found = self.executor.step(model, sharder, batches, settings)?;
        let started = Instant::now();
        let (mut loss, mut squares) = ([found.sum], [squared_gradient(sharder)?]);
        sum_values(ranks.as_ref(), &mut loss)?;
        sum_values(sharder.copy_ranks().as_ref(), &mut squares)?;
        Ok(Outcome {
            loss: loss[0] / targets,
            micro_losses: found.micro.iter().map(|(sum, targets)| sum / *targets as f64).collect(),
            gradient_norm: squares[0].sqrt(),
            time: found.time,
            optimizer_time: started.elapsed(),
        })
    }

    /// Moves the weights along the gradients in the shards, which are then forgotten.
    pub fn apply(
        &self,
        sharder: &mut dyn Sharder,
        optimizer: &mut dyn Optimizer,
        outcome: &mut Outcome,
        moment: Moment,
    ) -> Result<()> {
        let started = Instant::now();
        let clips = self.clip > 0.0;
        let gradient_scale = if clips { (self.clip / (outcome.gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        let step = Step { number: moment.update as i64, rate: moment.rate, gradient_scale };
        let ranks = sharder.copy_ranks();
        optimizer.prepare(sharder.shards(), step, ranks.as_ref())?;
        for (index, shard) in sharder.shards().iter_mut().enumerate() {
            // Frozen, or not part of this step's graph: as in PyTorch, nothing moves, decay included.
            let Some(gradient) = &shard.gradient else { continue };
            if shard.value.numel() == 0 {
                continue;
            }
            if shard.value.kind() == Kind::Float {
                optimizer.step(index, &shard.spec, &mut shard.value, gradient, step)?;
                continue;
            }
            // Kept in bf16, moved in fp32, and rounded at random: small moves count on average.
            let mut wide = shard.value.to_kind(Kind::Float);
            optimizer.step(index, &shard.spec, &mut wide, gradient, step)?;
            let inner: i64 = shard.spec.shape.iter().skip(1).product();
            rounding::round(&wide, &mut shard.value, mixed(moment.key, index as u64), shard.first_row * inner)?;
        }
        sharder.clear_gradients();
        outcome.optimizer_time += started.elapsed();
        Ok(())
    }
}

/// A key of its own for `index`: neighbouring keys and indices must share no pattern (SplitMix64's finaliser).
pub fn mixed(key: u64, index: u64) -> u64 {
    let mut key = key.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    key ^ (key >> 31)
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
