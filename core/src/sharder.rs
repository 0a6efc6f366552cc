//! [`Sharder`]: where parameters, gradients and optimizer state live.

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::model::ParameterSpec;

/// Where a sharder puts things in this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// The device of shards and gathered parameters.
    pub device: Device,
    /// The dtype that gathered parameters are computed in; shards stay fp32.
    pub compute: Kind,
}

/// The part of one parameter that this rank owns.
#[derive(Debug)]
pub struct Shard {
    /// The whole parameter.
    pub spec: ParameterSpec,
    /// Segment the parameter belongs to.
    pub segment: usize,
    /// First row (dimension 0) of the parameter that stands here.
    pub first_row: i64,
    /// fp32 master values, `[rows, …]`.
    pub value: Tensor,
    /// fp32 gradient of the same shape; `None` until something was reduced into it.
    pub gradient: Option<Tensor>,
}

/// Owns the shards of all segments and moves them between ranks.
///
/// One step: for each segment `gather` … `release` on the way forward, `gather` … `reduce` … `release` on the way
/// back, `finish_reductions`, then the optimizer walks [`Sharder::shards`].
pub trait Sharder: Send {
    /// This process's number, 0-based.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn world_size(&self) -> usize;

    /// Takes over the parameters of one segment; `values` are whole fp32 tensors in spec order. Called once per
    /// segment, in order; keeps only what this rank owns.
    fn install(&mut self, specs: &[ParameterSpec], values: Vec<Tensor>) -> Result<()>;

    /// Starts to bring the parameters of `segment` together; returns at once.
    fn start_gather(&mut self, segment: usize) -> Result<()>;

    /// Whole parameters of `segment` in the compute dtype, in spec order; waits for the gather, starting it if nobody did.
    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>>;

    /// Says that the gathered parameters of `segment` are no longer needed.
    fn release(&mut self, segment: usize);

    /// Adds gradients (whole parameters, spec order, `None` for frozen ones) into the shards, summed over ranks.
    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()>;

    /// An fp32 buffer of the whole parameter's shape that the caller may add a gradient into, in place of passing it to
    /// [`Sharder::reduce`]; `None` when this sharder has no such buffer. Zero before the first use in a step.
    fn gradient_buffer(&mut self, segment: usize, parameter: usize) -> Result<Option<Tensor>>;

    /// Waits until every gradient of the step stands in its shard.
    fn finish_reductions(&mut self) -> Result<()>;

    /// All shards of this rank, in segment and spec order.
    fn shards(&mut self) -> &mut [Shard];

    /// Forgets the gradients of the step.
    fn clear_gradients(&mut self);

    /// Sums each value over all ranks, in rank order.
    fn all_reduce(&mut self, values: &mut [f64]) -> Result<()>;
}
