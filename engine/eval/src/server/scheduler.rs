//! Continuous batching: one thread owns the network and gives all texts their turns.
//!
//! A round reads one more token of every text in progress, in one pass, and a part of the prompts that are new; then it
//! looks who left and who comes next. Prompts are read in parts, so that a long one does not hold up the texts that are
//! being written. A text that comes later than `streams` others, or that would not fit beside them into the memory for caches,
//! waits for its turn, first come first served: what a text may grow to is reserved before it starts, so none has to be
//! thrown out half-way.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use psann_core::{Error, Result};
use tch::{Device, Tensor};
use tokio::sync::Semaphore;

use super::engine::Step;
use super::gauges::Gauges;
use super::job::{Event, Failure, Job, News};
use super::stream::{Delivery, Stream, Words};
use crate::network::Network;

/// How long a round with nothing to compute waits for readers.
const PAUSE: Duration = Duration::from_millis(2);

/// What the scheduler keeps to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most texts in progress.
    pub streams: usize,
    /// Most tokens of prompts that a round reads.
    pub prefill: usize,
    /// Most tokens that the texts in progress may grow to together.
    pub cached_tokens: usize,
    /// How long a text waits for its reader.
    pub patience: Duration,
}

/// What a scheduler hears.
pub enum Message {
    /// A text is wanted.
    Job(Job),
    /// All texts end now.
    Halt,
}

/// The way to the scheduler. A clone leads to the same one.
#[derive(Clone)]
pub struct Queue {
    messages: mpsc::Sender<Message>,
    places: Arc<Semaphore>,
    gauges: Arc<Gauges>,
}

/// The queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Queue {
    /// A queue with room for `places` texts, and its other end.
    pub fn new(places: usize, gauges: Arc<Gauges>) -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel();
        (Self { messages, places: Arc::new(Semaphore::new(places)), gauges }, inbox)
    }

    /// Queues all of `jobs`, or none of them. If the scheduler is gone, their readers find their events closed.
    pub fn submit(&self, jobs: Vec<Job>) -> Result<(), Full> {
        let count = u32::try_from(jobs.len()).map_err(|_| Full)?;
        let mut places = Arc::clone(&self.places).try_acquire_many_owned(count).map_err(|_| Full)?;
        for mut job in jobs {
            job.place = places.split(1).map(|place| (place, self.gauges.wait()));
            if self.messages.send(Message::Job(job)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Ends all texts.
    pub fn halt(&self) {
        // A scheduler that is gone has no texts.
        drop(self.messages.send(Message::Halt));
    }
}

/// Serves the jobs that come in until it is told to halt or nobody can send any more.
pub fn run(
    network: Network<'_>,
    words: Words<'_>,
    limits: &Limits,
    gauges: &Arc<Gauges>,
    inbox: &mpsc::Receiver<Message>,
) {
    let mut scheduler =
        Scheduler { network, words, limits, gauges, waiting: VecDeque::new(), running: Vec::new(), reserved: 0 };
    let mut busy = true;
    while let Some(messages) = scheduler.messages(inbox, busy) {
        for message in messages {
            match message {
                Message::Job(job) => scheduler.waiting.push_back(job),
                Message::Halt => return scheduler.halt(),
            }
        }
        busy = scheduler.round();
    }
}

struct Scheduler<'a> {
    network: Network<'a>,
    words: Words<'a>,
    limits: &'a Limits,
    gauges: &'a Arc<Gauges>,
    waiting: VecDeque<Job>,
    running: Vec<(Stream<'a>, usize)>,
    /// Sum of what the running texts may grow to.
    reserved: usize,
}

impl Scheduler<'_> {
    /// What has come in. Sleeps while there is no text at all, naps while all of them rest; `None` when no one can send.
    fn messages(&self, inbox: &mpsc::Receiver<Message>, busy: bool) -> Option<Vec<Message>> {
        let mut messages = Vec::new();
        if self.running.is_empty() && self.waiting.is_empty() {
            messages.push(inbox.recv().ok()?);
        } else if !busy {
            match inbox.recv_timeout(PAUSE) {
                Ok(message) => messages.push(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        messages.extend(inbox.try_iter());
        Some(messages)
    }

    /// One round; says whether anything was computed or can be in the next one.
    fn round(&mut self) -> bool {
        let now = Instant::now();
        self.sweep(now);
        self.admit(now);
        let scored = self.score();
        let advanced = self.advance();
        self.deliver(Instant::now());
        scored || advanced
    }

    /// Lets go of waiting texts that nobody waits for, and of all whose time is over.
    fn sweep(&mut self, now: Instant) {
        self.waiting.retain(|job| {
            if now >= job.deadline {
                refuse(job, Failure::Overdue);
                return false;
            }
            !job.events.is_closed()
        });
        for (stream, _) in self.running.iter_mut().filter(|(stream, _)| stream.is_overdue(now)) {
            stream.fail(Failure::Overdue);
        }
        self.deliver(now);
    }

    /// Delivers news and lets go of texts that are over.
    fn deliver(&mut self, now: Instant) {
        let (reserved, patience) = (&mut self.reserved, self.limits.patience);
        self.running.retain_mut(|(stream, size)| {
            let goes_on = stream.deliver(now, patience) != Delivery::Over;
            if !goes_on {
                *reserved -= *size;
            }
            goes_on
        });
    }

    /// Starts waiting texts while there is room.
    fn admit(&mut self, now: Instant) {
        while self.running.len() < self.limits.streams {
            let Some(size) = self.waiting.front().map(size) else { return };
            // One text alone always may: what can never fit is refused before it is queued.
            if self.reserved + size > self.limits.cached_tokens && !self.running.is_empty() {
                return;
            }
            let Some(mut job) = self.waiting.pop_front() else { return };
            job.place = None;
            let (index, events) = (job.index, job.events.clone());
            match Stream::new(self.network, self.words, job, self.gauges.stream(size)) {
                Ok(stream) => {
                    self.reserved += size;
                    self.running.push((stream, size));
                }
                Err(error) => {
                    let news = News::Failed(Failure::Network(error.to_string()));
                    drop(events.try_send(Event { index, news }));
                }
            }
        }
        self.deliver(now);
    }

    /// Scores the prompt that has waited longest: one a round, so that texts in progress go on.
    fn score(&mut self) -> bool {
        let network = self.network;
        let Some((stream, _)) = self.running.iter_mut().find(|(stream, _)| stream.wants_scores()) else {
            return false;
        };
        if let Err(failure) = guarded(|| stream.score(network)) {
            stream.fail(failure);
        }
        true
    }

    /// Reads the next tokens of every text that does not rest, and chooses what follows.
    fn advance(&mut self) -> bool {
        let network = self.network;
        let mut budget = self.limits.prefill;
        let mut places = Vec::new();
        let mut steps: Vec<Step<'_>> = Vec::new();
        for (place, (stream, _)) in self.running.iter_mut().enumerate() {
            let Some((step, chooses)) = stream.step(budget) else { continue };
            if !chooses || step.tokens.len() > 1 {
                budget = budget.saturating_sub(step.tokens.len());
            }
            places.push((place, chooses));
            steps.push(step);
        }
        if steps.is_empty() {
            return false;
        }
        let logits: Result<Tensor, Failure> =
            guarded(|| network.advance(&mut steps).map(|logits| logits.to_device(Device::Cpu)));
        drop(steps);
        for (row, (place, chooses)) in places.into_iter().enumerate() {
            let stream = &mut self.running[place].0;
            let outcome = match &logits {
                Ok(logits) if chooses => guarded(|| stream.choose(&logits.narrow(0, row as i64, 1))),
                Ok(_) => Ok(()),
                // What was read of a text whose pass failed is unknown: it cannot go on.
                Err(failure) => Err(failure.clone()),
            };
            if let Err(failure) = outcome {
                stream.fail(failure);
            }
        }
        true
    }

    fn halt(mut self) {
        for job in &self.waiting {
            refuse(job, Failure::Stopping);
        }
        for (stream, _) in &mut self.running {
            stream.fail(Failure::Stopping);
        }
        self.deliver(Instant::now());
    }
}

/// Tokens that a text may grow to.
fn size(job: &Job) -> usize {
    job.prompt.len() + job.tokens
}

fn refuse(job: &Job, failure: Failure) {
    // Nothing was sent of a waiting text, so there is room unless nobody listens.
    drop(job.events.try_send(Event { index: job.index, news: News::Failed(failure) }));
}

/// Computes, and takes a panic for a failure of what was computed: libtorch panics when memory is short, and the server
/// should outlive the text that was too much.
fn guarded<T>(compute: impl FnOnce() -> Result<T>) -> Result<T, Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(|_| Err(Error::new("the network panicked")));
    outcome.map_err(|error| Failure::Network(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_of_what_was_computed() {
        let failure = guarded::<()>(|| panic!("out of memory")).unwrap_err();
        assert_eq!(failure, Failure::Network("the network panicked".into()));
        assert_eq!(guarded(|| Ok(3)), Ok(3));
        assert_eq!(guarded::<()>(|| Err(Error::new("no"))), Err(Failure::Network("no".into())));
    }
}
