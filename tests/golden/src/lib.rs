//! Golden data: outputs of the reference software, and how to compare with them. And what tests of several floors need
//! beside it: ranks as threads.
//!
//! A set is a folder below `tests/fixtures`. `PSANN_FIXTURES` names another folder of sets to test against.

#[cfg(feature = "torch")]
pub mod ranks;
pub mod rows;
#[cfg(feature = "torch")]
mod tensors;

use std::path::{Path, PathBuf};

#[cfg(feature = "torch")]
pub use tensors::*;

/// The folder of `set`.
pub fn set_directory(set: &str) -> PathBuf {
    match std::env::var_os("PSANN_FIXTURES") {
        Some(folder) => PathBuf::from(folder).join(set),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(set),
    }
}
