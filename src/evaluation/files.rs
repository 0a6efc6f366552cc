//! The files of an evaluation, named and laid out as lm-evaluation-harness does.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_eval::chat::Clock;
use psann_eval::harness::Results;
use psann_eval::harness::results::{file_time, sanitize};

use crate::run::directory::write;

/// The folder below `output` for the results of a model.
pub fn folder(output: &Path, model: &str) -> PathBuf {
    output.join(sanitize(model))
}

/// Writes sample files, and then the result file with `json` in it, whose presence says that all is there. Its path comes
/// back.
///
/// # Errors
/// When a file cannot be written.
pub fn save(results: &Results<'_, '_>, json: &str, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::new(format!("cannot make `{}`", folder.display())).because(e))?;
    // Local time, as the reference names its files.
    let time = file_time(&Clock::now().strftime("%Y-%m-%dT%H:%M:%S.%f"));
    for (index, task) in results.tasks().iter().enumerate() {
        let lines: String = results.samples(index).collect::<Result<_>>()?;
        write(&folder.join(format!("samples_{}_{time}.jsonl", task.name)), lines.as_bytes())?;
    }
    let path = folder.join(format!("results_{time}.json"));
    write(&path, json.as_bytes())?;
    Ok(path)
}
