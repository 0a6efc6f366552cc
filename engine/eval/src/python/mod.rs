//! The parts of Python that a score depends on: its generator, its strings and how it prints values.
//!
//! lm-evaluation-harness is a Python program, so its prompts follow Python's idea of whitespace and capitals, its few-shot
//! draws follow Python's Mersenne Twister, and its hashes are hashes of what `json.dumps` prints. Chat templates were
//! written for Python's values too. Each is rebuilt here from its published definition; golden vectors of CPython hold
//! them.

pub mod json;
pub mod random;
pub mod text;
mod titlecase;

pub use random::MersenneTwister;
