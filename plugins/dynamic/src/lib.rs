//! Plugins that are not part of psann: shared libraries, and programs that write documents.
//!
//! | module | what |
//! |---|---|
//! | [`search`] | where plugins lie, and the manifests beside them |
//! | [`scan`] | what a library says of itself, asked for in a process of its own, and remembered |
//! | [`lock`] | `psann.lock`: which plugins a project trusts, by hash |
//! | [`discover`] | from all of that to entries of the registry |
//! | [`library`] | opens a trusted library, for good |
//! | [`surroundings`] | the log, the numbers and the wish to stop that plugins get |
//! | `source`, `filter` | core's traits over the calls of the SDK |
//! | [`built_in`] | the same `impl`s, linked into psann |
//! | [`process`] | programs that write documents |
//! | [`template`] | the crate that `psann plugin new` writes |
//! | [`bench`] | what a plugin costs |
//!
//! A plugin has all rights of the user who runs psann. So nothing of a library runs before its hash is in `psann.lock`,
//! but for what the user asks for by name (`psann plugin check`, `scan`, `allow`), and that in a process of its own.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod bench;
pub mod built_in;
pub mod discover;
mod filter;
pub mod library;
pub mod lock;
pub mod process;
pub mod scan;
pub mod search;
mod source;
pub mod surroundings;
pub mod template;

pub use discover::{Discovered, Settings, discover};
pub use lock::Lock;

/// An error of a plugin, as psann's own.
pub(crate) fn error(error: psann_sdk::Error) -> psann_core::Error {
    use psann_core::Error;
    use psann_sdk::Fault;
    let made = match error.fault {
        Fault::Usage => Error::usage(error.message),
        Fault::Cancelled => Error::interrupted(error.message),
        Fault::Panic | Fault::Poisoned => {
            let hint = "this is a mistake of the plugin: tell its author; without the plugin the run goes on as before";
            return Error::new(error.message).hint(hint);
        }
        Fault::Failed | Fault::Unknown => Error::new(error.message),
    };
    if error.hint.is_empty() { made } else { made.hint(error.hint) }
}
