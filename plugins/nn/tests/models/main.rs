//! Models: what holds for all of them, and what for each.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod all;
mod llama;
mod support;
mod waveresnet;
