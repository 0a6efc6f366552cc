//! Input that can be read once: standard input, and the output of a command that psann starts.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use psann_core::{Error, Result};

/// Lines of a failed command's messages that an error shows.
const LAST_LINES: usize = 5;
/// How long to wait for the messages of a command that ended: its own children may keep the pipe open for ever.
const MESSAGES_WAIT: Duration = Duration::from_secs(2);

static STDIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard input, once.
pub fn stdin() -> Result<std::io::Stdin> {
    if STDIN_TAKEN.swap(true, Ordering::SeqCst) {
        return Err(Error::new("standard input was read already; it cannot be read a second time")
            .hint("write it to a file and name the file"));
    }
    Ok(std::io::stdin())
}

/// A command whose output is being read. It ends with its last handle.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Mutex<Child>,
    /// Whether its output was read to the end, so that waiting for it cannot block it.
    drained: AtomicBool,
    messages: Mutex<Receiver<Vec<String>>>,
}

/// The output of a command.
#[derive(Debug)]
pub struct Output {
    stdout: ChildStdout,
    running: Arc<Running>,
}

/// Starts a command; returns its output and the handle that knows how it ended.
///
/// # Errors
/// When it cannot be started.
pub fn command(words: &[String]) -> Result<(Output, Arc<Running>)> {
    let name = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::usage("`command` is empty").hint("give the program and its arguments"));
    };
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.map_err(|e| {
        Error::new(format!("cannot start the command `{name}`"))
            .because(e)
            .hint("check `command`: its first word is the program")
    })?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::new(format!("the command `{name}` has no output")));
    };
    let running = Arc::new(Running {
        name,
        child: Mutex::new(child),
        drained: AtomicBool::new(false),
        messages: Mutex::new(last_lines(stderr)),
    });
    Ok((Output { stdout, running: Arc::clone(&running) }, running))
}

/// Reads messages as they come, so that the command never waits for us, and sends the last ones at the end.
fn last_lines(stderr: ChildStderr) -> Receiver<Vec<String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut last = VecDeque::new();
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            last.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            if last.len() > LAST_LINES {
                last.pop_front();
            }
            line.clear();
        }
        // Nobody may be left to hear it.
        let _ = sender.send(last.into());
    });
    receiver
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stdout.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.running.drained.store(true, Ordering::SeqCst);
        }
        Ok(count)
    }
}

impl Running {
    /// Whether its output was read to the end.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::SeqCst)
    }

    /// Waits for its end, once its output is drained.
    ///
    /// # Errors
    /// When it failed; shows the last lines it wrote to standard error.
    pub fn finish(&self) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status =
            child.wait().map_err(|e| Error::new(format!("cannot wait for the command `{}`", self.name)).because(e))?;
        if status.success() {
            return Ok(());
        }
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let last = messages.recv_timeout(MESSAGES_WAIT).unwrap_or_default();
        let said = if last.is_empty() { String::new() } else { format!("; it said:\n  {}", last.join("\n  ")) };
        Err(Error::new(format!("the command `{}` failed with {status}{said}", self.name))
            .hint("run it on its own first; its output is used only when it ends with status 0"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Both fail only for a child that has ended, and then there is nothing to do.
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> (String, Result<()>) {
        let (mut output, running) = command(&["sh", "-c", script].map(str::to_owned)).unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert!(running.is_drained());
        (text, running.finish())
    }

    #[test]
    fn a_failed_command_shows_its_last_messages() {
        let (text, end) = run("echo one; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3");
        let error = end.unwrap_err().to_string();
        assert_eq!(text, "one\n");
        assert!(
            error.contains("exit status: 3") && error.ends_with("line 3\n  line 4\n  line 5\n  line 6\n  line 7"),
            "{error}"
        );
        assert!(run("echo one").1.is_ok());
        assert!(command(&["no-such-program".to_owned()]).unwrap_err().to_string().contains("cannot start"));
    }

    #[test]
    fn a_command_that_nobody_reads_any_more_is_ended() {
        let (output, running) = command(&["sleep".to_owned(), "1000".to_owned()]).unwrap();
        drop((output, running));
    }
}
