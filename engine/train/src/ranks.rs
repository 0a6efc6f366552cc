//! Joins the ranks of a run.

use std::sync::Arc;
use std::time::Duration;

use psann_core::{Collective, Result};
use psann_torch::distributed::{Rendezvous, Store, connect};
use tch::Device;

/// Joins.
pub fn join(rank: usize, size: usize, port: u16, device: Device) -> Result<(Arc<dyn Collective>, Arc<Store>)> {
    let rendezvous = Rendezvous {
        address: "127.0.0.1".into(),
        port,
        rank,
        size,
        prefix: "p".into(),
        hosted: false,
        timeout: Duration::from_secs(60),
    };
    connect(&rendezvous, device)
}

/// On the CPU.
pub fn join_cpu(rank: usize, size: usize, port: u16) -> Result<(Arc<dyn Collective>, Arc<Store>)> {
    join(rank, size, port, Device::Cpu)
}
