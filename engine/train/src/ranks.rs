//! The ranks of a run: who this process is among them, how they exchange tensors, and what they tell each other between
//! stages.

use std::sync::Arc;
use std::time::Duration;

use psann_core::collective::Alone;
use psann_core::{Collective, Error, Result};
use psann_torch::distributed::{Rendezvous, Store, connect};
use tch::Device;

use crate::launch::World;

/// How long ranks wait for one another in one operation: the slowest thing between two is a checkpoint.
const TIMEOUT: Duration = Duration::from_mins(10);

/// All ranks of a run, seen from one of them.
#[derive(Clone)]
pub struct Ranks {
    /// Who this is.
    pub world: World,
    /// Where this rank computes.
    pub device: Device,
    /// All of them.
    pub group: Arc<dyn Collective>,
    /// Where they met; `None` for one.
    store: Option<Arc<Store>>,
}

impl Ranks {
    /// Meets the others of `world`.
    ///
    /// # Errors
    /// When some never come, or `device` has no process groups in this build.
    pub fn join(world: World, device: Device) -> Result<Self> {
        if world.size == 1 {
            return Ok(Self { world, device, group: Arc::new(Alone { device }), store: None });
        }
        let rendezvous = Rendezvous {
            address: world.address.clone(),
            port: world.port,
            rank: world.rank,
            size: world.size,
            prefix: world.store_prefix(),
            hosted: world.agent_store,
            timeout: TIMEOUT,
        };
        let (group, store) = connect(&rendezvous, device)?;
        Ok(Self { world, device, group, store: Some(store) })
    }

    /// Meets the others of `world`, all on the CPU.
    pub fn on_cpu(world: World) -> Result<Self> {
        Self::join(world, Device::Cpu)
    }

    /// A process by itself.
    pub fn alone(device: Device) -> Self {
        Self { world: World::alone(), device, group: Arc::new(Alone { device }), store: None }
    }

    /// Whether this is the rank that does what one rank must do.
    pub fn is_first(&self) -> bool {
        self.group.rank() == 0
    }

    /// Tells the other ranks what became of `what`, once.
    pub fn announce(&self, what: &str, outcome: &str) -> Result<()> {
        match &self.store {
            Some(store) => store.set(what, outcome.as_bytes()),
            None => Ok(()),
        }
    }

    /// What the first rank announced of `what`; waits as long as it takes, or until the first rank is gone.
    pub fn hear(&self, what: &str) -> Result<String> {
        let Some(store) = &self.store else { return Err(Error::new(format!("nobody announces `{what}`"))) };
        loop {
            if store.wait(&[what], TIMEOUT).is_ok() || store.contains(what)? {
                let bytes = store.get(what)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
}
