//! Tokeniser threads that work ahead of the trainer. Each row has a queue of finished sequences of bounded length; a thread
//! takes the row whose queue is shortest, makes its next sequence and puts the row back. Rows never wait for each other, so
//! that one row's new window does not hold up the rest, and as a row is in one pair of hands at a time its sequences are in
//! order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use psann_core::tokens::StreamCounters;
use psann_core::{Error, Result};

use super::row::{RowStream, Sequence};

/// The threads and the queues. Threads start when the first sequence is asked for.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    workers: Vec<JoinHandle<()>>,
}

/// Rows taken out of the pool with what they had ready.
pub struct Lanes(Vec<Lane>);

impl From<Vec<RowStream>> for Lanes {
    fn from(rows: Vec<RowStream>) -> Self {
        Self(rows.into_iter().map(|row| Lane { stream: Some(row), ready: VecDeque::new(), ended: false }).collect())
    }
}

struct Shared {
    state: Mutex<State>,
    /// Told when a queue has room.
    room: Condvar,
    /// Told when a sequence is ready or a row was put back.
    ready: Condvar,
    ahead: usize,
}

struct State {
    lanes: Vec<Lane>,
    counters: StreamCounters,
    /// No row is taken while this is set.
    paused: bool,
    stopped: bool,
    died: bool,
}

struct Lane {
    /// `None` while a thread works on it.
    stream: Option<RowStream>,
    ready: VecDeque<Result<Sequence>>,
    /// Behind an error there is nothing more.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool of `threads` threads that keep up to `ahead` sequences of each row ready.
    pub fn new(rows: Vec<RowStream>, threads: usize, ahead: usize) -> Self {
        let state = State {
            lanes: Lanes::from(rows).0,
            counters: StreamCounters::default(),
            paused: false,
            stopped: false,
            died: false,
        };
        let shared =
            Shared { state: Mutex::new(state), room: Condvar::new(), ready: Condvar::new(), ahead: ahead.max(1) };
        Self { shared: Arc::new(shared), threads: threads.max(1), workers: Vec::new() }
    }

    /// Starts the threads if they do not run yet.
    pub fn start(&mut self) -> Result<()> {
        while self.workers.len() < self.threads {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("tokeniser".into());
            let worker =
                thread.spawn(move || work(&shared)).map_err(|e| Error::new("cannot start a thread").because(e))?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// The next sequence of every row, in the order of rows.
    pub fn next(&mut self) -> Result<Vec<Sequence>> {
        self.start()?;
        let mut state = self.wait()?;
        let sequences = state.lanes.iter_mut().filter_map(|lane| lane.ready.pop_front()).collect();
        drop(state);
        self.shared.room.notify_all();
        sequences
    }

    /// The hash of each row's next sequence; `None` where it could not be made.
    pub fn digests(&mut self) -> Result<Vec<Option<[u8; 16]>>> {
        self.start()?;
        let state = self.wait()?;
        let of_lane = |lane: &Lane| lane.ready.front()?.as_ref().ok().map(|sequence| sequence.digest);
        Ok(state.lanes.iter().map(of_lane).collect())
    }

    /// The first stretch of the next sequence of row number `index`, as messages name it.
    pub fn place(&self, index: usize) -> Option<String> {
        let state = self.shared.lock();
        match state.lanes.get(index)?.ready.front()? {
            Ok(sequence) => {
                let span = sequence.stretches.first()?.span();
                Some(format!("`{}`, document {}", span.file, span.document))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// Puts `lanes` in place of the rows there are and gives those back, once no thread is working on any.
    pub fn replace(&mut self, lanes: Lanes) -> Lanes {
        let mut state = self.shared.lock();
        state.paused = true;
        while state.lanes.iter().any(|lane| lane.stream.is_none()) && !state.died {
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let before = std::mem::replace(&mut state.lanes, lanes.0);
        state.paused = false;
        drop(state);
        self.shared.room.notify_all();
        Lanes(before)
    }

    /// What was done and waited for.
    pub fn counters(&self) -> StreamCounters {
        let state = self.shared.lock();
        let ready = state.lanes.iter().map(|lane| lane.ready.len() as u64).min().unwrap_or(0);
        StreamCounters { ready, ..state.counters }
    }

    /// Waits until every row has a sequence, or an error, ready.
    fn wait(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.shared.lock();
        let started = Instant::now();
        while state.lanes.iter().any(|lane| lane.ready.is_empty()) {
            let ended = state.lanes.iter().position(|lane| lane.ended && lane.ready.is_empty());
            if state.died || ended.is_some() {
                return Err(Error::new("the data stream has ended: reading failed before"));
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.counters.waited_for_data += started.elapsed().as_secs_f64();
        Ok(state)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A thread that panicked has told so on standard error.
            drop(worker.join());
        }
    }
}

/// Tells the trainer that a thread is gone, which would otherwise wait for it forever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().died = true;
            self.0.ready.notify_all();
        }
    }
}

fn work(shared: &Shared) {
    let _alarm = Alarm(shared);
    let mut state = shared.lock();
    let mut idle = Duration::ZERO;
    while !state.stopped {
        let Some((index, mut stream)) = take(&mut state, shared.ahead) else {
            let started = Instant::now();
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            idle += started.elapsed();
            continue;
        };
        drop(state);
        let made = stream.next();
        let work = stream.take_work();
        state = shared.lock();
        let counters = &mut state.counters;
        counters.waited_for_trainer += std::mem::take(&mut idle).as_secs_f64();
        counters.reading += work.reading.as_secs_f64();
        counters.tokenising += work.tokenising.as_secs_f64();
        counters.bytes += work.bytes;
        counters.tokens += work.tokens;
        let lane = &mut state.lanes[index];
        lane.ended = made.is_err();
        lane.ready.push_back(made);
        lane.stream = Some(stream);
        shared.ready.notify_all();
    }
}

/// The row that is most behind, if there is work.
fn take(state: &mut State, ahead: usize) -> Option<(usize, RowStream)> {
    if state.paused {
        return None;
    }
    let waits = |lane: &Lane| lane.stream.is_some() && !lane.ended && lane.ready.len() < ahead;
    let lanes = state.lanes.iter_mut().enumerate();
    let (index, lane) = lanes.filter(|(_, lane)| waits(lane)).min_by_key(|(_, lane)| lane.ready.len())?;
    Some((index, lane.stream.take()?))
}
