//! The built-in plugins that read and judge documents: sources and filters. None of them knows libtorch.

pub mod address;
pub mod benchmarks;
pub mod fasttext;
pub mod filters;
pub mod sources;
pub mod utf8;
pub mod words;
