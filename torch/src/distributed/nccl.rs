//! [`Nccl`]: a group of processes on GPUs, one each, over c10d's NCCL.
//!
//! Operations run on NCCL's own stream, which waits for what the current stream was given so far; waiting for one makes
//! the current stream wait and returns at once. All that an operation moves is coalesced into one launch. A rank that
//! is lost ends the process through c10d's watchdog after the timeout, as it does under PyTorch.
//!
//! Compiled against the headers of CUDA 13.0 and NCCL 2.29.7, never run on hardware. Compiling needs no CUDA toolkit:
//! the wheels `nvidia-cuda-runtime`, `nvidia-cuda-crt`, `nvidia-cuda-cccl` and `nvidia-nccl-cu13` hold the headers, and
//! `csrc/cuda_stubs` stands in for those of libraries that nothing here uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use psann_core::collective::{Done, Pending, Rows, position};
use psann_core::{Collective, Error, Result};
use tch::Device;

use super::ffi::{Backend, Work};
use super::moves::Moves;
use super::store::Store;

/// A group over NCCL.
pub struct Nccl {
    rank: usize,
    size: usize,
    device: usize,
    store: Arc<Store>,
    abandoned: Arc<Abandoned>,
    backend: Backend,
    subgroups: AtomicU64,
    sent: AtomicU64,
}

/// Operations that nobody waited for, with their tensors.
type Abandoned = Mutex<Vec<(Work, Vec<Rows>)>>;

impl Nccl {
    /// Connects the `size` ranks that meet at `store`, this one with the GPU of number `device`.
    pub fn new(store: Arc<Store>, rank: usize, size: usize, device: usize) -> Result<Self> {
        let backend =
            Backend::nccl(store.prefixed("nccl")?.handle(), rank, size, store.timeout(), device).map_err(|error| {
                Error::new(format!("rank {rank} cannot connect GPU {device} to the other ranks"))
                    .hint("each rank needs a GPU of its own; NCCL_DEBUG=INFO tells what NCCL tried")
                    .because(error)
            })?;
        Ok(Self {
            rank,
            size,
            device,
            store,
            abandoned: Arc::default(),
            backend,
            subgroups: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    fn start(&self, parts: Vec<Rows>, moves: &Moves, gathers: bool) -> Result<Box<dyn Pending>> {
        lock(&self.abandoned).retain(|(work, _)| !work.is_completed());
        self.sent.fetch_add(moves.bytes_sent(), Ordering::Relaxed);
        moves.copy_own()?;
        if moves.receives.is_empty() && moves.sends.is_empty() {
            return Ok(Box::new(Done));
        }
        let work = if gathers && parts.iter().all(is_even) {
            // What NCCL knows to route best.
            let (wholes, owns): (Vec<_>, Vec<_>) = parts.iter().map(|rows| (&rows.whole, &rows.own)).unzip();
            self.backend.gather_even(&wholes, &owns)?
        } else {
            self.coalesced(moves)?
        };
        Ok(Box::new(Ordered { work: Some(work), parts, abandoned: Arc::clone(&self.abandoned) }))
    }

    fn coalesced(&self, moves: &Moves) -> Result<Work> {
        self.backend.start_coalescing()?;
        let receives = moves.receives.iter().map(|transfer| self.backend.receive(&transfer.rows, transfer.peer, 0));
        let sends = moves.sends.iter().map(|transfer| self.backend.send(&transfer.rows, transfer.peer, 0));
        // The work of each is that of all, which the end of coalescing returns.
        let posted: Result<Vec<Work>> = receives.chain(sends).collect();
        let work = self.backend.end_coalescing();
        posted.and(work)
    }
}

/// Whether all ranks have equally many rows.
fn is_even(rows: &Rows) -> bool {
    rows.whole.numel() > 0 && rows.starts.windows(3).all(|ends| ends[1] - ends[0] == ends[2] - ends[1])
}

/// An operation that a stream can be made to wait for.
struct Ordered {
    work: Option<Work>,
    parts: Vec<Rows>,
    abandoned: Arc<Abandoned>,
}

impl Pending for Ordered {
    fn is_done(&self) -> bool {
        self.work.as_ref().is_none_or(Work::is_completed)
    }

    fn wait(mut self: Box<Self>) -> Result<()> {
        // The tensors may go afterwards: whoever gets their memory next comes later in the stream.
        self.work.take().map_or(Ok(()), |work| work.synchronize())
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            lock(&self.abandoned).push((work, std::mem::take(&mut self.parts)));
        }
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn device(&self) -> Device {
        Device::Cuda(self.device)
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let moves = Moves::gather(&parts, self.rank, self.size)?;
        self.start(parts, &moves, true)
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let moves = Moves::exchange(&parts, self.rank, self.size)?;
        self.start(parts, &moves, false)
    }

    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        let rank = position(ranks, self.rank, self.size)?;
        let store = self.store.of_subgroup(self.subgroups.fetch_add(1, Ordering::Relaxed), ranks)?;
        Ok(Arc::new(Self::new(Arc::new(store), rank, ranks.len(), self.device)?))
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn lock(abandoned: &Abandoned) -> std::sync::MutexGuard<'_, Vec<(Work, Vec<Rows>)>> {
    abandoned.lock().unwrap_or_else(PoisonError::into_inner)
}
