//! Data sources and filters for psann, in a shared library of their own.
//!
//! An author writes one `impl` and one line; everything that crosses between the library and psann is made from it.
//!
//! ```
//! use psann_sdk::prelude::*;
//!
//! psann_sdk::options! {
//!     /// Keeps documents whose share of letters is high enough.
//!     pub struct LettersOptions {
//!         /// The least share of letters among all characters.
//!         min: f64 = 0.6,
//!     }
//! }
//!
//! struct Letters {
//!     min: f64,
//! }
//!
//! impl Filter for Letters {
//!     type Options = LettersOptions;
//!     const NAME: &'static str = "letters";
//!     const REASONS: &'static [&'static str] = &["too few letters"];
//!     const SCORES: &'static [&'static str] = &["letters"];
//!
//!     fn new(options: LettersOptions, _host: Host) -> Result<Self> {
//!         Ok(Self { min: options.min })
//!     }
//!
//!     fn judge(&self, doc: Doc<'_>) -> Verdict {
//!         let letters = doc.text().chars().filter(|c| c.is_alphabetic()).count();
//!         Verdict::at_least(letters as f64 / doc.text().chars().count().max(1) as f64, self.min)
//!     }
//! }
//!
//! psann_sdk::export_plugin! { id: "org.letters", filters: [Letters] }
//! # fn main() {}
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`abi`] | the types that cross; `docs/abi.md` says in words what must hold |
//! | [`arrow`] | Arrow's C data interface, as far as documents need it |
//! | [`filter`], [`source`] | the traits of authors |
//! | [`document`], [`options`], [`host`], [`error`] | what they are written with |
//! | [`export`] | from an `impl` to the tables that cross; panics end here |
//! | [`call`] | the other side: checks a plugin's tables and calls them |
//! | [`testing`] | runs a plugin as psann does, and tries to break it |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]
#![warn(missing_docs)]

// The path by which `options!` names this crate holds inside of it, too.
extern crate self as psann_sdk;

pub mod abi;
pub mod arrow;
pub mod call;
pub mod document;
pub mod error;
pub mod export;
pub mod filter;
pub mod host;
pub mod options;
pub mod source;
pub mod testing;

pub use document::{Batch, Doc, Document, Documents};
pub use error::{Error, Fault, Result};
pub use filter::{Filter, Verdict};
pub use host::Host;
pub use options::Options;
pub use source::{Partition, Reader, Source};
// What `options!` names.
pub use schemars;
pub use serde;
pub use serde_json;

/// What an author needs: `use psann_sdk::prelude::*;`.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Batch, Doc, Document, Documents, Error, Filter, Host, Options, Partition, Reader, Result, Source, Verdict,
    };
}
