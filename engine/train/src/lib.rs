//! Runs training stages: the executor that walks a model block by block, the trainer around it, and the checkpoints
//! that let a run stop anywhere.
//!
//! | module | what |
//! |---|---|
//! | [`options`] | the options of stage `pretrain` |
//! | [`schedule`] | the learning rate of each step |
//! | [`executor`] | forward and backward passes without autograd hooks; activation checkpointing |
//! | [`trainer`] | the loop: batches, steps, metrics, validation, checkpoints |
//! | [`checkpoint`] | what a run leaves on disk and continues from |
//! | [`export`] | stage `save`: a trained model as a folder of its own |
//! | [`hugging_face`] | folders of Hugging Face, read and written |
//! | [`launch`] | how psann becomes several processes, and which one this is |
//! | [`reference`] | files of the Python reference, read and written |
//! | [`plan`] | what a run would take |
//! | [`probe`] | what looks at a model during its training |
//! | [`ranks`] | the ranks of a run, from one of them |
//! | [`bench`] | how fast training steps are on this machine |
//!
//! Models, optimizers and sharders are found in the registry; this crate knows none of them by name.

pub mod bench;
pub mod checkpoint;
pub mod executor;
pub mod export;
mod files;
pub mod hugging_face;
pub mod launch;
mod metrics;
pub mod options;
pub mod plan;
pub mod probe;
pub mod ranks;
pub mod reference;
pub mod schedule;
pub mod trainer;

pub use options::PretrainOptions;
pub use trainer::{Job, TrainSummary, pretrain};
