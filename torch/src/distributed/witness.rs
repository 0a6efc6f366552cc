//! [`Witness`]: who failed first.
//!
//! When a rank dies, those that were talking to it notice, give up and die too, and soon everybody has lost everybody.
//! What a user must know is the rank that was lost first, so whoever notices first writes it to the store.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use psann_core::Error;

use super::store::Store;

/// How long a failing rank may spend on finding out who failed first.
const PATIENCE: Duration = Duration::from_secs(5);

/// Turns a failed send or receive into a sentence about a rank.
#[derive(Clone)]
pub struct Witness {
    store: Arc<Store>,
    /// The number in the whole run of each rank in this group.
    pub names: Vec<usize>,
}

impl Witness {
    /// For a group of all ranks that meet at `store`.
    pub fn new(store: Arc<Store>, size: usize) -> Self {
        Self { store, names: (0..size).collect() }
    }

    /// For the group of `ranks` within this one.
    pub fn subgroup(&self, ranks: &[usize]) -> Self {
        Self { store: Arc::clone(&self.store), names: ranks.iter().map(|&rank| self.names[rank]).collect() }
    }

    /// What became of the run, given that an operation with `peer` of this group failed.
    pub fn explain(&self, peer: usize, error: &Error, timeout: Duration) -> String {
        let name = self.names[peer];
        let seen = if error.message().contains("Timed out") {
            format!("rank {name} did not answer within {timeout:?}")
        } else {
            format!("rank {name} is gone")
        };
        // The store may be served by the rank that hangs, so a thread that can be left behind asks.
        let (store, own) = (Arc::clone(&self.store), seen.clone());
        let (answer, answered) = mpsc::channel();
        let ask = move || {
            let first = match store.add("failures", 1) {
                Ok(1) => store.set("failure", own.as_bytes()).map(|()| own.into_bytes()),
                Ok(_) => store.get("failure"),
                Err(error) => Err(error),
            };
            // Nobody listens any more when this took too long.
            let _ = answer.send(first);
        };
        if std::thread::Builder::new().name("witness".into()).spawn(ask).is_err() {
            return seen;
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(Ok(first)) => String::from_utf8_lossy(&first).into_owned(),
            _ => seen,
        }
    }
}
