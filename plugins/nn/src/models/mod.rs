//! Networks.

mod attention;
pub mod llama;
pub mod vocabulary;
pub mod waveresnet;
