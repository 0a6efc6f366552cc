//! Networks.

pub mod waveresnet;
