//! What a library says of itself, asked for in a process of its own and remembered.
//!
//! A library that crashes when it is opened takes that process with it and not psann; it is put in quarantine until its
//! file changes. What is remembered counts as long as the file has the same size and time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use psann_core::{Error, Result};
use psann_sdk::call::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::library;

/// Where scans are remembered, in the project's folder.
pub const FILE: &str = ".psann/plugin-scans.json";

/// How long a library may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Who it is and what it offers.
    Manifest(Manifest),
    /// Why it is no plugin that can be used.
    Refused(String),
    /// How it died.
    Quarantined(String),
}

/// What is known of a library.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    bytes: u64,
    modified: u128,
    /// BLAKE3 of the file, in hex.
    pub hash: String,
    /// What it said; nothing if it was never opened.
    pub outcome: Option<Outcome>,
}

/// Scans, by path.
#[derive(Debug)]
pub struct Scans {
    file: PathBuf,
    by_path: BTreeMap<PathBuf, Scan>,
    /// The program, and what stands before the library's path, that prints [`report`].
    command: Vec<OsString>,
    changed: bool,
}

impl Scans {
    /// Those of the project in `folder`. `command` is how a process is started that prints [`report`] of a path behind it.
    pub fn read(folder: &Path, command: Vec<OsString>) -> Self {
        let file = folder.join(FILE);
        // What cannot be read is found out again.
        let known = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, by_path: known.unwrap_or_default(), command, changed: false }
    }

    /// What is known of a library without opening it: its hash, and what it said before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn known(&mut self, path: &Path) -> Result<Scan> {
        let cannot = |e: std::io::Error| Error::new(format!("cannot read `{}`", path.display())).because(e);
        let about = std::fs::metadata(path).map_err(cannot)?;
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let (bytes, modified) = (about.len(), about.modified().map(since).map_err(cannot)?);
        if let Some(scan) = self.by_path.get(path).filter(|scan| (scan.bytes, scan.modified) == (bytes, modified)) {
            return Ok(scan.clone());
        }
        let scan = Scan { bytes, modified, hash: library::hash(path)?, outcome: None };
        self.by_path.insert(path.to_owned(), scan.clone());
        self.changed = true;
        Ok(scan)
    }

    /// The same, opening the library in a process of its own if that was not done.
    ///
    /// # Errors
    /// When it cannot be read, or no process can be started.
    pub fn opened(&mut self, path: &Path) -> Result<Scan> {
        let mut scan = self.known(path)?;
        if scan.outcome.is_none() {
            scan.outcome = Some(self.ask(path)?);
            self.by_path.insert(path.to_owned(), scan.clone());
            self.changed = true;
        }
        Ok(scan)
    }

    /// Writes down what is new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        // Files that are gone are forgotten.
        self.by_path.retain(|path, _| path.exists());
        let write = || -> std::io::Result<()> {
            if let Some(folder) = self.file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let temporary = self.file.with_extension(format!("{}.tmp", std::process::id()));
            std::fs::write(&temporary, serde_json::to_vec_pretty(&self.by_path)?)?;
            std::fs::rename(&temporary, &self.file)
        };
        write().map_err(|e| Error::new(format!("cannot write `{}`", self.file.display())).because(e))?;
        self.changed = false;
        Ok(())
    }

    fn ask(&self, path: &Path) -> Result<Outcome> {
        let cannot = |e: std::io::Error| Error::new(format!("cannot scan `{}`", path.display())).because(e);
        let (program, before) =
            self.command.split_first().ok_or_else(|| Error::new("there is no program that scans"))?;
        let mut child = Command::new(program)
            .args(before)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let (text, status) = answer(&mut child).map_err(cannot)?;
        let Some(status) = status else {
            let seconds = PATIENCE.as_secs();
            return Ok(Outcome::Quarantined(format!("it did not say who it is within {seconds} s of being opened")));
        };
        if let Some(signal) = status.signal() {
            return Ok(Outcome::Quarantined(format!("opening it ended the process with {}", signal_name(signal))));
        }
        let answer: Answer = match serde_json::from_slice(&text) {
            Ok(answer) => answer,
            Err(_) => return Ok(Outcome::Quarantined(format!("opening it ended the process with {status}"))),
        };
        Ok(match answer {
            Answer::Manifest(manifest) => Outcome::Manifest(manifest),
            Answer::Refused(why) => Outcome::Refused(why),
        })
    }
}

/// All that a child writes, and how it ended; it is killed when it takes too long.
fn answer(child: &mut Child) -> std::io::Result<(Vec<u8>, Option<ExitStatus>)> {
    let mut output = child.stdout.take();
    let (done, wait) = channel();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(output) = &mut output {
            output.read_to_end(&mut text)?;
        }
        // The other end is gone only after it lost its patience.
        let _gone = done.send(());
        Ok(text)
    });
    if wait.recv_timeout(PATIENCE).is_err() {
        child.kill()?;
        child.wait()?;
        return Ok((Vec::new(), None));
    }
    let status = child.wait()?;
    let text = reader.join().unwrap_or_else(|_| Err(std::io::Error::other("reading panicked")))?;
    Ok((text, Some(status)))
}

/// A signal that ended a process, in words.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => " (a wild pointer)",
        libc::SIGABRT => " (abort)",
        libc::SIGBUS => " (a bad address)",
        libc::SIGILL => " (an instruction that this processor does not have)",
        libc::SIGFPE => " (arithmetic)",
        libc::SIGKILL => " (killed)",
        _ => "",
    };
    format!("signal {signal}{name}")
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Manifest(Manifest),
    Refused(String),
}

/// What the process that opens a library prints: who that is, or why it is no plugin. Its code runs here.
pub fn report(path: &Path) -> String {
    let answer = match library::inspect(path) {
        Ok(manifest) => Answer::Manifest(manifest),
        Err(error) => Answer::Refused(match error.hint_text() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        }),
    };
    json!(answer).to_string()
}
