//! Networks.

mod attention;
pub mod waveresnet;
