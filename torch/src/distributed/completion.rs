//! [`Completion`]: sees to it that operations end, whether or not somebody waits for them.
//!
//! c10d's sends and receives over Gloo can be waited for but not asked whether they are done, and a wait that runs out
//! of time breaks the group. Whoever waits for an operation therefore does so on its own thread; those
//! that are dropped or asked about go to one thread that waits for them in turn. So a [`Pending`] that nobody waits for
//! frees nothing too early, and a group that breaks fails in all its operations alike.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use psann_core::collective::Pending;
use psann_core::{Error, Result};

use super::ffi::Work;
use super::witness::Witness;

/// The operations of one group.
pub struct Completion {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was left to the thread, or the group was closed.
    changed: Condvar,
    witness: Witness,
    timeout: Duration,
}

#[derive(Default)]
struct State {
    /// For the thread, oldest first.
    left: VecDeque<Arc<Operation>>,
    /// All that may be under way.
    known: Vec<Weak<Operation>>,
    /// What broke the group: every operation from then on fails with it.
    broken: Option<String>,
    closed: bool,
}

struct Operation {
    /// Sends and receives that are not over, with the rank at the other end. They keep their tensors alive.
    works: Mutex<VecDeque<(usize, Arc<Work>)>>,
    progress: Mutex<Progress>,
    ended: Condvar,
}

enum Progress {
    /// Nobody waits for the works yet.
    Posted,
    /// The same, but the thread will.
    Left,
    /// One thread does; waiting takes a completion away, so there can be only one.
    Claimed,
    Ended(Result<(), String>),
}

impl Completion {
    /// For a group whose failures `witness` explains.
    pub fn start(witness: Witness, timeout: Duration) -> Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), witness, timeout });
        let waiting = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("collective".into())
            .spawn(move || waiting.run())
            .map_err(|error| Error::new("cannot start a thread").because(error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Fails if the group is broken.
    pub fn check(&self) -> Result<()> {
        lock(&self.shared.state).broken.clone().map_or(Ok(()), |broken| Err(failure(&broken)))
    }

    /// Takes over the works of an operation.
    pub fn accept(&self, works: VecDeque<(usize, Work)>) -> Box<dyn Pending> {
        let works = works.into_iter().map(|(peer, work)| (peer, Arc::new(work))).collect();
        let progress = Mutex::new(Progress::Posted);
        let operation = Arc::new(Operation { works: Mutex::new(works), progress, ended: Condvar::new() });
        let mut state = lock(&self.shared.state);
        state.known.retain(|known| known.strong_count() > 0);
        state.known.push(Arc::downgrade(&operation));
        Box::new(UnderWay { operation, shared: Arc::clone(&self.shared) })
    }

    /// Breaks the group because something could not even be posted to `peer`.
    pub fn refuse(&self, peer: usize, error: &Error) -> Error {
        failure(&self.shared.break_with(self.shared.witness.explain(peer, error, self.shared.timeout)))
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        let known: Vec<_> = state.known.drain(..).filter_map(|known| known.upgrade()).collect();
        drop(state);
        self.shared.changed.notify_one();
        for operation in known {
            lock(&operation.works).iter().for_each(|(_, work)| work.abort());
            if operation.claim() {
                operation.end(Err(CLOSED.into()));
            }
        }
        if let Some(thread) = self.thread.take() {
            // It only fails if it panicked, which has been reported already.
            let _ = thread.join();
        }
    }
}

const CLOSED: &str = "the group was closed with operations under way";

impl Shared {
    /// The thread's work.
    fn run(&self) {
        loop {
            let mut state = lock(&self.state);
            let operation = loop {
                match state.left.pop_front() {
                    Some(operation) => break operation,
                    None if state.closed => return,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            if operation.claim() {
                self.complete(&operation);
            }
        }
    }

    fn leave(&self, operation: &Arc<Operation>) {
        lock(&self.state).left.push_back(Arc::clone(operation));
        self.changed.notify_one();
    }

    /// Waits for a claimed operation.
    fn complete(&self, operation: &Operation) {
        let broken = lock(&self.state).broken.clone();
        let outcome = broken.map_or_else(|| self.wait(operation), Err);
        operation.end(outcome.map_err(|broken| if broken == CLOSED { broken } else { self.break_with(broken) }));
    }

    fn wait(&self, operation: &Operation) -> Result<(), String> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let Some((peer, work)) = lock(&operation.works).front().cloned() else { return Ok(()) };
            if let Err(error) = work.wait(deadline.saturating_duration_since(Instant::now())) {
                if lock(&self.state).closed {
                    return Err(CLOSED.into());
                }
                return Err(self.witness.explain(peer, &error, self.timeout));
            }
            lock(&operation.works).pop_front();
        }
    }

    /// What broke the group first.
    fn break_with(&self, broken: String) -> String {
        lock(&self.state).broken.get_or_insert(broken).clone()
    }
}

impl Operation {
    /// Whether it is the caller's to wait for.
    fn claim(&self) -> bool {
        let mut progress = lock(&self.progress);
        let free = matches!(*progress, Progress::Posted | Progress::Left);
        if free {
            *progress = Progress::Claimed;
        }
        free
    }

    fn end(&self, outcome: Result<(), String>) {
        // Before anybody is told: the tensors are theirs again.
        lock(&self.works).clear();
        *lock(&self.progress) = Progress::Ended(outcome);
        self.ended.notify_all();
    }

    /// Whether the thread was not asked for it yet.
    fn mark_left(&self) -> bool {
        let mut progress = lock(&self.progress);
        let posted = matches!(*progress, Progress::Posted);
        if posted {
            *progress = Progress::Left;
        }
        posted
    }
}

/// An operation that somebody may wait for.
struct UnderWay {
    operation: Arc<Operation>,
    shared: Arc<Shared>,
}

impl Pending for UnderWay {
    fn is_done(&self) -> bool {
        if self.operation.mark_left() {
            self.shared.leave(&self.operation);
        }
        matches!(*lock(&self.operation.progress), Progress::Ended(_))
    }

    fn wait(self: Box<Self>) -> Result<()> {
        if self.operation.claim() {
            self.shared.complete(&self.operation);
        }
        let mut progress = lock(&self.operation.progress);
        loop {
            match &*progress {
                Progress::Ended(outcome) => return outcome.clone().map_err(|broken| failure(&broken)),
                _ => progress = self.operation.ended.wait(progress).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.operation.mark_left() {
            self.shared.leave(&self.operation);
        }
    }
}

fn failure(broken: &str) -> Error {
    Error::new(broken).hint("look at the output of that rank; the run continues from its last checkpoint")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
