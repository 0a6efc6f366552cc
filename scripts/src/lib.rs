//! Recipes: Rhai scripts that describe a run, evaluated to a [`psann_core::plan::Plan`].
//!
//! ```text
//! let text = source::jsonl("corpus/classics.jsonl.zst") | filter::normalize();
//! let tok  = tokenizer::train_bpe(#{ vocab: 4096 });
//! let lm   = model::waveresnet(#{ d_model: 256, n_layers: 6, n_heads: 4, vocab: tok });
//!
//! pipeline("quickstart").prepare(text).pretrain(lm, #{ steps: 300 }).sample(#{ prompts: ["The sea"] })
//! ```
//!
//! Evaluating does no work and has no effects: functions make plain values, the last expression is a pipeline, and
//! the plan is what runs. A recipe is therefore safe to open, can be checked as a whole, and evaluates in
//! milliseconds. It cannot read files, sleep, or look at the clock, and it is stopped when it does not end.
//!
//! **Everything comes from the registry.** A plugin `jsonl` of kind `source` is the function `source::jsonl`; a stage
//! is a method of pipelines; options are checked against the schema where they are written.
//!
//! **Relative paths of inputs start at the recipe's folder**, also those given by `--set`, so a recipe and its data
//! can be moved together and run from anywhere. Which files exist makes no difference. Outputs start at the working
//! directory.
//!
//! **A model's vocabulary may be a tokenizer**: the stage that makes it is then put in front, and the model's `vocab`
//! becomes the word `"tokenizer"`, for which the run puts the size.
//!
//! No type of Rhai leaves this crate.

mod arguments;
mod completion;
mod convert;
mod diagnostics;
mod engine;
mod evaluator;
mod explain;
mod filter;
mod finish;
mod flow;
mod host;
mod library;
mod locate;
mod mixture;
mod parameters;
mod plugins;
mod recipe;
mod reserved;
mod session;
mod show;
mod slots;
mod stages;
mod text;
mod validate;
mod values;

pub use completion::Completion;
pub use diagnostics::Diagnostics;
pub use filter::{Closure, ClosureOptions};
pub use recipe::{Evaluated, Recipe};
pub use reserved::reserved_words;
pub use session::Session;
