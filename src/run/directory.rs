//! A run's folder: `runs/NAME` with the plan, the recipe, the environment, a status, and one folder per stage.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use psann_core::plan::{Plan, Stage};
use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Outcome;
use super::fingerprint::Fingerprint;

/// The file whose presence says that a stage is finished; written last.
const RECORD: &str = "stage.json";

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
}

/// What is known of a finished stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Kind of the stage.
    pub kind: String,
    /// Name of the stage in its plan.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// One line on what was done.
    pub summary: String,
    /// Seconds of the process that finished it.
    pub seconds: f64,
    /// The stage's own report.
    pub report: Value,
}

/// One stage of the run's current plan, as `stages.json` lists them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Kind of the stage.
    pub kind: String,
    /// Name of the stage in the plan.
    pub name: String,
    /// Its folder below the run's.
    pub folder: String,
}

impl RunDirectory {
    /// The folder of run `name` below `runs`; made if it is missing.
    pub fn open(runs: &Path, name: &str) -> Result<Self> {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
        if !plain || name.starts_with('.') {
            return Err(Error::usage(format!("`{name}` cannot name a run"))
                .hint("use letters, digits, `-`, `_` and `.`; it becomes a folder's name"));
        }
        let path = runs.join(name);
        fs::create_dir_all(&path).map_err(|e| Error::new(format!("cannot create `{}`", path.display())).because(e))?;
        Ok(Self { path })
    }

    /// A run that is there already.
    pub fn existing(path: &Path) -> Result<Self> {
        if path.join("stages.json").is_file() {
            return Ok(Self { path: path.to_owned() });
        }
        Err(Error::usage(format!("`{}` is no run", path.display()))
            .hint("name a run's folder, such as `runs/quickstart`"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a plan was ever run here.
    pub fn exists_plan(&self) -> bool {
        self.path.join("plan.json").is_file()
    }

    /// Keeps other processes out until the result is dropped; the kernel ends the lock with its holder.
    pub fn lock(&self) -> Result<File> {
        let path = self.path.join(".lock");
        let file =
            File::create(&path).map_err(|e| Error::new(format!("cannot create `{}`", path.display())).because(e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(format!("another process is working in `{}`", self.path.display()))
                    .hint("wait for it, stop it, or choose another name with `--set name=…`"))
            }
            // On file systems without locks two runs at once are the user's to avoid.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Writes the plan, the recipe, the environment and the list of stages.
    pub fn describe(&self, plan: &Plan, recipe: &str, fingerprints: &[Fingerprint]) -> Result<()> {
        let entries: Vec<Entry> = plan
            .stages
            .iter()
            .zip(fingerprints)
            .map(|(stage, fingerprint)| Entry {
                kind: stage.kind.clone(),
                name: stage.name.clone(),
                folder: folder_name(stage, fingerprint),
            })
            .collect();
        let environment = json!({
            "psann": env!("CARGO_PKG_VERSION"),
            "libtorch": psann_torch::libtorch_version(),
            "system": std::env::consts::OS,
            "processor": std::env::consts::ARCH,
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "plugins": crate::plugins::used(plan)?,
        });
        write_json(&self.path.join("plan.json"), &json!(plan))?;
        write_json(&self.path.join("env.json"), &environment)?;
        write_json(&self.path.join("stages.json"), &json!(entries))?;
        write(&self.path.join("recipe.rhai"), recipe.as_bytes())
    }

    /// The stages of the run's current plan.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        read_json(&self.path.join("stages.json"))
    }

    /// Says how the run stands.
    pub fn set_status(&self, status: &str) -> Result<()> {
        write(&self.path.join("STATUS"), format!("{status}\n").as_bytes())
    }

    /// Where a stage works and leaves its results.
    pub fn stage_folder(&self, stage: &Stage, fingerprint: &Fingerprint) -> PathBuf {
        self.path.join(folder_name(stage, fingerprint))
    }

    /// The record in `folder`, if the stage there is finished.
    pub fn finished(folder: &Path) -> Result<Option<Record>> {
        let path = folder.join(RECORD);
        if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// Marks a stage as finished.
    pub fn finish(
        folder: &Path,
        stage: &Stage,
        fingerprint: &Fingerprint,
        outcome: &Outcome,
        seconds: f64,
    ) -> Result<()> {
        let record = Record {
            kind: stage.kind.clone(),
            name: stage.name.clone(),
            fingerprint: fingerprint.clone(),
            summary: outcome.summary.clone(),
            seconds,
            report: outcome.report.clone(),
        };
        write_json(&folder.join(RECORD), &json!(record))
    }

    /// Removes what a stage left.
    pub fn forget(&self, stage: &Stage, fingerprint: &Fingerprint) -> Result<()> {
        let folder = self.stage_folder(stage, fingerprint);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(format!("cannot remove `{}`", folder.display())).because(e))
            }
            _ => Ok(()),
        }
    }
}

fn folder_name(stage: &Stage, fingerprint: &Fingerprint) -> String {
    format!("{}-{}", stage.name, fingerprint.short())
}

/// Writes a file as a whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(format!("cannot write `{}`", path.display())).because(e);
    let temporary = path.with_added_extension("tmp");
    let mut file = File::create(&temporary).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::new("cannot write JSON").because(e))?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads a JSON file that this program wrote.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::new(format!("`{}` is damaged", path.display()))
            .because(e)
            .hint("remove it, or start over with `--fresh`")
    })
}
