//! Where parameters live.

pub mod single;
