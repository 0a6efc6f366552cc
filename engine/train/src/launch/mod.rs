//! How psann becomes several processes, and how each learns which one it is.
//!
//! Training on several devices takes a process for each. Where torchrun, Slurm, MPI or Kubernetes started them,
//! [`World::from_environment`] reads who is who. Where nobody did, [`launch`] starts them on this machine, so that no
//! Python is needed: the same program with the same arguments, told its rank in the variables of torchrun.
//!
//! The launcher does no work of its own. Rank 0 has the terminal; what other ranks print is forwarded in whole lines.
//! When a rank fails the others are stopped, and all start again from what they saved; when the launcher is asked to
//! stop, it asks the ranks, which save and stop by themselves; when it is killed, they die with it.

mod affinity;
mod environment;
mod hosts;
mod lifeline;
mod output;
mod ranks;
mod signals;
mod slurm;
mod world;

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use psann_core::{Error, Event, Observer, Result};

pub use hosts::expand as expand_hosts;
pub use lifeline::follow_launcher;
pub use world::{DEFAULT_PORT, Launcher, World};

use lifeline::Lifeline;
use ranks::{Failed, Outcome, Ranks};
use signals::{Listener, Stop};

/// Messages of ranks that may wait to be handled. Ranks that print faster than the terminal takes wait, too.
const WAITING: usize = 256;

/// What to start, and how to treat it.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// Processes.
    pub ranks: usize,
    /// The program that each runs.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables beside those of the launcher, over which they win.
    pub environment: Vec<(OsString, OsString)>,
    /// Threads of each rank; by default an equal share of the cores, unless `OMP_NUM_THREADS` says more.
    pub threads: Option<usize>,
    /// Whether each rank gets cores of its own. Linux only.
    pub pin: bool,
    /// How often all ranks start again after one failed.
    pub restarts: u32,
    /// How long ranks may take to stop after one failed, before they are killed.
    pub grace: Duration,
    /// The port of the store; by default a free one, a new one for each restart.
    pub port: Option<u16>,
    /// Names the run among others.
    pub run_id: String,
}

impl LaunchOptions {
    /// This program with the arguments it was called with.
    pub fn this_program(ranks: usize) -> Result<Self> {
        let program = std::env::current_exe().map_err(|e| Error::new("cannot find this program").because(e))?;
        Ok(Self {
            ranks,
            program,
            arguments: std::env::args_os().skip(1).collect(),
            environment: Vec::new(),
            threads: None,
            pin: false,
            restarts: 0,
            grace: Duration::from_secs(10),
            port: None,
            run_id: format!("psann-{}", std::process::id()),
        })
    }

    /// The threads of a rank where nobody says otherwise.
    pub fn thread_share(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / self.ranks.max(1)).max(1)
    }
}

/// How a launch ended.
#[derive(Debug)]
pub struct Exit {
    /// The exit code of the first rank that failed or was interrupted: 128 and a signal's number where a signal ended
    /// it; 0 when all ranks finished.
    pub code: u8,
    /// How often all ranks were started again.
    pub restarts: u32,
    /// Which rank failed and how. None when all finished or stopped because they were asked to.
    pub error: Option<Error>,
}

/// Starts the ranks and waits for all of them.
///
/// `output` gets the lines of all ranks but the first, `observer` hears of restarts. SIGINT, SIGTERM and SIGUSR1 are
/// passed on to the ranks once; a SIGINT after that kills them. Exit code 2 (a mistake of the user's) and 130
/// (interrupted) are final; after any other failure all ranks start again, `restarts` times.
///
/// # Errors
/// When ranks cannot be started. That a rank fails is told by [`Exit`].
pub fn launch(options: &LaunchOptions, output: &mut dyn Write, observer: &dyn Observer) -> Result<Exit> {
    if options.ranks == 0 {
        return Err(Error::usage("0 ranks do nothing").hint("give 1 or more"));
    }
    if let Some(port) = options.port {
        bind(port).map_err(|e| {
            Error::new(format!("port {port} of this machine cannot be used"))
                .because(e)
                .hint("choose another, or none, to get a free one")
        })?;
    }
    let lifeline = Lifeline::new()?;
    let (sender, messages) = mpsc::sync_channel(WAITING);
    let mut stop = Stop::default();
    let _listener = Listener::start(sender.clone())?;
    let mut restarts = 0;
    loop {
        let port = match options.port {
            Some(port) => port,
            None => bind(0).map_err(|e| Error::new("this machine has no free port").because(e))?,
        };
        let outcome = Ranks::start(options, restarts, port, &lifeline, &sender)?.watch(&messages, &mut stop, output);
        match outcome {
            Outcome::Done => return Ok(Exit { code: 0, restarts, error: None }),
            Outcome::Interrupted(end) => return Ok(Exit { code: end.exit_code(), restarts, error: None }),
            Outcome::Failed(failed) if !failed.end.is_usage() && !stop.requested() && restarts < options.restarts => {
                restarts += 1;
                let again = format!("all ranks start again ({restarts} of {})", options.restarts);
                observer.event(Event::Warning(format!("{}; {again}", summary(&failed))));
            }
            Outcome::Failed(failed) => {
                let error = error(&failed, restarts);
                return Ok(Exit { code: failed.end.exit_code(), restarts, error: Some(error) });
            }
        }
    }
}

/// `rank 1 failed first, with exit code 3: no room on disk`.
fn summary(failed: &Failed) -> String {
    let message = failed.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("rank {} failed first, {}{message}", failed.rank, failed.end.text())
}

fn error(failed: &Failed, restarts: u32) -> Error {
    let mut text = summary(failed);
    if restarts > 0 {
        text.push_str(&format!(" (after {restarts} restart{})", if restarts == 1 { "" } else { "s" }));
    }
    let error = if failed.end.is_usage() { Error::usage(text) } else { Error::new(text) };
    match failed.end {
        ranks::End::Signal(9) => error.hint("when memory runs out the system kills so, and `dmesg` tells of it"),
        _ if failed.rank == 0 => error.hint("what it printed stands above"),
        _ => error.hint(format!("what it printed stands above, behind `[rank {}]`", failed.rank)),
    }
}

/// Whether `port` is free; 0 asks for one that is. The store is reached by all of the machine's addresses.
fn bind(port: u16) -> std::io::Result<u16> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?.local_addr().map(|address| address.port())
}
