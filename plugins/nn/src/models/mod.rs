//! Networks.

mod attention;
mod last;
pub mod llama;
pub mod vocabulary;
pub mod waveresnet;
