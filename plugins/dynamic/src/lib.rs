//! Plugins that are not part of psann: shared libraries and programs of others.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod process;
