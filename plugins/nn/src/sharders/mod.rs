//! Where parameters live.

pub mod fsdp;
mod layout;
pub mod single;
