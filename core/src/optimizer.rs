//! [`Optimizer`]: how a shard moves along its gradient.

use tch::Tensor;

use crate::Result;
use crate::collective::Collective;
use crate::model::ParameterSpec;
use crate::sharder::Shard;

/// What is the same for every shard of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// 1-based number of this step.
    pub number: i64,
    /// Factor of the schedule on the optimizer's own learning rate, 0 to 1.
    pub rate: f64,
    /// Factor on every gradient, from clipping by the global norm; 1 when nothing is clipped.
    pub gradient_scale: f64,
}

/// How dimension 0 of a state tensor goes with the rows of its parameter: what a checkpoint needs to know to hand the state
/// to another number of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One entry per row that stands on the rank.
    Rows,
    /// One entry per so many elements of the flattened parameter; the last block may be shorter. Sharders cut parameters
    /// at multiples of [`BLOCK`] elements, so a block never straddles ranks.
    Blocks(i64),
    /// The same on every rank.
    Whole,
}

/// Elements that sharders keep together: the first element of a shard has a multiple of this as its flat index.
pub const BLOCK: i64 = 256;

/// One tensor of an optimizer's state.
#[derive(Debug)]
pub struct StateTensor {
    /// `exp_avg`, …; without dots.
    pub name: String,
    /// Its values for one shard, sharing memory with the optimizer.
    pub tensor: Tensor,
    /// How it is cut.
    pub part: Part,
}

/// Moves parameters. Works on shards, rows `first_row..` of dimension 0: it sees a whole parameter only through sums over
/// ranks in [`Optimizer::prepare`].
pub trait Optimizer: Send {
    /// The learning rate at the top of the schedule.
    fn peak_learning_rate(&self) -> f64;

    /// What a step needs to know of all shards, or of other ranks, before anything moves. Called once a step on every
    /// rank; the list of shards has the same parameters in the same order everywhere, some perhaps without rows.
    /// `ranks` are those that together hold one copy of the model.
    fn prepare(&mut self, shards: &[Shard], step: Step, ranks: &dyn Collective) -> Result<()> {
        let _ = (shards, step, ranks);
        Ok(())
    }

    /// Moves `value`, always fp32, in place. `index` is the shard's place in the list that [`Optimizer::prepare`] saw;
    /// `gradient` is fp32 of the same shape.
    fn step(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        step: Step,
    ) -> Result<()>;

    /// The exact state of shard `index`; empty before its first step.
    fn state(&self, index: usize) -> Vec<StateTensor>;

    /// Takes back what [`Optimizer::state`] gave, by name.
    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()>;

    /// Exact bytes of state for `rows` rows of a parameter, for memory plans.
    fn state_bytes(&self, spec: &ParameterSpec, rows: i64) -> u64;
}
