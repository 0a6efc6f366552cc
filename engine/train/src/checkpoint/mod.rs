//! Checkpoints: what a run leaves on disk and continues from, to the bit, on any number of ranks.
//!
//! ```text
//! checkpoints/step-00000100/shard-00001-model-00001-of-00001.safetensors            rows of the first rank
//!                           shard-00002-model-00001-of-00001.safetensors            rows of the second one, …
//!                           optimizer/shard-00001-model-00001-of-00001.safetensors  NAME.STATE, e.g. `embed.weight.exp_avg`
//!                           state.json                                              step, data cursor, identity, hashes of all files
//! checkpoints/latest                                                                name of the newest folder
//! ```
//!
//! Names and headers of the shards are those that PyTorch's distributed checkpoints read (`DCP_SHARDING_INFO`); to any
//! other reader of safetensors they are files of rows.
//!
//! A checkpoint is written into `.tmp-…` by all ranks, each its own files; when all have told the first rank that theirs
//! are on the disk, it adds the state and renames the folder. A folder called `step-…` is whole, whatever happened while
//! it was written. Old ones go only after the new one stands. What is read is verified, so that a run never continues
//! from, and nobody generates with, a file that was damaged since.
//!
//! | module | what |
//! |---|---|
//! | `content` | the rows that one rank saves |
//! | `tensors`, `record` | a file of rows, and what is remembered of it |
//! | `report` | what ranks tell the one that publishes |
//! | `shards` | rows of tensors out of several files |
//! | `restore`, `load` | a run goes on; a model is used |
//! | `state` | where a run stands, beside its tensors |

mod content;
mod load;
mod record;
mod report;
mod restore;
mod shards;
mod state;
pub mod tensors;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use psann_core::{Collective, Error, Result};

use crate::files::{self, Disk, FileSystem};
use report::Report;
use tensors::Rows;

pub use content::Content;
pub use load::{Found, Loaded, find_model, load_model};
pub use record::{Record, Recorder};
pub(crate) use restore::check_tensors;
pub use restore::load_into;
pub use shards::Shards;
pub use state::{State, VERSION};

/// File name within a checkpoint.
pub const STATE: &str = "state.json";
/// Folder of the optimizer's files within a checkpoint.
const OPTIMIZER: &str = "optimizer";

const FOLDER: &str = "checkpoints";
const PREFIX: &str = "step-";
const TEMPORARY: &str = ".tmp-";
const LATEST: &str = "latest";

/// The checkpoints of one stage, for writing.
pub struct Checkpoints {
    root: PathBuf,
    keep: usize,
    disk: Arc<dyn Disk>,
}

impl Checkpoints {
    /// Those in `directory`, of which the last `keep` stay; the first of `ranks` removes what a killed save left.
    pub fn open(directory: &Path, keep: usize, ranks: &dyn Collective) -> Result<Self> {
        Self::on(directory, keep, ranks, Arc::new(FileSystem))
    }

    fn on(directory: &Path, keep: usize, ranks: &dyn Collective, disk: Arc<dyn Disk>) -> Result<Self> {
        let root = directory.join(FOLDER);
        let cleaned = if ranks.rank() == 0 { clean(&root) } else { Ok(()) };
        agree(cleaned, ranks)?;
        Ok(Self { root, keep: keep.max(1), disk })
    }

    /// Publishes a checkpoint at `state.step` together with all `ranks`, each of which brings its own `content`; fills in
    /// `state.files`. On failure of any rank all fail, and the earlier checkpoints stand as they were.
    pub fn save(&self, state: &State, content: Content, ranks: &dyn Collective) -> Result<PathBuf> {
        let temporary = self.begin(state, ranks)?;
        let written = write(self.disk.as_ref(), &temporary, content, ranks.rank());
        self.conclude(state, &temporary, written, ranks)
    }

    /// Starts what [`Checkpoints::save`] does, with a copy of `content` in the memory of the host: files are written by a
    /// thread. Ranks meet again in [`Checkpoints::end`]; until then the checkpoint does not exist.
    pub fn start(&self, state: State, content: Content, ranks: &dyn Collective) -> Result<Saving> {
        let temporary = self.begin(&state, ranks)?;
        let content = content.detached();
        let (disk, folder, rank) = (Arc::clone(&self.disk), temporary.clone(), ranks.rank());
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || write(disk.as_ref(), &folder, content, rank))
            .map_err(|e| Error::new("cannot start a thread that saves").because(e))?;
        Ok(Saving { state, temporary, thread })
    }

    /// Waits for the files of all ranks and publishes; every rank calls it with what it started.
    pub fn end(&self, saving: Saving, ranks: &dyn Collective) -> Result<PathBuf> {
        let written = saving.thread.join().unwrap_or_else(|_| Err(Error::new("the thread that saves broke off")));
        self.conclude(&saving.state, &saving.temporary, written, ranks)
    }

    /// Makes the folder that ranks write into.
    fn begin(&self, state: &State, ranks: &dyn Collective) -> Result<PathBuf> {
        let temporary = self.root.join(format!("{TEMPORARY}{PREFIX}{:08}", state.step));
        let made = if ranks.rank() == 0 { make(&temporary) } else { Ok(()) };
        agree(made, ranks).map_err(|error| error.within(format!("saving step {}", state.step)))?;
        Ok(temporary)
    }

    fn conclude(
        &self,
        state: &State,
        temporary: &Path,
        written: Result<BTreeMap<String, Record>>,
        ranks: &dyn Collective,
    ) -> Result<PathBuf> {
        let first = ranks.rank() == 0;
        let published = self.root.join(format!("{PREFIX}{:08}", state.step));
        let outcome = match together(written, ranks) {
            Ok(files) if first => self.publish(&State { files, ..state.clone() }, temporary, &published),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if first && outcome.is_err() {
            // The failure being reported matters more than one in tidying up after it.
            drop(fs::remove_dir_all(temporary));
        }
        agree(outcome, ranks).map_err(|error| error.within(format!("saving step {}", state.step)))?;
        Ok(published)
    }

    /// Adds the state to files that are on the disk, and makes a checkpoint of them.
    fn publish(&self, state: &State, temporary: &Path, published: &Path) -> Result<()> {
        files::sync_directory(&temporary.join(OPTIMIZER))?;
        // Through the rename of the whole folder this is published with the rest; here it only has to be complete.
        files::write(self.disk.as_ref(), &temporary.join(STATE), state.text()?.as_bytes())?;
        fs::rename(temporary, published).map_err(|e| files::cannot_write(published, e))?;
        files::sync_directory(&self.root)?;
        let name = published.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        files::write(self.disk.as_ref(), &self.root.join(LATEST), format!("{name}\n").as_bytes())?;
        self.remove_old()
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

/// Name of a rank's file, as PyTorch's reader of sharded safetensors knows it.
fn shard_name(rank: usize) -> String {
    format!("shard-{:05}-model-00001-of-00001.safetensors", rank + 1)
}

/// The newest checkpoint below `directory` as the first of `ranks` sees it: on a network others may see it later.
pub fn newest_of_all(directory: &Path, ranks: &dyn Collective) -> Result<Option<PathBuf>> {
    let own = if ranks.rank() == 0 { newest(directory) } else { Ok(None) };
    let own = agree(own, ranks)?;
    let name = own.as_ref().and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    let names = ranks.share(name.as_bytes())?;
    let name = names.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    Ok((!name.is_empty()).then(|| directory.join(FOLDER).join(name)))
}

/// `outcome` of this rank; a failure on any of `ranks` is one on all.
pub fn agree<T>(outcome: Result<T>, ranks: &dyn Collective) -> Result<T> {
    exchange(outcome, |_| BTreeMap::new(), ranks).map(|(own, _)| own)
}

/// The files of all `ranks`, from those that this one wrote.
fn together(written: Result<BTreeMap<String, Record>>, ranks: &dyn Collective) -> Result<BTreeMap<String, Record>> {
    exchange(written, BTreeMap::clone, ranks).map(|(_, files)| files)
}

fn exchange<T>(
    outcome: Result<T>,
    files: impl Fn(&T) -> BTreeMap<String, Record>,
    ranks: &dyn Collective,
) -> Result<(T, BTreeMap<String, Record>)> {
    let reports = report::share(&Report::of(outcome.as_ref().map(files)), ranks)?;
    // This rank's own failure, with its hint and cause, says more than what it told the others.
    let own = outcome?;
    Ok((own, report::files_of(reports)?))
}

/// Makes the folder, and removes from it what a killed save left.
fn clean(root: &Path) -> Result<()> {
    fs::create_dir_all(root).map_err(|e| files::cannot_write(root, e))?;
    for name in names(root)? {
        if name.starts_with(TEMPORARY) {
            remove(&root.join(name))?;
        }
    }
    Ok(())
}

/// A checkpoint whose files are being written.
pub struct Saving {
    state: State,
    temporary: PathBuf,
    thread: JoinHandle<Result<BTreeMap<String, Record>>>,
}

impl Saving {
    /// The step that is saved.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// Whether this rank's files are on the disk.
    pub fn is_written(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Writes the files of one rank; gives what is remembered of them, by path within the checkpoint.
fn write(disk: &dyn Disk, folder: &Path, content: Content, rank: usize) -> Result<BTreeMap<String, Record>> {
    let name = shard_name(rank);
    let mut written = BTreeMap::new();
    for (name, rows) in [(name.clone(), content.model), (format!("{OPTIMIZER}/{name}"), content.optimizer)] {
        if rows.is_empty() {
            continue;
        }
        let path = folder.join(&name);
        let record = write_tensors(disk, &path, rows).map_err(|e| files::cannot_write(&path, e))?;
        written.insert(name, record);
    }
    Ok(written)
}

fn write_tensors(disk: &dyn Disk, path: &Path, rows: Vec<Rows>) -> io::Result<Record> {
    // Small tensors would each be a system call of their own; big ones pass through the buffer untouched.
    let mut file = io::BufWriter::with_capacity(1 << 20, disk.create(path)?);
    let mut recorder = Recorder::new(&mut file);
    tensors::write(&mut recorder, rows)?;
    let record = recorder.finish()?;
    file.get_mut().sync()?;
    Ok(record)
}

/// Makes the folder that ranks write into.
fn make(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        remove(folder)?;
    }
    fs::create_dir(folder).map_err(|e| files::cannot_write(folder, e))?;
    let optimizer = folder.join(OPTIMIZER);
    fs::create_dir(&optimizer).map_err(|e| files::cannot_write(&optimizer, e))
}

/// What to do about a damaged checkpoint.
fn way_out(folder: &Path) -> String {
    format!("remove `{}` to go on from the checkpoint before it, or start over with `--fresh`", folder.display())
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
