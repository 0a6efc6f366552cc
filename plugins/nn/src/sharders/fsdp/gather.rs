//! Weights of a segment: brought together before it is computed, let go after it, brought back for the backward pass into
//! the same tensors, which the segment's graph may have kept.

use psann_core::Result;
use psann_core::collective::{Pending, Rows};
use psann_core::sharder::{Placement, Shard};
use psann_torch::storage;
use tch::{Kind, Tensor};

use super::Fsdp;

/// The weights of one segment.
#[derive(Default)]
pub enum Gathered {
    /// Nothing is known of them in this step.
    #[default]
    None,
    /// On their way.
    OnTheWay(Box<dyn Pending>, Weights),
    /// All there.
    Here(Weights),
    /// Were here in this step; the large ones have no memory now.
    Gone(Weights),
}

/// Whole parameters in spec order.
pub struct Weights {
    parameters: Vec<Tensor>,
    /// The packed tensor that the small ones still have to be taken from.
    packed: Option<Tensor>,
}

impl Gathered {
    /// Lets the memory of large weights go.
    pub fn empty(&mut self) {
        *self = match std::mem::take(self) {
            Self::Here(weights) => {
                // Without memory to give back there is nothing to fail.
                weights.large().for_each(|tensor| drop(storage::empty(tensor)));
                Self::Gone(weights)
            }
            other => other,
        };
    }
}

impl Weights {
    fn large(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().filter(|tensor| is_large(tensor))
    }
}

/// Large weights are gathered into tensors of their own; the packed ones never lose their memory.
fn is_large(tensor: &Tensor) -> bool {
    tensor.numel() as i64 >= super::LARGE && tensor.dim() > 1
}

/// What a shard contributes, in the dtype and on the device of computation.
pub fn computed(shard: &Shard, placement: &Placement) -> Tensor {
    shard.value.to_device(placement.device).to_kind(placement.compute_kind(&shard.spec))
}

impl Fsdp {
    /// Sends this rank's rows of `segment` and makes room for the others', unless that is done or under way.
    pub(super) fn begin_gather(&mut self, segment: usize) -> Result<()> {
        let range = self.segments.range(segment)?;
        let (mut weights, fresh) = match std::mem::take(&mut self.gathered[segment]) {
            Gathered::None => (Weights { parameters: Vec::new(), packed: None }, true),
            Gathered::Gone(weights) => (weights, false),
            other => {
                self.gathered[segment] = other;
                return Ok(());
            }
        };
        let mut parts = Vec::with_capacity(range.len());
        let pack = &self.packs[segment];
        for (parameter, index) in range.enumerate() {
            let shard = &self.shards[index];
            if pack.contains(parameter) {
                if fresh {
                    weights.parameters.push(Tensor::new());
                }
                continue;
            }
            if fresh {
                let options = (self.placement.compute_kind(&shard.spec), self.placement.device);
                weights.parameters.push(Tensor::empty(shard.spec.shape.as_slice(), options));
            } else {
                storage::refill(&weights.parameters[parameter])?;
            }
            parts.push(Rows {
                // An alias with a version counter of its own: to a kept graph, the refilled weights are those it saw.
                whole: weights.parameters[parameter].data(),
                own: computed(shard, &self.placement),
                starts: self.starts[index].clone(),
            });
        }
        if fresh && !pack.is_empty() {
            let all = pack.starts[pack.starts.len() - 1];
            let whole = Tensor::empty([all], (Kind::Float, self.placement.device));
            weights.packed = Some(whole.shallow_clone());
            parts.push(Rows { whole, own: pack.own.to_device(self.placement.device), starts: pack.starts.clone() });
        }
        let pending = self.group.start_gather(parts)?;
        self.gathered[segment] = Gathered::OnTheWay(pending, weights);
        Ok(())
    }

    /// Waits for the weights of `segment`.
    pub(super) fn end_gather(&mut self, segment: usize) -> Result<Vec<Tensor>> {
        let range = self.segments.range(segment)?;
        let weights = match std::mem::take(&mut self.gathered[segment]) {
            Gathered::OnTheWay(pending, mut weights) => {
                pending.wait()?;
                if let Some(packed) = weights.packed.take() {
                    for (parameter, whole) in self.packs[segment].unpack(&packed) {
                        let kind = self.placement.compute_kind(&self.shards[range.start + parameter].spec);
                        weights.parameters[parameter] = whole.to_kind(kind);
                    }
                }
                weights
            }
            Gathered::Here(weights) | Gathered::Gone(weights) => weights,
            Gathered::None => Weights { parameters: Vec::new(), packed: None },
        };
        let parameters = weights.parameters.iter().map(Tensor::shallow_clone).collect();
        self.gathered[segment] = Gathered::Here(weights);
        Ok(parameters)
    }
}
