//! [`ProcessSource`]: a program as a source of documents.

use std::io::Read;
use std::process::Command;
use std::sync::Arc;

use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{DataSource, Error, Result};
use serde_json::Value;

use super::manifest::ProcessManifest;
use super::options;
use super::partitions;
use super::position::Position;
use super::reader::Reader;
use super::running::{self, Cancelled, Log, Output, Running};

/// Longest text that a program may say about its content.
const LONGEST_IDENTITY: u64 = 1 << 20;

/// Characters of a place that errors show.
const SHOWN: usize = 60;

/// A program that writes documents.
pub struct ProcessSource {
    manifest: Arc<ProcessManifest>,
    /// What the program gets, as JSON.
    options: String,
    log: Log,
    cancelled: Cancelled,
}

/// What a program is run for.
#[derive(Default)]
struct Purpose<'a> {
    partition: &'a str,
    resume: &'a str,
    /// A variable that asks for something else than documents.
    instead: Option<&'static str>,
}

impl ProcessSource {
    /// The source that a manifest describes, with the options that a recipe gave. Lines that the program writes to standard
    /// error go to `log`, behind the plugin's id. Reading ends soon after `cancelled` says so.
    ///
    /// # Errors
    /// One usage error that names every problem of the options.
    pub fn new(
        manifest: Arc<ProcessManifest>,
        options: Value,
        log: Arc<dyn Fn(&str) + Send + Sync>,
        cancelled: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<Self> {
        let options = options::complete(&manifest.process.options, options)?.to_string();
        Ok(Self { manifest, options, log, cancelled })
    }

    /// What messages call it.
    fn name(&self) -> String {
        format!("plugin `{}`", self.manifest.id)
    }

    fn start(&self, purpose: &Purpose<'_>) -> Result<(Output, Arc<Running>)> {
        let mut words = self.manifest.command().into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        // Set or removed, all of them: psann itself may run under such a program.
        command.env("PSANN_OPTIONS", &self.options);
        command.env("PSANN_PARTITION", purpose.partition).env("PSANN_RESUME", purpose.resume);
        for variable in ["PSANN_LIST", "PSANN_IDENTITY"] {
            if purpose.instead == Some(variable) {
                command.env(variable, "1");
            } else {
                command.env_remove(variable);
            }
        }
        let mut name = self.name();
        if !purpose.partition.is_empty() {
            name = format!("{name}: partition `{}`", purpose.partition);
        }
        if !purpose.resume.is_empty() {
            // Lines and rows are counted from there.
            let short: String = purpose.resume.chars().take(SHOWN).collect();
            name = format!("{name} behind `{short}`");
        }
        let (log, cancelled) = (Arc::clone(&self.log), Arc::clone(&self.cancelled));
        running::start(command, name, &self.manifest.id, log, cancelled)
    }

    /// Runs the program for something else than documents, to its end.
    fn ask<T>(&self, variable: &'static str, read: impl FnOnce(Output) -> Result<T>) -> Result<T> {
        let (output, running) = self.start(&Purpose { instead: Some(variable), ..Purpose::default() })?;
        let read = read(output).map_err(|error| running.explain(error))?;
        running.finish()?;
        Ok(read)
    }
}

impl DataSource for ProcessSource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        if !self.manifest.process.partitions {
            let location = self.manifest.id.clone();
            return Ok(vec![Partition { index: 0, location, start: 0, end: None, bytes: 0 }]);
        }
        let partitions = self.ask("PSANN_LIST", partitions::read)?;
        if partitions.is_empty() {
            return Err(Error::new(format!("{}: it lists no partitions", self.name()))
                .hint("its options may leave nothing; with `partitions = true` it has to list at least one"));
        }
        Ok(partitions)
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        let process = &self.manifest.process;
        let position = resume.map_or(Ok(Position::default()), |token| Position::read(token, process.resume));
        let position = position.map_err(|error| error.within(self.name()))?;
        let partition = if process.partitions { partition.location.as_str() } else { "" };
        let purpose = Purpose { partition, resume: &position.token, instead: None };
        let (output, running) = self.start(&purpose)?;
        Ok(Box::new(Reader::open(output, running, process.format, process.resume, position)?))
    }

    /// Changes with the manifest, the files that it lists and the options; with what the program reads only where it says so
    /// itself.
    fn identity(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.manifest.hash()?.as_bytes());
        hasher.update(blake3::hash(self.options.as_bytes()).as_bytes());
        if self.manifest.process.identity {
            let text = self.ask("PSANN_IDENTITY", |output| {
                let mut text = Vec::new();
                output
                    .take(LONGEST_IDENTITY + 1)
                    .read_to_end(&mut text)
                    .map_err(|e| Error::new("its output cannot be read").because(e))?;
                if text.is_empty() {
                    return Err(Error::new("it says nothing of its content")
                        .hint("with `PSANN_IDENTITY=1` it writes a hash, a date or a version"));
                }
                if text.len() as u64 > LONGEST_IDENTITY {
                    return Err(Error::new(format!(
                        "what it says of its content is longer than {LONGEST_IDENTITY} bytes"
                    ))
                    .hint("with `PSANN_IDENTITY=1` it writes a hash, a date or a version, and no documents"));
                }
                Ok(text)
            })?;
            hasher.update(&text);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn notes(&self) -> Result<Vec<String>> {
        let process = &self.manifest.process;
        let mut notes = Vec::new();
        if !process.partitions {
            notes.push("is read by one worker");
        }
        if !process.identity {
            notes.push("cannot tell when its content changes");
        }
        let note = format!("{} {}", self.name(), notes.join(" and "));
        Ok(if notes.is_empty() { Vec::new() } else { vec![note] })
    }
}
