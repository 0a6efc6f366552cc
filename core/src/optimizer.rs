//! [`Optimizer`]: how a shard moves along its gradient.

use tch::Tensor;

use crate::Result;
use crate::model::ParameterSpec;

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

/// Moves parameters. Works on shards: it never needs a whole parameter unless it says so.
pub trait Optimizer: Send {
    /// The learning rate at the top of the schedule.
    fn peak_learning_rate(&self) -> f64;

    /// Moves `value` in place. `index` names the shard in [`Optimizer::state`]; `gradient` is fp32 of the same shape.
    fn step(
        &mut self,
        index: usize,
        spec: &ParameterSpec,
        value: &mut Tensor,
        gradient: &Tensor,
        step: Step,
    ) -> Result<()>;

    /// The exact state of shard `index`, by name (`exp_avg`, …); empty before its first step.
    fn state(&self, index: usize) -> Vec<(String, Tensor)>;

    /// Takes back what [`Optimizer::state`] gave.
    fn load_state(&mut self, index: usize, state: Vec<(String, Tensor)>) -> Result<()>;

    /// Bytes of state per element, for memory plans.
    fn bytes_per_element(&self) -> f64;
}
