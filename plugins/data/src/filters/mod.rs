//! What is kept of the documents, and why.

pub mod normalize;
