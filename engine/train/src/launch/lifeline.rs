//! A pipe that nobody writes to. The launcher holds its one writing end, so the end of the pipe is the end of the
//! launcher, however it came: even a kill with -9 leaves no rank behind to hold a GPU.
//!
//! Ranks inherit the reading end and learn its number from a variable. Each leads a process group of its own, and
//! takes the processes it started along.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use psann_core::{Error, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};

/// Tells a rank the number of its reading end; its presence says that psann launched the process.
pub const VARIABLE: &str = "PSANN_LIFELINE";

/// The launcher's side.
#[derive(Debug)]
pub struct Lifeline {
    reading: OwnedFd,
    _writing: OwnedFd,
}

impl Lifeline {
    /// A pipe whose reading end every process started from now on inherits.
    pub fn new() -> Result<Self> {
        let pipe = pipe_with(PipeFlags::CLOEXEC).and_then(|(reading, writing)| {
            fcntl_setfd(&reading, FdFlags::empty())?;
            Ok(Self { reading, _writing: writing })
        });
        pipe.map_err(|e| Error::new("cannot make a pipe to the ranks").because(e))
    }

    /// The value of [`VARIABLE`].
    pub fn value(&self) -> String {
        self.reading.as_raw_fd().to_string()
    }
}

/// In a rank that psann launched, ends this process and those it started as soon as the launcher is gone; elsewhere
/// does nothing.
///
/// # Errors
/// When the pipe that the environment names cannot be opened.
pub fn follow_launcher(lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let Some(value) = lookup(VARIABLE) else { return Ok(()) };
    let mut pipe = File::open(format!("/dev/fd/{value}")).map_err(|e| {
        Error::new(format!("`{VARIABLE}` is `{value}`, which is no open pipe"))
            .because(e)
            .hint("psann sets this variable for the processes it starts; unset it elsewhere")
    })?;
    let watch = move || {
        loop {
            match pipe.read(&mut [0]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nobody writes, so whatever comes is the end.
                _ => break,
            }
        }
        // A process may always end itself.
        _ = if getpgrp() == getpid() {
            kill_current_process_group(Signal::KILL)
        } else {
            kill_process(getpid(), Signal::KILL)
        };
    };
    let started = thread::Builder::new().name("lifeline".into()).spawn(watch);
    started.map(drop).map_err(|e| Error::new("cannot start a thread that watches the launcher").because(e))
}
