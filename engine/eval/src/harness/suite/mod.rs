//! From documents to requests, and from answers to results.

use std::collections::BTreeMap;
use std::fmt;

use psann_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::boundary::{Encoder, Scored};
use super::fewshot::Draw;
use super::prompt::{ChatRenderer, Format};
use super::task::{Fields, Generation, Question, Row, Task};

mod ask;
mod finish;
mod plan;

pub use plan::select;

/// The rows of a task by the name of their split.
pub type Splits = BTreeMap<String, Vec<Row>>;

/// What is answered of each document, a request after the other.
pub type Answers = BTreeMap<Key, Vec<Answer>>;

/// What to ask of which documents, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteOptions {
    /// Examples before each question; by default what the task says, or none.
    pub shots: Option<usize>,
    /// Seed of the draws of examples.
    pub seed: i64,
    /// The first so many documents of each task.
    pub limit: Option<Limit>,
    /// Only these documents (by their number) of the tasks that are named here.
    pub samples: BTreeMap<String, Vec<usize>>,
    /// How prompts are written.
    pub format: Format,
    /// What the model is told before everything else.
    pub system_instruction: Option<String>,
    /// Replicates of the bootstrap; 0 leaves out every standard error.
    pub bootstrap_iterations: usize,
}

impl Default for SuiteOptions {
    fn default() -> Self {
        Self {
            shots: None,
            seed: 1234,
            limit: None,
            samples: BTreeMap::new(),
            format: Format::Plain,
            system_instruction: None,
            bootstrap_iterations: 100_000,
        }
    }
}

/// How much of a task is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many documents, or all if there are fewer.
    Count(usize),
    /// This share of the documents, rounded up.
    Fraction(f64),
}

impl Limit {
    /// A number below 1 is a share, any other a count.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new(limit: f64) -> Result<Self> {
        if limit > 0.0 && limit < 1.0 {
            return Ok(Self::Fraction(limit));
        }
        if limit >= 1.0 && limit.fract() == 0.0 {
            return Ok(Self::Count(limit as usize));
        }
        Err(Error::usage(format!("option `limit` must be a share between 0 and 1 or a whole number, found {limit}")))
    }

    /// How many of `total` documents it leaves.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count.min(total),
            Self::Fraction(share) => ((total as f64 * share).ceil() as usize).min(total),
        }
    }
}

/// Which document: the task's place in the suite, and the document's place among those that are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Place of the task.
    pub task: usize,
    /// Place of the document.
    pub document: usize,
}

/// What is asked of the network, tokenised and cut to fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// How likely a continuation is, and whether it is what greedy decoding gives. An empty one is likely to the full: its
    /// log-likelihood is 0.
    Score(Scored),
    /// How likely a text is, window by window; their log-likelihoods are added.
    Rolling {
        /// The windows, each token scored in one of them.
        windows: Vec<Scored>,
    },
    /// What greedy decoding gives.
    Generate {
        /// What is read.
        context: Vec<u32>,
        /// Ids that were cut from the front of the context.
        dropped: usize,
        /// Texts that end it, as the end-of-text token does; none of them is part of the answer.
        stop: Vec<String>,
        /// The most new tokens.
        tokens: usize,
    },
}

impl Request {
    /// A name for what is asked: equal requests have equal answers, whichever document they come from.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut scored = |scored: &Scored| {
            hash.update((scored.context.len() as u64).to_le_bytes());
            hash.update((scored.continuation.len() as u64).to_le_bytes());
            for id in scored.context.iter().chain(&scored.continuation) {
                hash.update(id.to_le_bytes());
            }
        };
        match self {
            Self::Score(one) => scored(one),
            Self::Rolling { windows } => windows.iter().for_each(&mut scored),
            Self::Generate { context, stop, tokens, .. } => {
                for id in context {
                    hash.update(id.to_le_bytes());
                }
                hash.update(format!("{tokens} {stop:?}"));
            }
        }
        let kind = match self {
            Self::Score(_) => "score",
            Self::Rolling { .. } => "rolling",
            Self::Generate { .. } => "generate",
        };
        format!("{kind}-{:x}", hash.finalize())
    }
}

/// What the network says to a [`Request`] of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a continuation.
    Score {
        /// Sum of the natural logarithms of its tokens' probabilities.
        log_likelihood: f64,
        /// Whether each of its tokens is the likeliest at its place (the first one, where several are).
        is_greedy: bool,
    },
    /// Of a text.
    Rolling {
        /// Sum over its windows.
        log_likelihood: f64,
    },
    /// Of a prompt.
    Generated {
        /// The text, without what ended it.
        text: String,
    },
}

/// The texts of one request, as sample files call them `arg_0` and `arg_1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A context and its continuation.
    Pair {
        /// What is read.
        context: String,
        /// What is scored.
        continuation: String,
    },
    /// A whole text.
    Whole {
        /// What is scored.
        text: String,
    },
    /// A prompt.
    Prompt {
        /// What is read.
        context: String,
        /// How the answer is generated.
        generation: Generation,
    },
}

impl Argument {
    /// The text that the model is given first.
    pub fn first(&self) -> &str {
        match self {
            Self::Pair { context, .. } | Self::Prompt { context, .. } => context,
            Self::Whole { text } => text,
        }
    }
}

/// What is asked about one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As texts.
    pub arguments: Vec<Argument>,
    /// How many of the texts had to leave out the system message because the chat template refuses it.
    pub without_system: usize,
}

/// Tasks with their documents and everything that was drawn for them.
pub struct Suite<'a> {
    pub(super) tasks: Vec<Planned>,
    pub(super) options: SuiteOptions,
    pub(super) encoder: Encoder<'a>,
    pub(super) renderer: Option<&'a dyn ChatRenderer>,
}

impl fmt::Debug for Suite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("tasks", &self.tasks).field("options", &self.options).finish_non_exhaustive()
    }
}

/// A task with its documents.
#[derive(Debug)]
pub struct Planned {
    pub(super) task: Box<dyn Task>,
    pub(super) shots: usize,
    /// Documents in the split, evaluated or not.
    pub(super) original: usize,
    pub(super) documents: Vec<Document>,
    /// Examples by their row in the pool; only those that were drawn.
    pub(super) examples: BTreeMap<usize, (String, Option<String>)>,
}

/// A document that is evaluated.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its number in the split.
    pub id: usize,
    /// Its fields, with what the task added.
    pub fields: Fields,
    /// What is asked.
    pub question: Question,
    /// Its examples.
    pub draw: Draw,
    description: String,
    answer_prefix: String,
}

impl Planned {
    /// The task.
    pub fn task(&self) -> &dyn Task {
        self.task.as_ref()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.task.settings().name
    }

    /// Examples before each question.
    pub fn shots(&self) -> usize {
        self.shots
    }

    /// Documents in the split, evaluated or not.
    pub fn original(&self) -> usize {
        self.original
    }

    /// The documents that are evaluated, in order.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }
}

impl<'a> Suite<'a> {
    /// The tasks, in the order given.
    pub fn tasks(&self) -> &[Planned] {
        &self.tasks
    }

    /// What to ask, and how.
    pub fn options(&self) -> &SuiteOptions {
        &self.options
    }

    /// What turns texts into ids.
    pub fn encoder(&self) -> &Encoder<'a> {
        &self.encoder
    }

    /// What writes chat prompts, where there is a chat template.
    pub fn renderer(&self) -> Option<&'a dyn ChatRenderer> {
        self.renderer
    }

    /// All documents, task by task, in order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let documents = |(task, planned): (usize, &Planned)| {
            (0..planned.documents.len()).map(move |document| Key { task, document })
        };
        self.tasks.iter().enumerate().flat_map(documents)
    }

    /// The task and the document of a key of this suite.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn get(&self, key: Key) -> Result<(&Planned, &Document)> {
        let planned = self.tasks.get(key.task);
        let found = planned.and_then(|planned| Some((planned, planned.documents.get(key.document)?)));
        found.ok_or_else(|| Error::new(format!("there is no document {} of task {}", key.document, key.task)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_rounded_up_or_a_count() {
        let left = |limit: f64, total: usize| Limit::new(limit).map(|limit| limit.of(total));
        assert_eq!(left(0.13, 102).unwrap(), 14);
        assert_eq!(left(0.5, 1).unwrap(), 1);
        assert_eq!(left(1.0, 10).unwrap(), 1);
        assert_eq!(left(200.0, 10).unwrap(), 10);
        for wrong in [0.0, -1.0, 1.5, f64::NAN] {
            let error = Limit::new(wrong).unwrap_err().to_string();
            assert!(error.starts_with("option `limit` must be a share between 0 and 1 or a whole number"), "{error}");
        }
    }

    #[test]
    fn the_boundary_is_part_of_what_is_asked() {
        let score = |context: &[u32], continuation: &[u32], dropped| {
            Request::Score(Scored { context: context.to_vec(), continuation: continuation.to_vec(), dropped })
        };
        let one = score(&[1, 2], &[3], 0);
        assert_eq!(one.digest(), score(&[1, 2], &[3], 7).digest());
        assert_ne!(one.digest(), score(&[1], &[2, 3], 0).digest());
        let Request::Score(window) = one.clone() else { panic!() };
        assert_ne!(one.digest(), Request::Rolling { windows: vec![window] }.digest());
    }

    #[test]
    fn splits_are_needed_only_where_examples_are_shown() {
        let splits = |name: &str, shots: usize| {
            let task = super::super::task::built_in(name).unwrap();
            task.settings().needed_splits(Some(shots)).join(" ")
        };
        assert_eq!(splits("piqa", 0), "validation");
        assert_eq!(splits("piqa", 5), "validation train");
        assert_eq!(splits("lambada_openai", 5), "test");
        assert_eq!(splits("wikitext", 5), "test");
    }
}
