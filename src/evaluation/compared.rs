//! `psann evaluate compare`: two results, from their files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_eval::harness::compare::{Comparison, Side, compare};
use serde_json::Value;

use crate::run::directory::read_json;

/// Replicates of the bootstrap.
const REPLICATES: usize = 10_000;

/// Compares two result files with their sample files beside them.
///
/// # Errors
/// When a file is missing or damaged, or the two were asked different things.
pub fn of_files(first: &Path, second: &Path) -> Result<Comparison> {
    let (first, second) = (Loaded::read(first)?, Loaded::read(second)?);
    compare(first.side(), second.side(), REPLICATES)
}

struct Loaded {
    name: String,
    results: Value,
    samples: BTreeMap<String, Vec<Value>>,
}

impl Loaded {
    fn read(path: &Path) -> Result<Self> {
        let results: Value = read_json(path)?;
        let tasks = results["results"].as_object().ok_or_else(|| {
            Error::usage(format!("`{}` is no result file", path.display()))
                .hint("name a `results_….json` that `psann evaluate` or lm_eval wrote")
        })?;
        let mut samples = BTreeMap::new();
        for task in tasks.keys() {
            let beside = beside(path, task)?;
            samples.insert(task.clone(), lines(&beside)?);
        }
        Ok(Self { name: path.display().to_string(), results, samples })
    }

    fn side(&self) -> Side<'_> {
        Side { name: &self.name, results: &self.results, samples: &self.samples }
    }
}

/// The sample file of a task that was written with a result file: it carries the same time.
fn beside(results: &Path, task: &str) -> Result<PathBuf> {
    let name = results.file_name().unwrap_or_default().to_string_lossy();
    let time = name.strip_prefix("results_").and_then(|rest| rest.strip_suffix(".json")).ok_or_else(|| {
        Error::usage(format!("`{}` is not named `results_TIME.json`", results.display()))
            .hint("its sample files are found by that time")
    })?;
    let path = results.with_file_name(format!("samples_{task}_{time}.jsonl"));
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::usage(format!("`{}` is missing", path.display()))
        .hint("documents are compared one by one; with lm_eval, `--log_samples` writes them"))
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e))?;
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| Error::new(format!("line {} of `{}` is no JSON", index + 1, path.display())).because(e))
    };
    text.split('\n').enumerate().filter(|(_, line)| !line.is_empty()).map(parse).collect()
}
