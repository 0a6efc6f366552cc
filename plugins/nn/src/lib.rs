//! The built-in plugins that speak of tensors: models, optimizers and sharders. One file or folder each; a file reads
//! options, construction, work, tests.

pub mod models;
pub mod optimizers;
pub mod sharders;
