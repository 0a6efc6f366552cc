//! What is kept of the documents, and why.

pub mod decontaminate;
pub mod english;
pub mod exact;
pub mod keep;
pub mod minhash;
pub mod normalize;
pub mod url;
pub mod c4;
pub mod fineweb;
pub mod gopher_quality;
pub mod gopher_repetition;
pub mod lines;
pub mod normalize;
pub mod seen;
pub mod threshold;
