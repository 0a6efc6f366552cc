//! From documents to batches of token ids: the stages `prepare` and `tokenizer`, and the loader that training reads.
//! Builds without libtorch.
//!
//! | module | what |
//! |---|---|
//! | [`prepare`] | reads a source, applies filters, splits off validation, writes documents and a report |
//! | [`documents`] | the prepared documents on disk |
//! | [`tokenizer`] | trains or loads a tokenizer and checks that it fits the text |
//! | [`loader`] | the endless, resumable stream of batches |

pub mod bench;
mod columns;
pub mod documents;
mod files;
pub mod loader;
pub mod prepare;
pub mod tokenizer;

pub use documents::{Manifest, Split, read_documents};
pub use prepare::{PrepareJob, PrepareOptions, PrepareReport, prepare};
