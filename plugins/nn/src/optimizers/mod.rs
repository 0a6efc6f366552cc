//! How shards move along their gradients.

pub mod adamw;
