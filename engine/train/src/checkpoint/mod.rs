//! Checkpoints: what a run leaves on disk and continues from, to the bit.
//!
//! ```text
//! checkpoints/step-00000100/model.safetensors       fp32 weights under the model's names
//!                           optimizer.safetensors   NAME.STATE, e.g. `embed.weight.exp_avg`
//!                           state.json              step, data cursor, identity, BLAKE3 of the two files
//! checkpoints/latest                                name of the newest folder, for people and scripts
//! ```
//!
//! A checkpoint is written into `.tmp-…`, flushed, and renamed: a folder called `step-…` is whole, whatever happened
//! while it was written. Old ones go only after the new one stands. Reading verifies the hashes, so that a run never
//! continues from, and nobody generates with, a file that was damaged since.

mod load;
mod state;
pub mod tensors;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use tch::Tensor;

use crate::files::{self, Disk, FileSystem};

pub use load::{Loaded, load_model, parameters_of};
pub use state::{State, VERSION};

/// File names within a checkpoint.
pub const MODEL: &str = "model.safetensors";
/// As above.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// As above.
pub const STATE: &str = "state.json";

const FOLDER: &str = "checkpoints";
const PREFIX: &str = "step-";
const TEMPORARY: &str = ".tmp-";
const LATEST: &str = "latest";

/// The checkpoints of one stage, for writing.
pub struct Checkpoints {
    root: PathBuf,
    keep: usize,
    disk: Box<dyn Disk>,
}

/// What a checkpoint holds beside its [`State`].
pub struct Content {
    /// Weights by name.
    pub model: Vec<(String, Tensor)>,
    /// Optimizer state by `NAME.STATE`.
    pub optimizer: Vec<(String, Tensor)>,
}

impl Checkpoints {
    /// Those in `directory`, of which the last `keep` stay; removes what a killed save left.
    pub fn open(directory: &Path, keep: usize) -> Result<Self> {
        Self::on(directory, keep, Box::new(FileSystem))
    }

    fn on(directory: &Path, keep: usize, disk: Box<dyn Disk>) -> Result<Self> {
        let root = directory.join(FOLDER);
        fs::create_dir_all(&root).map_err(|e| files::cannot_write(&root, e))?;
        for name in names(&root)? {
            if name.starts_with(TEMPORARY) {
                remove(&root.join(name))?;
            }
        }
        Ok(Self { root, keep: keep.max(1), disk })
    }

    /// Publishes a checkpoint at `state.step`; fills in `state.files`. On failure the earlier ones stand as they were.
    pub fn save(&self, mut state: State, content: &Content) -> Result<PathBuf> {
        let name = format!("{PREFIX}{:08}", state.step);
        let temporary = self.root.join(format!("{TEMPORARY}{name}"));
        let published = self.root.join(&name);
        let written = self
            .write(&temporary, &mut state, content)
            .and_then(|()| fs::rename(&temporary, &published).map_err(|e| files::cannot_write(&published, e)));
        if let Err(error) = written {
            // The failure being reported matters more than one in tidying up after it.
            drop(fs::remove_dir_all(&temporary));
            return Err(error.within(format!("saving step {}", state.step)));
        }
        files::sync_directory(&self.root)?;
        files::write(self.disk.as_ref(), &self.root.join(LATEST), format!("{name}\n").as_bytes())?;
        self.remove_old()?;
        Ok(published)
    }

    fn write(&self, folder: &Path, state: &mut State, content: &Content) -> Result<()> {
        fs::create_dir(folder).map_err(|e| files::cannot_write(folder, e))?;
        for (name, tensors) in [(MODEL, &content.model), (OPTIMIZER, &content.optimizer)] {
            let path = folder.join(name);
            let hash = self.write_tensors(&path, tensors).map_err(|e| files::cannot_write(&path, e))?;
            state.files.insert(name.to_owned(), hash);
        }
        // Through the rename of the whole folder this is published with the rest; here it only has to be complete.
        files::write(self.disk.as_ref(), &folder.join(STATE), state.text()?.as_bytes())
    }

    fn write_tensors(&self, path: &Path, tensors: &[(String, Tensor)]) -> io::Result<String> {
        // Small tensors would each be a system call of their own; big ones pass through the buffer untouched.
        let mut file = io::BufWriter::with_capacity(1 << 20, self.disk.create(path)?);
        let hash = tensors::write(&mut file, tensors)?;
        file.get_mut().sync()?;
        Ok(hash)
    }

    fn remove_old(&self) -> Result<()> {
        let published = published(&self.root)?;
        let surplus = published.len().saturating_sub(self.keep);
        for (_, name) in &published[..surplus] {
            let doomed = self.root.join(format!("{TEMPORARY}{name}"));
            // Renamed first: a half-removed folder must not look like a checkpoint.
            let path = self.root.join(name);
            fs::rename(&path, &doomed).map_err(|e| files::cannot_write(&path, e))?;
            remove(&doomed)?;
        }
        Ok(())
    }
}

/// The newest checkpoint below `directory`; `None` before the first.
pub fn newest(directory: &Path) -> Result<Option<PathBuf>> {
    let root = directory.join(FOLDER);
    if !root.is_dir() {
        return Ok(None);
    }
    Ok(published(&root)?.pop().map(|(_, name)| root.join(name)))
}

/// The tensors of `file` in checkpoint `folder`, after a check against the hash that `state` holds.
pub fn read_verified(folder: &Path, state: &State, file: &str) -> Result<Vec<(String, Tensor)>> {
    let (tensors, hash) = tensors::read(&folder.join(file)).map_err(|e| way_out(e, folder))?;
    check_hash(folder, state, file, &hash)?;
    Ok(tensors)
}

/// Checks `file` in checkpoint `folder` against the hash that `state` holds.
pub fn verify(folder: &Path, state: &State, file: &str) -> Result<()> {
    let path = folder.join(file);
    let mut hasher = blake3::Hasher::new();
    fs::File::open(&path)
        .and_then(|open| hasher.update_reader(open).map(drop))
        .map_err(|e| way_out(Error::new(format!("cannot read `{}`", path.display())).because(e), folder))?;
    check_hash(folder, state, file, &hasher.finalize().to_hex())
}

fn check_hash(folder: &Path, state: &State, file: &str, hash: &str) -> Result<()> {
    match state.files.get(file) {
        Some(expected) if *expected == hash => Ok(()),
        Some(_) => Err(way_out(tensors::damaged(&folder.join(file), "its content is not what was saved"), folder)),
        None => Err(way_out(tensors::damaged(&folder.join(STATE), &format!("it does not know `{file}`")), folder)),
    }
}

/// Adds what to do about a damaged checkpoint.
fn way_out(error: Error, folder: &Path) -> Error {
    error.hint(format!(
        "remove `{}` to go on from the checkpoint before it, or start over with `--fresh`",
        folder.display()
    ))
}

/// Published checkpoints, oldest first.
fn published(root: &Path) -> Result<Vec<(u64, String)>> {
    let steps = names(root)?.into_iter().filter_map(|name| Some((name.strip_prefix(PREFIX)?.parse().ok()?, name)));
    let mut steps: Vec<(u64, String)> = steps.collect();
    steps.sort();
    Ok(steps)
}

/// Names in a folder, sorted.
fn names(root: &Path) -> Result<Vec<String>> {
    let fail = |e: io::Error| Error::new(format!("cannot list `{}`", root.display())).because(e);
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|e| Error::new(format!("cannot remove `{}`", path.display())).because(e))
}

#[cfg(test)]
mod tests;
