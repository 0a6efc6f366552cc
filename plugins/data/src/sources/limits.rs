//! Sizes that all sources share: how much makes a batch, and how long a document may be.

use psann_core::quantity::Bytes;
use psann_core::{Error, Result};

use super::on_error::Broken;

/// Documents after which a batch is handed on.
pub const BATCH_DOCUMENTS: usize = 1024;
/// Bytes after which a batch is handed on.
pub const BATCH_BYTES: usize = 1 << 20;
/// Larger buffers are given back after the record that needed them.
pub const KEPT_BUFFER: usize = 16 * BATCH_BYTES;
/// Default of `max_document`.
pub const MAX_DOCUMENT: Bytes = Bytes(256_000_000);
/// A column of a batch counts its bytes in 32 bits.
const LARGEST_DOCUMENT: u64 = 2_000_000_000;

/// A record above the limit; `what` names it.
pub fn too_long(what: &str, limit: usize) -> Broken {
    Broken {
        reason: "longer than max_document",
        message: format!("{what} is longer than the limit of {limit} bytes"),
        hint: "set `max_document` higher if there is memory for it".into(),
    }
}

/// Refuses limits that no batch can hold.
pub fn check_limit(limit: Bytes) -> Result<()> {
    if limit.0 == 0 || limit.0 > LARGEST_DOCUMENT {
        return Err(Error::usage(format!("`max_document` is {} bytes", limit.0)).hint("give 1 byte to 2 GB"));
    }
    Ok(())
}
