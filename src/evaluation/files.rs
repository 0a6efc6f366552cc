//! The files of an evaluation, named and laid out as lm-evaluation-harness does.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_eval::chat::Clock;
use psann_eval::harness::results::{file_time, sanitize};
use psann_eval::harness::{Results, Run};

use crate::run::directory::write;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The result file.
    pub results: PathBuf,
    /// The sample files, by task.
    pub samples: Vec<PathBuf>,
}

/// The folder below `output` for the results of a model.
pub fn folder(output: &Path, model: &str) -> PathBuf {
    output.join(sanitize(model))
}

/// Writes sample files, and then the result file, whose presence says that all is there.
///
/// # Errors
/// When a file cannot be written.
pub fn save(results: &Results<'_, '_>, run: &Run, folder: &Path) -> Result<Written> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::new(format!("cannot make `{}`", folder.display())).because(e))?;
    // Local time, as the reference names its files.
    let time = file_time(&Clock::now().strftime("%Y-%m-%dT%H:%M:%S.%f"));
    let mut samples = Vec::new();
    for (index, task) in results.tasks().iter().enumerate() {
        let path = folder.join(format!("samples_{}_{time}.jsonl", task.name));
        let lines: String = results.samples(index).collect::<Result<_>>()?;
        write(&path, lines.as_bytes())?;
        samples.push(path);
    }
    let path = folder.join(format!("results_{time}.json"));
    write(&path, results.text(run).as_bytes())?;
    Ok(Written { results: path, samples })
}
