//! A source of a library, as core's trait.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use psann_core::batch::{BatchBuilder, Row};
use psann_core::source::{BatchReader, Partition, ResumeToken};
use psann_core::{Batch, DataSource, Result};
use psann_sdk::call::{Level, SourceCall, Stream};

use crate::{error, surroundings};

/// How long a plugin may take to open something before the user hears of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A source of a plugin.
pub struct PluginSource {
    /// Its name in recipes.
    pub name: String,
    /// The plugin with its version, for messages.
    pub plugin: String,
    /// Hash of its library.
    pub hash: String,
    /// The calls.
    pub call: SourceCall,
}

impl DataSource for PluginSource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let found = watched(&format!("{} has been listing its pieces", self.plugin), || self.call.partitions())?;
        let partition = |(index, piece): (usize, psann_sdk::Partition)| Partition {
            index,
            location: format!("{}: {}", self.name, piece.name),
            start: 0,
            end: None,
            bytes: piece.bytes,
        };
        Ok(found.into_iter().enumerate().map(partition).collect())
    }

    fn open(&self, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Box<dyn BatchReader>> {
        // A reader that has given nothing stands at the start, which has no token.
        let resume = resume.map(|token| token.0.as_str()).filter(|token| !token.is_empty());
        let opens = format!("{} has been opening `{}`", self.plugin, partition.location);
        let stream = watched(&opens, || self.call.open(partition.index as u64, resume))?;
        let ignored = stream.ignored();
        let warning =
            |names: &[String]| format!("{}: columns that documents do not have: `{}`", self.name, names.join("`, `"));
        let warnings = if ignored.is_empty() { Vec::new() } else { vec![warning(&ignored)] };
        let position = ResumeToken(resume.unwrap_or_default().to_owned());
        Ok(Box::new(PluginReader { location: partition.location.clone(), stream, position, warnings }))
    }

    fn identity(&self) -> Result<String> {
        let own =
            watched(&format!("{} has been finding out what its content is", self.plugin), || self.call.identity())?;
        Ok(format!("{} {own}", self.hash))
    }
}

/// Does `work`, and tells the user when it takes long: nobody but the plugin can hurry it.
fn watched<T>(what: &str, work: impl FnOnce() -> psann_sdk::Result<T>) -> Result<T> {
    watched_for(PATIENCE, what, |line| surroundings::log(Level::Warning, line), work)
}

fn watched_for<T>(
    patience: Duration,
    what: &str,
    log: impl Fn(&str) + Send + 'static,
    work: impl FnOnce() -> psann_sdk::Result<T>,
) -> Result<T> {
    let (done, wait) = channel::<()>();
    let what = what.to_owned();
    let watch = std::thread::spawn(move || {
        let mut waited = Duration::ZERO;
        while wait.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            waited += patience;
            let seconds = waited.as_secs();
            log(&format!("{what} for {seconds} s now; it cannot be hurried, Ctrl-C twice ends psann at once"));
        }
    });
    let result = work();
    drop(done);
    // It ends with the channel, whatever it was doing.
    drop(watch.join());
    result.map_err(error)
}

struct PluginReader {
    location: String,
    stream: Stream,
    position: ResumeToken,
    warnings: Vec<String>,
}

impl BatchReader for PluginReader {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = BatchBuilder::default();
        let mut push = |row: psann_sdk::call::Row<'_>| {
            let [id, url, source, meta] = row.optional;
            batch.push_row(Row { text: row.text, id, url, source, meta });
        };
        let found = self.stream.next(&mut push).map_err(|e| error(e).within(&self.location))?;
        if found.is_none() {
            return Ok(None);
        }
        let position = self.stream.position().map_err(|e| error(e).within(&self.location))?;
        self.position = ResumeToken(position);
        batch.finish().map(Some)
    }

    fn position(&self) -> ResumeToken {
        self.position.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_takes_long_is_told_of() {
        let (say, hear) = channel();
        let log = move |line: &str| drop(say.send(line.to_owned()));
        // It ends when it was told of, and not before.
        let heard =
            watched_for(Duration::from_millis(1), "plugin `org.slow` 0.1.0 has been opening `all`", log, || {
                hear.recv().map_err(|_| psann_sdk::Error::new("nobody spoke"))
            });
        let start = "plugin `org.slow` 0.1.0 has been opening `all` for 0 s now; it cannot be hurried";
        assert!(heard.unwrap().starts_with(start));
        let quiet = watched_for(PATIENCE, "what is quick", |line| panic!("{line}"), || Ok(1));
        assert_eq!(quiet.unwrap(), 1);
    }
}
