//! [`Fake`]: a group whose other ranks do not exist, for dry runs and memory plans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use psann_core::collective::{Done, Pending, Rows, position};
use psann_core::{Collective, Result};
use tch::Device;

use super::moves::Moves;

/// One rank of many. What the others would have sent is zeros, written where it would have arrived, so that a dry run
/// uses the memory of the real one; bytes are counted as if they had been sent.
pub struct Fake {
    rank: usize,
    size: usize,
    device: Device,
    sent: AtomicU64,
}

impl Fake {
    /// Rank `rank` of `size`, on the CPU.
    pub fn new(rank: usize, size: usize) -> Self {
        Self { rank, size, device: Device::Cpu, sent: AtomicU64::new(0) }
    }

    /// The same with tensors on `device`.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    fn pretend(&self, moves: &Moves) -> Result<Box<dyn Pending>> {
        let _no_gradients = tch::no_grad_guard();
        for transfer in &moves.receives {
            let _ = transfer.rows.shallow_clone().f_zero_().map_err(super::libtorch)?;
        }
        moves.copy_own()?;
        self.sent.fetch_add(moves.bytes_sent(), Ordering::Relaxed);
        Ok(Box::new(Done))
    }
}

impl Collective for Fake {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn device(&self) -> Device {
        self.device
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        self.pretend(&Moves::gather(&parts, self.rank, self.size)?)
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        self.pretend(&Moves::exchange(&parts, self.rank, self.size)?)
    }

    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        let rank = position(ranks, self.rank, self.size)?;
        Ok(Arc::new(Self::new(rank, ranks.len()).on(self.device)))
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn own_rows_arrive_the_others_are_zeros_and_all_are_counted() {
        let group = Fake::new(1, 3);
        let whole = Tensor::from_slice(&[f32::NAN; 6]).view([6, 1]);
        let own = Tensor::from_slice(&[5.0_f32, 6.0]).view([2, 1]);
        let rows = Rows { whole: whole.shallow_clone(), own: own.shallow_clone(), starts: vec![0, 3, 5, 6] };
        group.start_gather(vec![rows]).unwrap().wait().unwrap();
        assert_eq!(Vec::<f32>::try_from(whole.view([-1])).unwrap(), [0.0, 0.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(group.bytes_sent(), 2 * 2 * 4);

        let received = Tensor::from_slice(&[f32::NAN; 6]).view([6, 1]);
        let rows = Rows { whole, own: received.shallow_clone(), starts: vec![0, 3, 5, 6] };
        group.start_exchange(vec![rows]).unwrap().wait().unwrap();
        assert_eq!(Vec::<f32>::try_from(received.view([-1])).unwrap(), [0.0, 0.0, 5.0, 6.0, 0.0, 0.0]);
        assert_eq!(group.bytes_sent(), (4 + 4) * 4);
        assert_eq!(group.sum(&Tensor::from(2.5)).unwrap(), Tensor::from(2.5));
        assert_eq!(group.share(b"x").unwrap(), [b"".to_vec(), b"x".to_vec(), b"".to_vec()]);
        assert_eq!(group.subgroup(&[1, 2]).unwrap().rank(), 0);
    }
}
