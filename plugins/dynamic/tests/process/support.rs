//! Plugins of a few lines of shell, and how they are read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{DataSource, Document, Error, Result};
use psann_plugins_dynamic::process::{ProcessManifest, ProcessSource};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Much longer than anything here takes; whoever waits so long waits for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// A plugin in a folder of its own.
pub struct Plugin {
    folder: Arc<TempDir>,
}

impl Plugin {
    /// Runs `script` by `sh`. `more` are further lines of `[process]`.
    pub fn new(script: &str, more: &str) -> Self {
        let plugin = Self { folder: Arc::new(tempfile::tempdir().unwrap()) };
        let format = if more.contains("format =") { "" } else { "format = \"jsonl\"" };
        plugin.write("run.sh", script);
        plugin.write(
            "test.toml",
            &format!(
                "manifest_version = 1\nid = \"org.test\"\nversion = \"1\"\n[process]\ncommand = [\"sh\", \"run.sh\"]\n\
                 files = [\"run.sh\"]\n{format}\n{more}\n"
            ),
        );
        plugin
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn manifest(&self) -> Result<ProcessManifest> {
        ProcessManifest::read(&self.path("test.toml"))
    }

    /// The source without options.
    pub fn source(&self) -> Subject {
        self.with(json!({})).unwrap()
    }

    pub fn with(&self, options: Value) -> Result<Subject> {
        let source = Subject::new(self.manifest()?, options)?;
        Ok(Subject { _folder: Some(Arc::clone(&self.folder)), ..source })
    }

    /// The error of reading all there is, with its hint and without the folders of this machine.
    pub fn failure(&self) -> String {
        self.shown(&self.source().texts().unwrap_err())
    }

    pub fn shown(&self, error: &Error) -> String {
        let hint = error.hint_text().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        format!("{error}{hint}").replace(&self.folder.path().display().to_string(), "FOLDER")
    }
}

/// A source, what it said, and whether it is to stop.
pub struct Subject {
    pub source: ProcessSource,
    /// How often it is still told to go on.
    patience: Arc<AtomicUsize>,
    /// All lines so far.
    pub said: Arc<Mutex<Vec<String>>>,
    lines: Receiver<String>,
    /// Stays as long as the program may be started.
    _folder: Option<Arc<TempDir>>,
}

impl Subject {
    pub fn new(manifest: ProcessManifest, options: Value) -> Result<Self> {
        let (patience, said) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::<Mutex<Vec<String>>>::default());
        let (sender, lines): (Sender<String>, _) = channel();
        let (left, kept) = (Arc::clone(&patience), Arc::clone(&said));
        let log = move |line: &str| {
            kept.lock().unwrap().push(line.to_owned());
            // Few tests listen.
            let _ = sender.send(line.to_owned());
        };
        let stop = Arc::new(move || left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err());
        let source = ProcessSource::new(Arc::new(manifest), options, Arc::new(log), stop)?;
        Ok(Self { source, patience, said, lines, _folder: None })
    }

    /// Asks to stop, the time after the next `count` times that somebody wants to know.
    pub fn stop_after(&self, count: usize) {
        self.patience.store(count, SeqCst);
    }

    /// Waits for a line of the log that starts so, behind the plugin's id; returns the rest of it.
    pub fn wait_for(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the program never said it");
            if let Some(rest) = line.strip_prefix(&format!("org.test: {start}")) {
                return rest.trim().to_owned();
            }
        }
    }

    pub fn open(&self, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        self.source.open(&self.source.partitions()?[0], resume)
    }

    pub fn texts(&self) -> Result<Vec<String>> {
        texts(self.open(None)?.as_mut())
    }

    /// The documents of one partition.
    pub fn documents(&self, partition: &Partition) -> Vec<Document> {
        let mut reader = self.source.open(partition, None).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            found.extend((0..batch.len()).map(|row| batch.document(row)));
        }
        found
    }

    /// Reads all there is, and from each place that a reader comes to all that is left. Returns the places.
    pub fn check_resume(&self, expected: &[String]) -> Vec<String> {
        let mut reader = self.open(None).unwrap();
        let mut places = vec![(0, reader.position())];
        let mut read = 0;
        while let Some(batch) = reader.next_batch().unwrap() {
            assert!(batch.texts().eq(expected[read..].iter().take(batch.len())), "documents from {read} on");
            read += batch.len();
            places.push((read, reader.position()));
        }
        assert_eq!(read, expected.len());
        for (read, place) in &places {
            let mut reader = self.open(Some(place)).unwrap();
            assert_eq!(reader.position(), *place);
            assert!(texts(reader.as_mut()).unwrap() == expected[*read..], "resumed at `{}`", place.0);
        }
        places.into_iter().map(|(_, place)| place.0).collect()
    }
}

/// All that is left to be read.
pub fn texts(reader: &mut dyn BatchReader) -> Result<Vec<String>> {
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert!(!batch.is_empty(), "an empty batch looks like documents");
        found.extend(batch.texts().map(str::to_owned));
    }
    Ok(found)
}

/// Does something that may wait for ever if what is tested is broken.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("it still waits, or it panicked")
}

/// A pipe with a name, which ends when the last process is gone that opened it for writing.
pub fn named_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until no process holds the pipe any more; returns what they wrote into it.
pub fn end_of(pipe: &Path) -> String {
    let pipe = pipe.to_owned();
    in_time(move || fs::read_to_string(pipe).unwrap())
}

/// Whether there is a process of that number.
pub fn is_alive(number: &str) -> bool {
    Command::new("sh").args(["-c", "kill -0 \"$0\" 2>/dev/null", number]).status().unwrap().success()
}
