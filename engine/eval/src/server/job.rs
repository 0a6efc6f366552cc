//! [`Job`]: one text that somebody wants, and [`Event`]: what they hear of it. The two ends of the way between the HTTP
//! side, which is many tasks, and the scheduler, which is one thread.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::engine::TokenScore;
use super::gauges::Counted;
use crate::generate::Finish;
use crate::sampling::Sampling;

/// How texts are continued; one request's texts share it.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOptions {
    /// Tokens before which a text may not end.
    pub min_tokens: usize,
    /// Texts that end a text; they are not part of it.
    pub stop: Vec<String>,
    /// Whether an end-of-text token does not end a text.
    pub ignore_end: bool,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Taken from the logit of each token that was generated before.
    pub presence_penalty: f64,
    /// Taken from the logit of each token for each time that it was generated before.
    pub frequency_penalty: f64,
    /// Key of the draws, together with the number of the text.
    pub seed: u64,
    /// Score each token beside so many of the likeliest; `None` scores nothing.
    pub scores: Option<usize>,
}

impl TextOptions {
    /// Whether a token's choice is a matter of its logits alone: the likeliest wins.
    pub fn is_plainly_greedy(&self) -> bool {
        self.sampling.temperature <= 0.0
            && self.sampling.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0
            && self.min_tokens == 0
    }
}

/// One text that somebody wants.
pub struct Job {
    /// Its number within its request.
    pub index: usize,
    /// Its number among those of the same prompt: they share a seed, and this tells their draws apart.
    pub stream: u64,
    /// What stands before it, at least one token. One token more than the model's context may stand here if only scores
    /// of the prompt are wanted.
    pub prompt: Vec<u32>,
    /// Most tokens to add.
    pub tokens: usize,
    /// Whether the prompt's own tokens are scored.
    pub scores_prompt: bool,
    /// How it is continued.
    pub options: Arc<TextOptions>,
    /// Where it is heard of.
    pub events: mpsc::Sender<Event>,
    /// When it must be finished.
    pub deadline: Instant,
    /// Its place in the queue, given back when its turn comes.
    pub place: Option<(OwnedSemaphorePermit, Counted)>,
}

/// News of a text.
#[derive(Debug)]
pub struct Event {
    /// The text's number within its request.
    pub index: usize,
    /// What happened.
    pub news: News,
}

/// What happened to a text.
#[derive(Debug)]
pub enum News {
    /// Its prompt was scored: an entry for each token but the first.
    Prompt(Vec<TokenScore>),
    /// It has grown, ended, or both.
    Text {
        /// The token that was chosen; `None` if it ended without another one.
        token: Option<u32>,
        /// The token's score, if scores are wanted.
        score: Option<TokenScore>,
        /// New text, often none: whole characters, and nothing in which a stop string may begin.
        piece: String,
        /// Why it ended, if it did. Nothing follows then.
        finish: Option<Finish>,
    },
    /// It ends unfinished. Nothing follows.
    Failed(Failure),
}

impl News {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Prompt(_) => false,
            Self::Text { finish, .. } => finish.is_some(),
            Self::Failed(_) => true,
        }
    }
}

/// Why a text ends unfinished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The network failed.
    Network(String),
    /// Its time was over.
    Overdue,
    /// The server stops.
    Stopping,
}
