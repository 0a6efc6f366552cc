//! lm-evaluation-harness 0.4.13, natively: its tasks, prompts, draws, token boundaries, metrics, hashes and files.
//!
//! Numbers are worth quoting when they equal those that everybody quotes, so this follows the reference to the byte:
//! every prompt, every id, every hash is compared with its golden outputs. Nothing here runs a network. A [`Suite`] turns
//! tasks and documents into [`Request`]s, whoever has a model answers them in any order, and [`Suite::finish`] turns the
//! [`Answer`]s into [`Results`].
//!
//! | module | what |
//! |---|---|
//! | [`task`] | the five built-in tasks, and users' tasks from TOML |
//! | [`fewshot`], [`prompt`] | which examples a document is shown, and how its prompt is written |
//! | [`boundary`] | which ids are read and which are scored |
//! | [`suite`] | all of it together: from documents to requests, from answers to results |
//! | [`metrics`] | what the answers are worth |
//! | [`results`] | result files, sample files, the table, hashes |
//! | [`show`] | a prompt as the model sees it |
//! | [`compare`] | whether two results differ by more than chance |
//!
//! All draws are made when a suite is built, in the order of the documents, so neither ranks nor batches nor a resumed run
//! change what a document is asked.

pub mod boundary;
pub mod compare;
pub mod fewshot;
pub mod metrics;
pub mod prompt;
pub mod results;
pub mod show;
pub mod suite;
pub mod task;

pub use boundary::{Encoder, Scored};
pub use prompt::{ChatRenderer, Ending, Format, Message, RenderError, Role};
pub use results::{Results, Run};
pub use suite::{Answer, Answers, Argument, Asked, Key, Limit, Request, Splits, Suite, SuiteOptions};
pub use task::{Row, Task, built_in, user::UserTask};

/// The version of lm-evaluation-harness whose definitions these are.
pub const REFERENCE: &str = "0.4.13";
