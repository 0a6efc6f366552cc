//! How shards move along their gradients.

pub mod adafactor;
pub mod adamw;
pub mod adamw8bit;

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which parameters weight decay shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// Weight matrices; not embeddings, norms, biases and activation vectors.
    Matrices,
    /// Everything, as in the reference.
    All,
}

fn check_betas((first, second): (f64, f64)) -> Result<()> {
    if (0.0..1.0).contains(&first) && (0.0..1.0).contains(&second) {
        return Ok(());
    }
    Err(Error::usage(format!("`betas` are [{first}, {second}]; each must be at least 0 and below 1")))
}
