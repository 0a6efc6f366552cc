//! Where documents come from. `files` finds and opens the files that the sources share.

pub mod files;
pub mod jsonl;
pub mod lines;
pub mod text;
