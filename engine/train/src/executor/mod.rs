//! The block-wise executor: one driver walks the chain of segments forward and back, and decides by itself what is
//! kept, what is computed again, and when weights come and go. There are no autograd hooks: each segment has a graph
//! of its own that ends at the segment's borders, so everything happens on the calling thread in an order we chose.
//!
//! ```text
//! forward:   wait gather(i) · start gather(i+1) · run segment i · keep its input (or its graph) · release
//! head:      hidden states, then loss and its gradient a few rows at a time: full logits never exist
//! backward:  wait gather(i) · start gather(i−1) · [recompute] · grad(y, [x, weights], gy) · reduce(i) · release
//! ```
//!
//! This is ZeRO-3 and activation checkpointing in one mechanism. Gradients are those of one autograd graph over the
//! whole model, bit for bit in fp32 on one rank: the same operations run in the same order, only cut at the borders.
//!
//! The loss of a step is the sum of cross-entropies over the number of targets of the *whole* step, and gradients are
//! summed. So nothing depends on how a step's sequences are split into micro-batches and ranks, however unevenly
//! targets are spread over them.

mod leaves;
mod pass;

use std::time::{Duration, Instant};

use psann_core::{Error, Model, Result, Sharder};
use psann_torch::loss::{IGNORED, LossOptions, linear_cross_entropy};
use psann_torch::memory::Freed;
use tch::{Kind, Tensor};

use pass::Pass;

/// Sequences that are computed at once.
#[derive(Debug)]
pub struct MicroBatch {
    /// Token ids, int64 `[batch, time]`.
    pub ids: Tensor,
    /// The id that follows each, int64 `[batch, time]`; [`IGNORED`] where none is predicted.
    pub labels: Tensor,
    /// Document number of each id, int64 `[batch, time]`, when documents are kept apart.
    pub documents: Option<Tensor>,
}

impl MicroBatch {
    /// Whether it has no sequences.
    pub fn is_empty(&self) -> bool {
        self.ids.numel() == 0
    }

    /// Positions with a label.
    pub fn targets(&self) -> i64 {
        self.labels.ne(IGNORED).sum(Kind::Int64).int64_value(&[])
    }
}

/// Which segments forget their activations in the forward pass and compute them again in the backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recompute {
    /// None: every graph is kept.
    #[default]
    None,
    /// All of them: only the borders are kept.
    Full,
    /// Every k-th one.
    Every(usize),
}

impl Recompute {
    /// What should become of freed memory: who computes activations twice wants memory more than time.
    pub fn freed_memory(self) -> Freed {
        if self == Self::None { Freed::Kept } else { Freed::Returned }
    }

    /// Whether `segment` computes its activations again.
    pub fn applies_to(self, segment: usize) -> bool {
        match self {
            Self::None => false,
            Self::Full => true,
            Self::Every(k) => segment.is_multiple_of(k.max(1)),
        }
    }
}

/// What one step needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSettings {
    /// Factor on the sum of losses: 1 / targets of the whole step.
    pub scale: f64,
    /// Share of the target probability that is spread over the vocabulary.
    pub label_smoothing: f64,
    /// Key of the step's dropout masks; `None` switches dropout off.
    pub dropout_key: Option<u64>,
}

/// What a step cost and gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepLoss {
    /// Sum of the losses of this rank in nats, not scaled.
    pub sum: f64,
    /// Targets of this rank.
    pub targets: i64,
    /// Sum and targets of each micro-batch.
    pub micro: Vec<(f64, i64)>,
    /// Where the time went.
    pub time: PartTimes,
}

/// Time by part of a step. Work on a device that runs ahead of the host shows where the host waited for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartTimes {
    /// Segments before the head, forward.
    pub forward: Duration,
    /// The head, both ways: last norm, vocabulary product, loss.
    pub head: Duration,
    /// Segments before the head, computed again for the backward pass.
    pub recompute: Duration,
    /// Segments before the head, backward.
    pub backward: Duration,
    /// Bringing weights together and gradients home.
    pub exchange: Duration,
}

/// Runs `work` and adds its time to `part`.
fn timed<T>(part: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *part += start.elapsed();
    result
}

/// Walks models. Holds how, never what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Executor {
    /// Which segments are computed twice.
    pub recompute: Recompute,
    /// Micro-batches that go through a segment before its weights are released; 0 means all. Weights travel once for
    /// them, at the cost of so many boundary activations (with graphs kept: so many graphs).
    pub together: usize,
}

impl Executor {
    /// Loss and gradients of one step: `settings.scale` times the sum of losses over `batches`. Gradients end in the
    /// sharder's shards.
    pub fn step(
        &self,
        model: &dyn Model,
        sharder: &mut dyn Sharder,
        batches: &[MicroBatch],
        settings: StepSettings,
    ) -> Result<StepLoss> {
        let mut loss = StepLoss::default();
        for group in self.groups(batches) {
            let first = loss.micro.len() as u64;
            Pass { model, sharder: &mut *sharder, recompute: self.recompute, settings, first, loss: &mut loss }
                .run(group)?;
        }
        timed(&mut loss.time.exchange, || sharder.finish_reductions())?;
        Ok(loss)
    }

    /// Sum of losses in nats and number of targets of this rank over `batches`, without gradients. Every rank gives as many
    /// micro-batches as the others; those without rows count nothing.
    pub fn evaluate(&self, model: &dyn Model, sharder: &mut dyn Sharder, batches: &[MicroBatch]) -> Result<(f64, i64)> {
        let (mut sum, mut targets) = (0.0, 0);
        for group in self.groups(batches) {
            let (of_group, count) = tch::no_grad(|| evaluate_group(model, sharder, group))?;
            sum += of_group;
            targets += count;
        }
        Ok((sum, targets))
    }

    fn groups<'a>(&self, batches: &'a [MicroBatch]) -> std::slice::Chunks<'a, MicroBatch> {
        let size = if self.together == 0 { batches.len() } else { self.together };
        batches.chunks(size.max(1))
    }
}

fn evaluate_group(model: &dyn Model, sharder: &mut dyn Sharder, group: &[MicroBatch]) -> Result<(f64, i64)> {
    let last = last_segment(model)?;
    let mut states: Vec<Tensor> = group.iter().map(|micro| micro.ids.shallow_clone()).collect();
    for segment in 0..last {
        let parameters = gather(sharder, segment, Some(segment + 1))?;
        for (state, micro) in states.iter_mut().zip(group).filter(|(_, micro)| !micro.is_empty()) {
            let mut context = pass::context(micro, None);
            *state = model.forward(segment, &parameters, state, &mut context)?;
        }
        sharder.release(segment);
    }
    let parameters = gather_head(model, sharder, last, None)?;
    let options = LossOptions { gradients: false, ..LossOptions::default() };
    let (mut sum, mut targets) = (0.0, 0);
    for (state, micro) in states.into_iter().zip(group).filter(|(_, micro)| !micro.is_empty()) {
        let projection = model.project(&parameters, &state)?;
        drop(state);
        let rows = flat(&projection.hidden);
        let labels = micro.labels.reshape([-1]);
        let loss = linear_cross_entropy(&rows, &parameters[projection.weight], &labels, None, &options)?;
        sum += loss.sum;
        targets += loss.targets;
    }
    release_head(model, sharder, last);
    Ok((sum, targets))
}

/// Waits for the weights of the last segment and, behind them, the vocabulary matrix where it is an earlier segment's.
fn gather_head(model: &dyn Model, sharder: &mut dyn Sharder, last: usize, next: Option<usize>) -> Result<Vec<Tensor>> {
    let tied = match model.tied_vocabulary() {
        Some((segment, parameter)) => Some(sharder.gather(segment)?.swap_remove(parameter)),
        None => None,
    };
    let mut parameters = gather(sharder, last, next)?;
    parameters.extend(tied);
    Ok(parameters)
}

/// Lets the weights that [`gather_head`] brought together go.
fn release_head(model: &dyn Model, sharder: &mut dyn Sharder, last: usize) {
    sharder.release(last);
    if let Some((segment, _)) = model.tied_vocabulary() {
        sharder.release(segment);
    }
}

/// Waits for the weights of `segment` and starts to bring those of the segment after it in the walk.
fn gather(sharder: &mut dyn Sharder, segment: usize, next: Option<usize>) -> Result<Vec<Tensor>> {
    let parameters = sharder.gather(segment)?;
    if let Some(next) = next {
        sharder.start_gather(next)?;
    }
    Ok(parameters)
}

fn last_segment(model: &dyn Model) -> Result<usize> {
    match model.segments().len() {
        0 | 1 => Err(Error::new("a model needs at least a first segment and a head")),
        count => Ok(count - 1),
    }
}

/// Hidden states `[batch, time, width]` as rows.
fn flat(hidden: &Tensor) -> Tensor {
    let width = hidden.size().last().copied().unwrap_or(0);
    hidden.detach().reshape([-1, width])
}
