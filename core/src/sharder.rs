//! [`Sharder`]: where parameters, gradients and optimizer state live.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::collective::{Alone, Collective};
use crate::model::{ParameterSpec, SegmentSpec};

/// Matrices with fewer elements are as good as vectors: they cost nothing and stay fp32.
const SMALL: i64 = 1 << 14;

/// Where a sharder puts things in this process.
#[derive(Clone)]
pub struct Placement {
    /// The device of gathered parameters.
    pub device: Device,
    /// The dtype that gathered matrices are computed in.
    pub compute: Kind,
    /// The dtype of large matrices in shards: fp32, or bf16 with stochastic rounding.
    pub master: Kind,
    /// All ranks of the run.
    pub ranks: Arc<dyn Collective>,
}

impl Placement {
    /// One process with fp32 masters.
    pub fn alone(device: Device, compute: Kind) -> Self {
        Self { device, compute, master: Kind::Float, ranks: Arc::new(Alone { device }) }
    }

    /// The dtype that a parameter is computed in. Norm scales, biases and activation vectors stay fp32: they cost nothing
    /// and their kernels compute in fp32.
    pub fn compute_kind(&self, spec: &ParameterSpec) -> Kind {
        if spec.shape.len() > 1 { self.compute } else { Kind::Float }
    }

    /// The dtype that a parameter is kept in. It follows from the whole parameter, so that it is the same for any number
    /// of ranks.
    pub fn master_kind(&self, spec: &ParameterSpec) -> Kind {
        if spec.shape.len() > 1 && spec.elements() >= SMALL { self.master } else { Kind::Float }
    }
}

/// The part of one parameter that this rank owns.
#[derive(Debug)]
pub struct Shard {
    /// The whole parameter.
    pub spec: ParameterSpec,
    /// Segment the parameter belongs to.
    pub segment: usize,
    /// Its place in the segment.
    pub parameter: usize,
    /// First row (dimension 0) of the parameter that stands here.
    pub first_row: i64,
    /// Master values `[rows, …]`, fp32 or bf16; maybe no rows at all.
    pub value: Tensor,
    /// fp32 gradient of the same shape; `None` until something was reduced into it.
    pub gradient: Option<Tensor>,
}

impl Shard {
    /// Number of rows that stand here.
    pub fn rows(&self) -> i64 {
        self.value.size().first().copied().unwrap_or(1)
    }

    /// Takes this rank's rows out of the whole parameter.
    pub fn fill(&mut self, whole: &Tensor) {
        let rows = self.rows();
        tch::no_grad(|| self.value.copy_(&whole.narrow(0, self.first_row, rows)));
    }
}

/// What a sharder would hold and send, for plans: nothing is allocated.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Rows of each parameter, by segment, on the rank that holds most.
    pub rows: Vec<Vec<i64>>,
    /// How long gathered weights stay.
    pub gathered: Gathering,
    /// The dtype that gradients travel in.
    pub wire: Kind,
    /// Ranks that hold one copy of the model.
    pub copy_ranks: usize,
    /// Whether shards, gradients and optimizer state are in the memory of the host.
    pub offload: bool,
}

/// How long gathered weights stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gathering {
    /// They are the shards themselves, or casts of them.
    InPlace,
    /// While their segment is computed; the next one's come meanwhile.
    Segment,
    /// Until the step ends.
    Step,
}

/// Owns the shards of all segments and moves them between ranks.
///
/// One step: for each segment `gather` … `release` on the way forward, `gather` … `reduce` … `release` on the way
/// back, `finish_reductions`, then the optimizer walks [`Sharder::shards`] and `clear_gradients` ends the step. Every rank
/// makes the same calls in the same order.
pub trait Sharder: Send {
    /// All ranks of the run: each of them reads data of its own.
    fn ranks(&self) -> Arc<dyn Collective>;

    /// The ranks that together hold one copy of the model; norms of gradients and statistics of optimizers are summed
    /// over them.
    fn copy_ranks(&self) -> Arc<dyn Collective> {
        self.ranks()
    }

    /// Whether this rank's shards belong to the copy that checkpoints are made of.
    fn is_saved(&self) -> bool {
        true
    }

    /// What it would hold and send for these segments.
    fn layout(&self, segments: &[SegmentSpec]) -> Layout;

    /// Lays out the parameters of all segments and makes room for what this rank owns; called once. The values are then
    /// filled in through [`Sharder::shards`].
    fn install(&mut self, segments: &[SegmentSpec]) -> Result<()>;

    /// Starts to bring the parameters of `segment` together; returns at once.
    fn start_gather(&mut self, segment: usize) -> Result<()>;

    /// Whole parameters of `segment` in the compute dtype, in spec order; waits for the gather, starting it if nobody did.
    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>>;

    /// Says that the gathered parameters of `segment` are not needed for now.
    fn release(&mut self, segment: usize);

    /// Whether the tensors of an earlier gather are filled again by the next one, so that graphs that were built on them
    /// may outlive a release.
    fn refills(&self) -> bool {
        false
    }

    /// Adds gradients (whole parameters, spec order, `None` for what has none) into the shards, summed over ranks.
    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()>;

    /// An fp32 buffer of the whole parameter's shape that the caller may add a gradient into, in place of passing it to
    /// [`Sharder::reduce`]; `None` when this sharder has no such buffer. Zero before the first use in a step.
    fn gradient_buffer(&mut self, segment: usize, parameter: usize) -> Result<Option<Tensor>>;

    /// Waits until every gradient of the step stands in its shard.
    fn finish_reductions(&mut self) -> Result<()>;

    /// All shards of this rank, in segment and spec order.
    fn shards(&mut self) -> &mut [Shard];

    /// Ends a step: forgets its gradients, and gathered parameters that the optimizer made old.
    fn clear_gradients(&mut self);
}
