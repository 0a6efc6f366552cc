//! What every room of psann agrees on, and nothing else: the five plugin traits, the registry that
//! finds them by name, typed options, document and token batches, and the [`plan::Plan`] that a
//! recipe evaluates to.
//!
//! This crate does no I/O and knows no scripting language and no command line. Without the feature
//! `torch` it does not know libtorch either, so data machines and plugin authors never need it.
//!
//! | trait | what it is | floor |
//! |---|---|---|
//! | [`DataSource`] | where documents come from | data |
//! | [`Filter`] | what is kept of them, and why | data |
//! | [`Model`] | a network as a chain of segments | tensors |
//! | [`Sharder`] | where parameters, gradients and optimizer state live | tensors |
//! | [`Optimizer`] | how a shard moves along its gradient | tensors |
//!
//! [`Collective`] is not a plugin: it is how ranks exchange tensors, implemented in `torch`.

pub mod batch;
pub mod canonical;
#[cfg(feature = "torch")]
pub mod collective;
pub mod error;
pub mod filter;
#[cfg(feature = "torch")]
pub mod initialise;
#[cfg(feature = "torch")]
pub mod model;
pub mod observer;
#[cfg(feature = "torch")]
pub mod optimizer;
pub mod options;
#[cfg(feature = "torch")]
pub mod pass;
pub mod plan;
pub mod quantity;
pub mod registry;
#[cfg(feature = "torch")]
pub mod sharder;
pub mod source;
pub mod suggest;
pub mod tokenizer;
pub mod tokens;

pub use batch::{Batch, BatchBuilder, Document, Row};
#[cfg(feature = "torch")]
pub use collective::Collective;
pub use error::{Error, Result};
pub use filter::{CorpusFilter, Filter, Keys, Verdicts};
#[cfg(feature = "torch")]
pub use model::Model;
pub use observer::{Event, Observer};
#[cfg(feature = "torch")]
pub use optimizer::Optimizer;
#[cfg(feature = "torch")]
pub use sharder::Sharder;
pub use source::DataSource;
pub use tokenizer::Tokenizer;

/// For [`register!`], so that plugin crates need not name the dependency.
pub use inventory;
