//! [`Gloo`]: a group of processes on CPUs, over c10d's Gloo.
//!
//! Gloo's own all-gather copies everything twice and its reduce-scatter is an all-reduce in disguise, so gathers and
//! exchanges are made of sends and receives: data go from the sender's tensor to their place in the receiver's, through
//! no buffer and no worker thread of c10d, and any number of operations can be under way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use psann_core::collective::{Pending, Rows, position};
use psann_core::{Collective, Error, Result};
use tch::Device;

use super::completion::Completion;
use super::ffi::{Backend, Work};
use super::moves::{Moves, Transfer};
use super::store::Store;
use super::witness::Witness;

/// Tags are non-negative 32-bit numbers; they start over long after the messages that carried them arrived.
const TAGS: usize = i32::MAX as usize;

/// A group over Gloo.
pub struct Gloo {
    rank: usize,
    size: usize,
    store: Arc<Store>,
    witness: Witness,
    /// This machine's address on the network that the ranks share.
    address: Option<String>,
    timeout: Duration,
    /// Declared before the backend, so that nothing is under way when the backend goes.
    completion: Completion,
    backend: Backend,
    /// Next tag. Held while an operation is posted, so that operations of several threads do not mix.
    tag: Mutex<usize>,
    subgroups: AtomicU64,
    sent: AtomicU64,
}

impl Gloo {
    /// Connects the `size` ranks that meet at `store`. `address` is this machine's own on the network to use; the
    /// interfaces in `GLOO_SOCKET_IFNAME` win over it.
    pub fn new(store: Arc<Store>, rank: usize, size: usize, address: Option<String>) -> Result<Self> {
        let witness = Witness::new(Arc::clone(&store), size);
        Self::connect(store, witness, rank, address)
    }

    fn connect(store: Arc<Store>, witness: Witness, rank: usize, address: Option<String>) -> Result<Self> {
        let (size, timeout) = (witness.names.len(), store.timeout());
        let named = std::env::var_os("GLOO_SOCKET_IFNAME").is_some_and(|name| !name.is_empty());
        let chosen = address.as_deref().filter(|_| !named);
        let backend =
            Backend::gloo(store.prefixed("gloo")?.handle(), rank, size, timeout, chosen).map_err(|error| {
                Error::new(format!("rank {} cannot connect to the other ranks", witness.names[rank]))
                    .hint("if the machines have several networks, name the interface to use in GLOO_SOCKET_IFNAME")
                    .because(error)
            })?;
        let completion = Completion::start(witness.clone(), timeout)?;
        Ok(Self {
            rank,
            size,
            store,
            witness,
            address,
            timeout,
            completion,
            backend,
            tag: Mutex::new(0),
            subgroups: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    /// How long an operation may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    fn start(&self, moves: &Moves, parts: usize) -> Result<Box<dyn Pending>> {
        self.completion.check()?;
        let mut works = VecDeque::with_capacity(moves.receives.len() + moves.sends.len());
        let mut next = self.tag.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *next;
        *next = (first + parts) % TAGS;
        let tag = |transfer: &Transfer| ((first + transfer.part) % TAGS) as i32;
        let posted = |peer: usize, work: Result<Work>| {
            work.map(|work| (peer, work)).map_err(|error| self.completion.refuse(peer, &error))
        };
        // Receives first: then a sender that comes next finds its place and need not ask for it.
        for receive in &moves.receives {
            let work = self.backend.receive(&receive.rows, receive.peer, tag(receive));
            works.push_back(posted(receive.peer, work)?);
        }
        for send in &moves.sends {
            let work = self.backend.send(&send.rows, send.peer, tag(send));
            works.push_back(posted(send.peer, work)?);
        }
        drop(next);
        let pending = self.completion.accept(works);
        self.sent.fetch_add(moves.bytes_sent(), Ordering::Relaxed);
        // While the network is busy with the others' rows.
        moves.copy_own()?;
        Ok(pending)
    }
}

impl Collective for Gloo {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        self.start(&Moves::gather(&parts, self.rank, self.size)?, parts.len())
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        self.start(&Moves::exchange(&parts, self.rank, self.size)?, parts.len())
    }

    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        let rank = position(ranks, self.rank, self.size)?;
        let store = self.store.of_subgroup(self.subgroups.fetch_add(1, Ordering::Relaxed), ranks)?;
        let group = Self::connect(Arc::new(store), self.witness.subgroup(ranks), rank, self.address.clone())?;
        Ok(Arc::new(group))
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
