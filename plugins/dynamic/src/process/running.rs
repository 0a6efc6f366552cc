//! A program that runs: its output as a reader that can be interrupted, its messages on the way to the log, its end.
//!
//! Each program has a thread that starts it, waits for it and reaps it. It starts it because the system kills the program
//! with the thread that started it ([`system::die_with_this_thread`]), and worker threads come and go. It alone reaps it,
//! and only after the group was killed, because the number of a reaped process may become another's.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use psann_core::{Error, Result};

use super::system;

/// Where lines for the user go.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;
/// Whether the user asked to stop.
pub type Cancelled = Arc<dyn Fn() -> bool + Send + Sync>;

/// How long a wait may last before the wish to stop is asked for again.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long to wait for the messages of a program that ended: processes that left its group may keep the pipe open.
const MESSAGES_WAIT: Duration = Duration::from_secs(2);
/// Lines of a failed program's messages that an error shows.
const LAST_LINES: usize = 5;
/// Longer lines of messages are cut into pieces.
const LONGEST_LINE: u64 = 8 << 10;

const HINT: &str =
    "what it writes counts only when it ends with status 0; try it on its own, with the same `PSANN_OPTIONS`";

/// A program that was started. It is killed with its last handle, and the processes of its group with it.
pub struct Running {
    /// What errors call it.
    name: String,
    number: u32,
    life: Arc<Life>,
    keeper: Option<JoinHandle<()>>,
    messages: Arc<Messages>,
    cancelled: Cancelled,
    /// Whether reading ended because the user asked to stop.
    interrupted: AtomicBool,
    /// Whether its output was read to the end.
    drained: AtomicBool,
}

/// What the keeper and the handle know of a program. It is reaped under the lock, and never before it was released.
#[derive(Default)]
struct Life {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// It ended, and is not reaped yet.
    ended: bool,
    /// Nobody needs its group any more.
    released: bool,
    /// How it ended, once it is reaped.
    status: Option<Result<ExitStatus, String>>,
}

/// The output of a program.
pub struct Output {
    stdout: ChildStdout,
    running: Arc<Running>,
}

/// Starts a program without input. Errors call it `name`; its messages come to the log behind `id`.
///
/// # Errors
/// When it cannot be started.
pub fn start(
    mut command: Command,
    name: String,
    id: &str,
    log: Log,
    cancelled: Cancelled,
) -> Result<(Output, Arc<Running>)> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    system::die_with_this_thread(&mut command);
    let life = Arc::new(Life::default());
    let (sender, receiver) = channel();
    let keep = {
        let life = Arc::clone(&life);
        move || match command.spawn() {
            Ok(mut child) => {
                // Whoever waits for it waits until it comes.
                let _ = sender.send(Ok((child.id(), child.stdout.take(), child.stderr.take())));
                life.keep(child);
            }
            Err(error) => {
                let _ = sender.send(Err(error));
            }
        }
    };
    let started = thread::Builder::new().name(id.to_owned()).spawn(keep).and_then(|keeper| {
        let child = receiver.recv().map_err(|_| io::Error::other("the thread that starts it ended"))??;
        Ok((keeper, child))
    });
    let (keeper, (number, stdout, stderr)) = started.map_err(|error| cannot_start(&name, &program, error))?;
    let messages = Arc::new(Messages::default());
    let running = Arc::new(Running {
        name,
        number,
        life,
        keeper: Some(keeper),
        messages: Arc::clone(&messages),
        cancelled,
        interrupted: AtomicBool::new(false),
        drained: AtomicBool::new(false),
    });
    // From here on dropping `running` ends the program.
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
        return Err(running.error("its program was started without pipes"));
    };
    let (listener, prefix) = (Arc::clone(&messages), format!("{id}: "));
    let listen = move || listener.listen(stderr, &prefix, &log);
    thread::Builder::new()
        .name(format!("{id} log"))
        .spawn(listen)
        .map_err(|e| running.error("no thread can be started that reads its messages").because(e))?;
    Ok((Output { stdout, running: Arc::clone(&running) }, running))
}

fn cannot_start(name: &str, program: &str, cause: io::Error) -> Error {
    let hint = match cause.kind() {
        io::ErrorKind::NotFound => format!("install `{program}`, or put it into the `PATH`"),
        io::ErrorKind::PermissionDenied => {
            format!("make `{program}` executable, or name its interpreter first in the manifest's `command`")
        }
        io::ErrorKind::ArgumentListTooLong => {
            "the options and the place to go on from have to fit the environment: give large options in a file"
                .to_owned()
        }
        _ => "check `command` in its manifest: the first word is the program".to_owned(),
    };
    Error::new(format!("{name}: its program `{program}` cannot be started")).because(cause).hint(hint)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Life {
    /// The work of the keeper, once it started the program.
    fn keep(&self, mut child: Child) {
        system::wait_unreaped(child.id());
        let mut state = lock(&self.state);
        state.ended = true;
        self.changed.notify_all();
        while !state.released {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Processes that outlived their leader.
        system::kill_group(child.id());
        state.status = Some(child.wait().map_err(|e| e.to_string()));
        self.changed.notify_all();
    }
}

impl Running {
    /// An error about this program.
    pub fn error(&self, message: &str) -> Error {
        Error::new(format!("{}: {message}", self.name))
    }

    /// Whether its output was read to the end.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// What is to be said instead of `error`, which reading its output came to: that the user asked to stop, or that the
    /// program failed and therefore wrote half of something.
    pub fn explain(&self, error: Error) -> Error {
        if self.interrupted.load(Ordering::Relaxed) {
            return self.stopped();
        }
        match if self.is_drained() { self.finish() } else { Ok(()) } {
            Ok(()) => error.within(&self.name),
            Err(failed) => failed,
        }
    }

    fn stopped(&self) -> Error {
        Error::interrupted(format!("stopped while reading from {}", self.name))
    }

    /// Waits for its end, once its output is drained. What is left of its group is killed.
    ///
    /// # Errors
    /// When it failed; shows the last lines that it wrote to standard error. When the user asks to stop.
    pub fn finish(&self) -> Result<()> {
        let status = {
            let mut state = lock(&self.life.state);
            while !state.ended {
                if (self.cancelled)() {
                    return Err(self.stopped());
                }
                let waited = self.life.changed.wait_timeout(state, PATIENCE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.released = true;
            self.life.changed.notify_all();
            loop {
                match &state.status {
                    Some(status) => break status.clone(),
                    None => state = self.life.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        let last = self.messages.last();
        let status = status.map_err(|e| self.error("nobody knows how its program ended").because(e))?;
        if status.success() {
            return Ok(());
        }
        let said = if last.is_empty() { String::new() } else { format!("; it said:\n  {}", last.join("\n  ")) };
        Err(match status.signal() {
            Some(libc::SIGKILL) if last.is_empty() => self
                .error("its program was killed (signal 9)")
                .hint("most often the system does that, when memory runs out"),
            Some(_) => self.error(&format!("its program was ended by {status}{said}")).hint(HINT),
            None => self.error(&format!("its program failed with {status}{said}")).hint(HINT),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.life.state);
            // Reaped, the number may be another's.
            if state.status.is_none() {
                system::kill_group(self.number);
            }
            state.released = true;
            self.life.changed.notify_all();
        }
        if let Some(keeper) = self.keeper.take() {
            // It cannot panic, and if it did there would be nothing left to wait for.
            let _ = keeper.join();
        }
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if (self.running.cancelled)() {
                self.running.interrupted.store(true, Ordering::Relaxed);
                return Err(io::Error::other("stopped"));
            }
            if system::is_readable(self.stdout.as_fd(), PATIENCE)? {
                break;
            }
        }
        let count = self.stdout.read(buffer)?;
        if count == 0 {
            self.running.drained.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}

/// What a program wrote to standard error.
#[derive(Default)]
struct Messages {
    heard: Mutex<Heard>,
    closed: Condvar,
}

#[derive(Default)]
struct Heard {
    last: VecDeque<String>,
    /// Nothing more will come.
    closed: bool,
}

impl Messages {
    /// Reads messages as they come, so that the program never waits for us.
    fn listen(&self, stderr: ChildStderr, prefix: &str, log: &Log) {
        let mut reader = BufReader::new(stderr);
        let mut bytes = Vec::new();
        while (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if line.is_empty() {
                continue;
            }
            log(&format!("{prefix}{line}"));
            let mut heard = lock(&self.heard);
            heard.last.push_back(line);
            if heard.last.len() > LAST_LINES {
                heard.last.pop_front();
            }
        }
        lock(&self.heard).closed = true;
        self.closed.notify_all();
    }

    /// The last lines, when all were heard, or nothing more came for a while.
    fn last(&self) -> Vec<String> {
        let waited = self.closed.wait_timeout_while(lock(&self.heard), MESSAGES_WAIT, |heard| !heard.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.last.iter().cloned().collect()
    }
}
