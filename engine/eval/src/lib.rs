//! What a trained model is worth, and what it says: perplexity, log-likelihoods, generated text.
//!
//! Everything here works on a [`Network`] (a model and its parameters) and a tokenizer, and reaches both through the
//! traits of core. Callers bring parameters, documents and prompts; the only files here are those of the journal.
//!
//! | module | what |
//! |---|---|
//! | [`evaluate`] | the stage `evaluate`: perplexity of held-out documents beside a unigram model's |
//! | [`sample`] | the stage `sample`: what the model says to a few prompts |
//! | [`generate`] | text from a prompt, streamed, with stop strings |
//! | [`sampling`] | from logits to the next token |
//! | [`harness`] | benchmarks, with the results of lm-evaluation-harness |
//! | [`perplexity`], [`windows`], [`unigram`] | the measures behind `evaluate` |
//! | [`scoring`] | log-likelihoods of continuations that share contexts |
//! | [`chat`] | chat templates: conversations as text, and which of it the assistant wrote |
//! | [`python`] | what of Python prompts, hashes and templates depend on |
//! | [`answer`] | from the harness's questions to passes, and the journal of answers |
//! | [`network`], [`session`] | a model with its parameters, and what it remembers of texts |
//! | [`server`] | the same over HTTP, for many at once |
//! | [`bench`] | how fast this machine generates, evaluates and serves |

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod answer;
pub mod bench;
pub mod chat;
pub mod evaluate;
pub mod generate;
pub mod harness;
pub mod network;
pub mod perplexity;
pub mod python;
mod report;
pub mod sample;
pub mod sampling;
pub mod scoring;
pub mod server;
pub mod session;
pub mod unigram;
pub mod windows;

#[cfg(test)]
mod testing;

pub use evaluate::{EvaluateOptions, EvaluateReport, evaluate};
pub use generate::{Finish, GenerateOptions, Generated, Generator};
pub use network::Network;
pub use sample::{Sample, SampleOptions, sample};
