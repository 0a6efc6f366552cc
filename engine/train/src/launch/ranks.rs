//! The processes of one attempt: started together, stopped together when one fails, gone when this is dropped.
//!
//! Threads that read and wait only send messages; the thread that started the ranks does everything else, so that no
//! signal is ever sent to a process whose number may belong to another by then: a rank's end is noticed without reaping
//! it, and it is reaped in the same breath as the rank is noted to be gone.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Instant;

use psann_core::{Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::signal_name;

use super::LaunchOptions;
use super::affinity::pinned;
use super::lifeline::{self, Lifeline};
use super::output::{LastLines, forward, read_lines};
use super::signals::{Stop, suspend};
use super::world::World;

/// The exit codes of psann: a mistake of the user's, and a stop that was asked for.
const USAGE: i32 = 2;
const INTERRUPTED: i32 = 130;

/// What the threads beside the launcher tell it.
#[derive(Debug)]
pub enum Message {
    /// A rank of an attempt printed a line.
    Line { attempt: u32, rank: usize, is_error: bool, line: Vec<u8> },
    /// One of its streams ended.
    Closed { attempt: u32, rank: usize },
    /// It ended and waits to be reaped.
    Ended { attempt: u32, rank: usize },
    /// A signal came for the launcher.
    Signal(i32),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// As shells count: 128 and the signal's number where a signal ended it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code as u8,
            Self::Signal(signal) => 128_u8.wrapping_add(signal as u8),
        }
    }

    pub fn is_usage(self) -> bool {
        self == Self::Code(USAGE)
    }

    /// `with exit code 3`, `killed by SIGKILL`.
    pub fn text(self) -> String {
        match self {
            Self::Code(code) => format!("with exit code {code}"),
            Self::Signal(signal) => match signal_name(signal) {
                Some(name) => format!("killed by {name}"),
                None => format!("killed by signal {signal}"),
            },
        }
    }
}

/// The rank that failed first.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    pub rank: usize,
    pub end: End,
    /// What it said last, of ranks whose output is read.
    pub message: Option<String>,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    Done,
    /// Ranks stopped because they were asked to; the end of the first of them.
    Interrupted(End),
    Failed(Failed),
}

/// The processes.
pub struct Ranks<'a> {
    options: &'a LaunchOptions,
    attempt: u32,
    processes: Vec<Process>,
    /// How the ranks of this attempt were asked to stop; a second time would end them before they have saved.
    told: Option<Signal>,
}

struct Process {
    child: Child,
    pid: Pid,
    end: Option<End>,
    open_streams: usize,
    last: LastLines,
}

impl<'a> Ranks<'a> {
    /// Starts all ranks of `attempt`.
    pub fn start(
        options: &'a LaunchOptions,
        attempt: u32,
        port: u16,
        lifeline: &Lifeline,
        messages: &SyncSender<Message>,
    ) -> Result<Self> {
        let mut started = Self { options, attempt, processes: Vec::new(), told: None };
        for rank in 0..options.ranks {
            let world = World {
                rank,
                size: options.ranks,
                local_rank: rank,
                local_size: options.ranks,
                port,
                restart: attempt,
                run_id: options.run_id.clone(),
                ..World::alone()
            };
            let mut command = command(options, &world, lifeline);
            let child = if options.pin { pinned(rank, options.ranks, || command.spawn())? } else { command.spawn() };
            let child = child.map_err(|e| {
                Error::new(format!("cannot start rank {rank} as `{}`", options.program.display())).because(e)
            })?;
            let pid = Pid::from_child(&child);
            started.processes.push(Process { child, pid, end: None, open_streams: 0, last: LastLines::default() });
            started.listen(rank, messages)?;
        }
        Ok(started)
    }

    /// Starts the threads that read a rank's output and wait for its end.
    fn listen(&mut self, rank: usize, messages: &SyncSender<Message>) -> Result<()> {
        let attempt = self.attempt;
        let this = &mut self.processes[rank];
        let out = this.child.stdout.take().map(|stream| (false, Box::new(stream) as Box<dyn Read + Send>));
        let error = this.child.stderr.take().map(|stream| (true, Box::new(stream) as Box<dyn Read + Send>));
        for (is_error, stream) in out.into_iter().chain(error) {
            this.open_streams += 1;
            let messages = messages.clone();
            // The launcher hangs up when it has given up on a rank; nobody wants to know more of that one then.
            spawn(move || {
                read_lines(stream, |line| messages.send(Message::Line { attempt, rank, is_error, line }).is_ok());
                drop(messages.send(Message::Closed { attempt, rank }));
            })?;
        }
        let (pid, messages) = (this.pid, messages.clone());
        spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(pid), options).is_err_and(|e| e == Errno::INTR) {}
            drop(messages.send(Message::Ended { attempt, rank }));
        })
    }

    /// Forwards output and signals until every rank has ended, and sees to it that all do once one has failed.
    pub fn watch(&mut self, messages: &Receiver<Message>, stop: &mut Stop, output: &mut dyn Write) -> Outcome {
        let (mut failed, mut interrupted) = (None, None);
        let mut deadline = None;
        while self.processes.iter().any(|rank| rank.end.is_none() || rank.open_streams > 0) {
            // Asked before each message: ranks that print without a pause must not put it off.
            if deadline.is_some_and(|at| Instant::now() >= at) {
                if self.all_ended() {
                    break;
                }
                self.kill();
                deadline = None;
            }
            let message = match deadline {
                None => messages.recv().ok(),
                Some(at) => messages.recv_timeout(Instant::saturating_duration_since(&at, Instant::now())).ok(),
            };
            match message {
                Some(Message::Signal(signal)) => self.signalled(signal, stop),
                Some(Message::Line { attempt, rank, is_error, line }) if attempt == self.attempt => {
                    forward(output, rank, &line);
                    if is_error {
                        self.processes[rank].last.push(&line);
                    }
                }
                Some(Message::Closed { attempt, rank }) if attempt == self.attempt => {
                    self.processes[rank].open_streams -= 1;
                }
                Some(Message::Ended { attempt, rank }) if attempt == self.attempt => {
                    let end = self.reap(rank);
                    if stop.killed() || self.is_interruption(end) {
                        interrupted.get_or_insert(end);
                        // The others may be saving still, which takes as long as it takes.
                        self.tell(Signal::TERM);
                    } else if end != End::Code(0) && failed.is_none() {
                        failed = Some((rank, end));
                        self.tell(Signal::TERM);
                        deadline = Some(Instant::now() + self.options.grace);
                    }
                    // A process that left its rank's group may hold the rank's output open for ever.
                    if self.all_ended() {
                        deadline = Some(Instant::now() + self.options.grace);
                    }
                }
                Some(_) | None => {}
            }
        }
        match (failed, interrupted) {
            (Some((rank, end)), _) => {
                let message = self.processes[rank].last.error().map(str::to_owned);
                Outcome::Failed(Failed { rank, end, message })
            }
            (None, Some(end)) => Outcome::Interrupted(end),
            (None, None) => Outcome::Done,
        }
    }

    fn signalled(&mut self, signal: i32, stop: &mut Stop) {
        let Some(known) = Signal::from_named_raw(signal) else { return };
        if known == Signal::TSTP {
            self.to_groups(Signal::STOP);
            suspend();
            self.to_groups(Signal::CONT);
        } else if stop.hear() {
            self.tell(known);
        } else if signal == SIGINT {
            stop.kill();
            self.kill();
        }
    }

    /// Asks the ranks that still work to stop, unless they were asked before.
    fn tell(&mut self, signal: Signal) {
        if self.told.is_none() {
            self.told = Some(signal);
            for rank in self.living() {
                // It may be gone by now, which is what was asked for.
                _ = kill_process(rank.pid, signal);
            }
        }
    }

    /// A process that has no handler yet ends by the signal itself.
    fn is_interruption(&self, end: End) -> bool {
        end == End::Code(INTERRUPTED) || self.told.is_some_and(|signal| end == End::Signal(signal.as_raw()))
    }

    fn kill(&self) {
        self.to_groups(Signal::KILL);
    }

    fn to_groups(&self, signal: Signal) {
        for rank in self.living() {
            _ = kill_process_group(rank.pid, signal);
        }
    }

    fn all_ended(&self) -> bool {
        self.living().next().is_none()
    }

    fn living(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|rank| rank.end.is_none())
    }

    /// Notes how a rank ended and ends what it started and left behind.
    fn reap(&mut self, rank: usize) -> End {
        let rank = &mut self.processes[rank];
        _ = kill_process_group(rank.pid, Signal::KILL);
        let end = rank.child.wait().map_or(End::Signal(0), End::of);
        rank.end = Some(end);
        end
    }
}

impl Drop for Ranks<'_> {
    fn drop(&mut self) {
        self.kill();
        for rank in &mut self.processes {
            drop(rank.child.wait());
        }
    }
}

/// A rank's command. It leads a process group, so that Ctrl-C reaches the launcher alone and a kill its descendants too.
fn command(options: &LaunchOptions, world: &World, lifeline: &Lifeline) -> Command {
    let mut command = Command::new(&options.program);
    command.args(&options.arguments).process_group(0);
    command.envs(world.variables()).env(lifeline::VARIABLE, lifeline.value());
    for name in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
        match options.threads {
            Some(threads) => command.env(name, threads.to_string()),
            None if std::env::var_os(name).is_none() => command.env(name, options.thread_share().to_string()),
            None => &mut command,
        };
    }
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    if world.rank == 0 {
        // The system stops a process that reads from a terminal outside of the terminal's own process group.
        if std::io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
    } else {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    command
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().name("launch".into()).spawn(work);
    started.map(drop).map_err(|e| Error::new("cannot start a thread that watches a rank").because(e))
}
