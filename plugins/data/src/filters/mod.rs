//! What is kept of the documents, and why.

pub mod decontaminate;
pub mod english;
pub mod exact;
pub mod keep;
pub mod minhash;
pub mod normalize;
pub mod url;
