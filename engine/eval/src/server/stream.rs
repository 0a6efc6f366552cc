//! [`Stream`]: one text in progress. It knows what to read next, chooses tokens, and hands out what became certain.
//!
//! News that nobody takes yet stay with the stream, which then rests: one slow reader costs one text's memory and no one
//! else's time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use psann_core::{Result, Tokenizer};
use tch::Tensor;
use tokio::sync::mpsc::error::TrySendError;

use super::engine::{self, Sequence, Step, TokenScore};
use super::gauges::Counted;
use super::job::{Event, Failure, Job, News};
use crate::generate::stop::StopMatcher;
use crate::generate::stream::TextStream;
use crate::generate::{Finish, last_row};
use crate::network::Network;
use crate::sampling;

/// What is special about the tokenizer of a stream.
#[derive(Clone, Copy)]
pub struct Words<'t> {
    /// The tokenizer.
    pub tokenizer: &'t dyn Tokenizer,
    /// Tokens that end a text.
    pub ends: &'t [u32],
}

/// One text in progress.
pub struct Stream<'t> {
    job: Job,
    words: Words<'t>,
    sequence: Sequence,
    /// The prompt, then what was chosen.
    ids: Vec<u32>,
    /// Turns tokens into text; gone when the text has ended.
    text: Option<(TextStream<'t>, StopMatcher)>,
    prompt_length: usize,
    /// How often each token was generated.
    counts: BTreeMap<u32, usize>,
    /// Whether the prompt is still to be scored.
    to_score: bool,
    /// News that nobody took yet, and since when they wait.
    unsent: VecDeque<News>,
    unsent_since: Option<Instant>,
    _counted: Counted,
}

/// Whether a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// All news were taken, and more will come.
    Going,
    /// Some news wait for their reader.
    Resting,
    /// Nothing more will come, or nobody listens.
    Over,
}

impl<'t> Stream<'t> {
    /// A stream of which nothing was read.
    pub fn new(network: Network<'_>, words: Words<'t>, mut job: Job, counted: Counted) -> Result<Self> {
        let ids = std::mem::take(&mut job.prompt);
        let text = (TextStream::new(words.tokenizer, &ids)?, StopMatcher::new(&job.options.stop));
        let mut stream = Self {
            to_score: job.scores_prompt,
            job,
            words,
            sequence: Sequence::new(network),
            prompt_length: ids.len(),
            ids,
            text: Some(text),
            counts: BTreeMap::new(),
            unsent: VecDeque::new(),
            unsent_since: None,
            _counted: counted,
        };
        if !stream.to_score && stream.job.tokens == 0 {
            stream.end(None, None, String::new(), Finish::Length)?;
        }
        Ok(stream)
    }

    /// Whether its prompt waits to be scored.
    pub fn wants_scores(&self) -> bool {
        self.to_score && self.unsent.is_empty() && self.text.is_some()
    }

    /// Scores its prompt. A single likeliest token behind it comes from the same computation.
    pub fn score(&mut self, network: Network<'_>) -> Result<()> {
        self.to_score = false;
        let top = self.job.options.scores.unwrap_or(0);
        let single = self.job.tokens == 1 && self.job.options.is_plainly_greedy();
        if !single {
            let scores = engine::prompt_log_probabilities(network, &self.ids, top)?;
            self.unsent.push_back(News::Prompt(scores));
            return if self.job.tokens == 0 { self.end(None, None, String::new(), Finish::Length) } else { Ok(()) };
        }
        // The last token of what is scored is not read, so any token there asks what follows the prompt.
        let asked = [self.ids.as_slice(), &[0]].concat();
        let mut scores = engine::prompt_log_probabilities(network, &asked, top.max(1))?;
        let next = scores.pop().and_then(|score| score.top.first().copied().map(|best| (best, score.top)));
        for score in &mut scores {
            score.top.truncate(top);
        }
        self.unsent.push_back(News::Prompt(scores));
        let Some(((token, log_probability), mut best)) = next else {
            return self.end(None, None, String::new(), Finish::Length);
        };
        best.truncate(top);
        let score = TokenScore { token, log_probability, top: best };
        self.take(token, self.job.options.scores.is_some().then_some(score))
    }

    /// The next tokens to read, at most `budget` of a prompt, and whether what follows them is to be chosen. `None` while it
    /// rests.
    pub fn step(&mut self, budget: usize) -> Option<(Step<'_>, bool)> {
        if self.to_score || !self.unsent.is_empty() || self.text.is_none() {
            return None;
        }
        let read = self.sequence.length();
        let rest = self.ids.len() - read;
        let count = if rest == 1 { 1 } else { rest.min(budget) };
        if count == 0 {
            return None;
        }
        let step = Step { tokens: &self.ids[read..read + count], sequence: &mut self.sequence };
        Some((step, count == rest))
    }

    /// Chooses the next token from the logits `[1, vocabulary]` of what follows all that was read.
    pub fn choose(&mut self, logits: &Tensor) -> Result<()> {
        let options = &self.job.options;
        let position = self.ids.len() - self.prompt_length;
        let mut row = last_row(logits)?;
        sampling::penalise(&mut row, &self.ids, options.sampling.repetition_penalty);
        let penalised = options.presence_penalty != 0.0 || options.frequency_penalty != 0.0;
        for (id, count) in self.counts.iter().filter(|_| penalised) {
            if let Some(logit) = row.get_mut(*id as usize) {
                *logit -= (options.presence_penalty + options.frequency_penalty * *count as f64) as f32;
            }
        }
        for end in self.words.ends.iter().filter(|_| position < options.min_tokens) {
            if let Some(logit) = row.get_mut(*end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let candidates = sampling::candidates(&row, &options.sampling)?;
        let draw = sampling::uniform(options.seed, self.job.stream, position as u64);
        let token = sampling::choose(&candidates, draw)?;
        let score = match options.scores {
            Some(top) => engine::token_scores(logits, &[token], top)?.pop(),
            None => None,
        };
        self.take(token, score)
    }

    /// Ends the text because of `failure`; what was said before is still delivered.
    pub fn fail(&mut self, failure: Failure) {
        if self.text.take().is_some() {
            self.unsent.push_back(News::Failed(failure));
        }
    }

    /// Delivers what its reader takes. `patience` is how long news may wait.
    pub fn deliver(&mut self, now: Instant, patience: Duration) -> Delivery {
        while let Some(news) = self.unsent.pop_front() {
            match self.job.events.try_send(Event { index: self.job.index, news }) {
                Ok(()) => self.unsent_since = None,
                Err(TrySendError::Closed(_)) => return Delivery::Over,
                Err(TrySendError::Full(event)) => {
                    self.unsent.push_front(event.news);
                    let since = *self.unsent_since.get_or_insert(now);
                    let tired = now.duration_since(since) >= patience;
                    return if tired { Delivery::Over } else { Delivery::Resting };
                }
            }
        }
        if self.text.is_none() || self.job.events.is_closed() { Delivery::Over } else { Delivery::Going }
    }

    /// Whether its time is over.
    pub fn is_overdue(&self, now: Instant) -> bool {
        now >= self.job.deadline
    }

    fn take(&mut self, token: u32, score: Option<TokenScore>) -> Result<()> {
        if self.words.ends.contains(&token) && !self.job.options.ignore_end {
            return self.end(Some(token), score, String::new(), Finish::EndOfText);
        }
        self.ids.push(token);
        *self.counts.entry(token).or_default() += 1;
        let Some((text, stops)) = &mut self.text else { return Ok(()) };
        let (piece, stopped) = stops.push(&text.push(token)?);
        if stopped {
            self.text = None;
            self.unsent.push_back(News::Text { token: Some(token), score, piece, finish: Some(Finish::Stop) });
            return Ok(());
        }
        if self.ids.len() - self.prompt_length >= self.job.tokens {
            return self.end(Some(token), score, piece, Finish::Length);
        }
        self.unsent.push_back(News::Text { token: Some(token), score, piece, finish: None });
        Ok(())
    }

    /// Ends the text with what was held back: no further token will complete a character or a stop string.
    fn end(&mut self, token: Option<u32>, score: Option<TokenScore>, mut piece: String, finish: Finish) -> Result<()> {
        let Some((text, mut stops)) = self.text.take() else { return Ok(()) };
        let (rest, stopped) = stops.push(&text.finish()?);
        piece.push_str(&rest);
        if !stopped {
            piece.push_str(&stops.finish());
        }
        let finish = Some(if stopped { Finish::Stop } else { finish });
        self.unsent.push_back(News::Text { token, score, piece, finish });
        Ok(())
    }
}
