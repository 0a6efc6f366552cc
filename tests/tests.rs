//! End to end: the binary and its recipes, as a user meets them.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod end_to_end {
    mod bad_input;
    mod cli;
    mod data;
    mod docs;
    mod evaluate;
    mod golden;
    mod interrupt;
    mod launch;
    mod model;
    mod plans;
    mod plugins;
    mod ranks;
    mod real_model;
    mod repl;
    mod resume;
    mod runs;
    mod serve;
    mod stream;
    mod support;
    mod third_party;
}
