//! Groups of processes: how the ranks of a run meet and how tensors get from one to another.
//!
//! | module | what |
//! |---|---|
//! | [`rendezvous`], [`store`] | ranks find one another |
//! | [`gloo`] | a group on CPUs |
//! | `nccl` | a group on GPUs; with the feature `cuda` |
//! | [`fake`] | a group of one process that plays one rank of many |
//! | [`slow`] | a group behind a simulated network |
//!
//! All but NCCL's constructor is in `csrc/distributed.cpp`: c10d's headers come with libtorch, Gloo's do not, so a few
//! declarations of ours stand in for them (`csrc/gloo_stubs`).
//!
//! Before a process leaves its group it calls [`Collective::barrier`]: rank 0 may serve the store that others read.

mod completion;
pub mod fake;
mod ffi;
pub mod gloo;
mod moves;
#[cfg(feature = "cuda")]
pub mod nccl;
pub mod rendezvous;
pub mod slow;
pub mod store;
mod witness;

use std::sync::Arc;

use psann_core::collective::Alone;
use psann_core::{Collective, Error, Result};
use tch::Device;

pub use fake::Fake;
pub use gloo::Gloo;
#[cfg(feature = "cuda")]
pub use nccl::Nccl;
pub use rendezvous::Rendezvous;
pub use slow::SlowLink;
pub use store::Store;

/// Joins a run: the group of all its ranks, over Gloo or NCCL as `device` asks for, and the store at which they met.
pub fn connect(rendezvous: &Rendezvous, device: Device) -> Result<(Arc<dyn Collective>, Arc<Store>)> {
    let store = rendezvous.join()?;
    let Rendezvous { rank, size, .. } = *rendezvous;
    let own = Arc::clone(&store);
    let group: Arc<dyn Collective> = match device {
        _ if size == 1 => Arc::new(Alone { device }),
        Device::Cpu => {
            Arc::new(Gloo::new(own, rank, size, rendezvous.own_address().map(|address| address.to_string()))?)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => Arc::new(Nccl::new(own, rank, size, device)?),
        other => {
            return Err(Error::usage(format!("ranks on {other:?} cannot exchange tensors with this psann"))
                .hint("build it with the cargo feature `cuda` for GPUs of NVIDIA, or train on the CPU"));
        }
    };
    Ok((group, store))
}

fn libtorch(error: tch::TchError) -> Error {
    Error::new("libtorch failed").because(error)
}
