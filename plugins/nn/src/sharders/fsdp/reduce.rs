//! Gradients of a segment: every rank sends each owner the rows that are its, and owners add up what came, in rank order.
//!
//! One segment's gradients are on their way while the next segment's are computed, never more: that bounds the memory.

use psann_core::Result;
use psann_core::collective::{Pending, Rows};
use tch::{Kind, Tensor};

use super::Fsdp;

/// Gradients on their way.
pub struct Reduction {
    pending: Box<dyn Pending>,
    segment: usize,
    /// Shard, and what comes for it from all ranks: `[ranks · rows, …]`.
    large: Vec<(usize, Tensor)>,
    /// What comes for the packed ones, `[ranks · elements]`, and which of them have gradients.
    packed: Option<(Tensor, Vec<bool>)>,
}

impl Fsdp {
    /// Sends the gradients of `segment` home. `None` must be `None` on all ranks.
    pub(super) fn begin_reduction(&mut self, segment: usize, mut gradients: Vec<Option<Tensor>>) -> Result<()> {
        let range = self.segments.range(segment)?;
        for (gradient, index) in gradients.iter_mut().zip(range.clone()) {
            if let Some(buffer) = self.buffers.remove(&index) {
                *gradient = Some(match gradient.take() {
                    Some(more) => buffer + more,
                    None => buffer,
                });
            }
        }
        if self.is_alone() {
            for (gradient, index) in gradients.into_iter().zip(range) {
                if let Some(gradient) = gradient {
                    self.add(index, &gradient);
                }
            }
            return Ok(());
        }
        let (ranks, rank, device) = (self.group.size() as i64, self.group.rank(), self.placement.device);
        let pack = &self.packs[segment];
        let (mut parts, mut large) = (Vec::new(), Vec::new());
        for (parameter, index) in range.enumerate() {
            let Some(gradient) = gradients[parameter].take_if(|_| !pack.contains(parameter)) else { continue };
            let mut shape = self.shards[index].spec.shape.clone();
            shape[0] = ranks * self.shards[index].rows();
            let own = Tensor::empty(shape.as_slice(), (self.wire, device));
            large.push((index, own.shallow_clone()));
            let whole = gradient.to_kind(self.wire).contiguous();
            parts.push(Rows { whole, own, starts: self.starts[index].clone() });
        }
        let has: Vec<bool> = gradients.iter().map(Option::is_some).collect();
        let packed = if has.contains(&true) {
            let own = Tensor::empty([ranks * (pack.starts[rank + 1] - pack.starts[rank])], (Kind::Float, device));
            let whole = pack.pack(&gradients, device);
            parts.push(Rows { whole, own: own.shallow_clone(), starts: pack.starts.clone() });
            Some((own, has))
        } else {
            None
        };
        let pending = self.group.start_exchange(parts)?;
        self.reduction = Some(Reduction { pending, segment, large, packed });
        Ok(())
    }

    /// Waits for the gradients on their way and adds them up.
    pub(super) fn end_reduction(&mut self) -> Result<()> {
        let Some(reduction) = self.reduction.take() else { return Ok(()) };
        reduction.pending.wait()?;
        let (ranks, rank) = (self.group.size() as i64, self.group.rank());
        for (index, from_all) in reduction.large {
            let sum = sum_parts(&from_all, ranks);
            self.add(index, &sum);
        }
        if let Some((from_all, has)) = reduction.packed {
            let sums = sum_parts(&from_all, ranks).to_device(self.home);
            let first = self.segments.range(reduction.segment)?.start;
            for (parameter, gradient) in self.packs[reduction.segment].shards_of(&sums, rank) {
                if has[parameter] {
                    self.add(first + parameter, &gradient);
                }
            }
        }
        Ok(())
    }

    /// Adds `gradient` to that of a shard.
    fn add(&mut self, index: usize, gradient: &Tensor) {
        let gradient = gradient.to_device(self.home).to_kind(Kind::Float);
        let shard = &mut self.shards[index];
        match &mut shard.gradient {
            // The first one is taken as it is: no zeros, no sum.
            None => shard.gradient = Some(gradient),
            Some(sum) => drop(sum.g_add_(&gradient)),
        }
    }

    /// Sums gradients over the copies of the model, once a step.
    pub(super) fn sum_over_replicas(&mut self) -> Result<()> {
        let Some(replicas) = &self.replicas else { return Ok(()) };
        for shard in &mut self.shards {
            if let Some(gradient) = &mut shard.gradient {
                *gradient = replicas.sum(gradient)?;
            }
        }
        Ok(())
    }
}

/// Adds `ranks` equal parts along dimension 0 in their order, in fp32.
fn sum_parts(parts: &Tensor, ranks: i64) -> Tensor {
    let rows = parts.size()[0] / ranks;
    let part = |rank: i64| parts.narrow(0, rank * rows, rows);
    let first = part(0).to_kind(Kind::Float);
    let mut sum = first + part(1);
    for rank in 2..ranks {
        sum = sum.g_add_(&part(rank));
    }
    sum
}
