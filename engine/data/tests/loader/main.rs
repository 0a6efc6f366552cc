//! The stream of batches: the same for any number of ranks, threads and resumes, whole in every epoch, and small.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod elastic;
mod epochs;
mod killed;
mod memory;
mod refused;
mod support;
