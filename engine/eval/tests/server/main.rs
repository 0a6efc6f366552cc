//! The server over real sockets, with models small enough to reason about.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod chat;
mod client;
mod generation;
mod load;
mod scoring;
mod served;

// The crate's own test models; they are not part of its interface.
#[path = "../../src/testing.rs"]
#[expect(dead_code, reason = "not every test model is needed here")]
mod testing;

use psann_eval::Network;
