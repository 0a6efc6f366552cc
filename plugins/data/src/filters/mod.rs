//! What is kept of the documents, and why.

pub mod c4;
pub mod decontaminate;
pub mod english;
pub mod exact;
pub mod fineweb;
pub mod gopher_quality;
pub mod gopher_repetition;
pub mod keep;
pub mod lines;
pub mod minhash;
pub mod normalize;
pub mod seen;
pub mod threshold;
pub mod url;
