//! The inputs of a source: found by name, pattern or manifest, and split where that is possible.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use psann_core::source::Partition;
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::input::{Input, STDIN};
use super::on_error::OnError;

/// Plain files larger than this are split, so that several workers share them.
pub const SPLIT_BYTES: u64 = 64 << 20;
/// A file that cannot be split is worth a note from this share of all bytes on: one worker then reads for long.
const NOTE_SHARE: u64 = 16;

/// One or several names or patterns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several, read in this order.
    Many(Vec<String>),
}

/// How the options of a source name its inputs.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Names or patterns.
    pub path: Option<&'a Paths>,
    /// A list of names, one a line.
    pub manifest: Option<&'a str>,
    /// A program and its arguments.
    pub command: Option<&'a [String]>,
}

/// The inputs of a source, looked up once: a pattern may match ten thousand files, each of which will be opened.
#[derive(Debug, Default)]
pub struct Lookup(OnceLock<Files>);

impl Lookup {
    /// What [`Files::find`] found the first time that it succeeded.
    pub fn get(&self, named: Named<'_>, on_error: OnError) -> Result<&Files> {
        if let Some(files) = self.0.get() {
            return Ok(files);
        }
        let files = Files::find(named, on_error)?;
        Ok(self.0.get_or_init(|| files))
    }
}

/// The inputs of a source, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    inputs: Vec<Input>,
    on_error: OnError,
}

impl Files {
    /// Finds what the options name.
    ///
    /// Names in a manifest are relative to its folder; empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// When nothing is named or a pattern matches nothing; unless `on_error` is `Skip`, also when a file is missing (with
    /// its line in the manifest). A missing file that is skipped stays in the list and shows as damaged when it is read.
    pub fn find(named: Named<'_>, on_error: OnError) -> Result<Self> {
        let inputs = match (named.path, named.manifest, named.command) {
            (Some(path), None, None) => {
                let names: &[String] = match path {
                    Paths::One(name) => std::slice::from_ref(name),
                    Paths::Many(names) => names,
                };
                names.iter().map(|name| expand(name, on_error)).collect::<Result<Vec<_>>>()?.concat()
            }
            (None, Some(manifest), None) => read_manifest(Path::new(manifest), on_error)?,
            (None, None, Some(words)) => vec![Input::Command(words.to_vec())],
            (None, None, None) => {
                return Err(Error::usage("no file is named")
                    .hint("give `path` (a file or pattern) or `manifest` (a list of files)"));
            }
            _ => {
                return Err(
                    Error::usage("`path`, `manifest` and `command` exclude each other").hint("give one of them")
                );
            }
        };
        if inputs.is_empty() {
            return Err(Error::new("no file is named: the list is empty"));
        }
        Ok(Self { inputs, on_error })
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Bytes on disk; 0 where unknown or skipped as unreadable.
    fn size(&self, input: &Input) -> Result<u64> {
        match input.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if matches!(input, Input::File(_)) && self.on_error == OnError::Fail => Err(error),
            Err(_) => Ok(0),
        }
    }

    /// The partitions: a part of a plain file, or a whole compressed one (which only reads from its start).
    ///
    /// `by_lines` says whether a file may be cut at line borders.
    pub fn partitions(&self, by_lines: bool) -> Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        for input in &self.inputs {
            let size = self.size(input)?;
            let pieces =
                if by_lines && size > SPLIT_BYTES && input.is_plain() { size.div_ceil(SPLIT_BYTES) } else { 1 };
            for piece in 0..pieces {
                let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
                partitions.push(partition(partitions.len(), input, (start, (pieces > 1).then_some(end)), end - start));
            }
        }
        Ok(partitions)
    }

    /// Part `number` of `of` of a partition whose file is read line by line; `None` if the file is compressed or a stream.
    pub fn part(&self, of_partition: &Partition, number: u64, of: u64) -> Result<Option<Partition>> {
        let input = self.of(of_partition)?;
        if !input.is_plain() {
            return Ok(None);
        }
        let (start, end) = (of_partition.start, of_partition.end.unwrap_or(of_partition.start + of_partition.bytes));
        let cut = |number: u64| start + (u128::from(end - start) * u128::from(number) / u128::from(of.max(1))) as u64;
        let (start, end) = (cut(number), cut(number + 1));
        Ok(Some(partition(of_partition.index, input, (start, Some(end)), end - start)))
    }

    /// The input that a partition belongs to.
    pub fn of(&self, partition: &Partition) -> Result<&Input> {
        let name = match partition.end {
            Some(end) => partition.location.strip_suffix(&range(partition.start, end)),
            None => None,
        };
        let name = name.unwrap_or(&partition.location);
        // The path itself first: naming all of ten thousand files for each of them takes its time.
        let is_path = |input: &&Input| matches!(input, Input::File(path) if path.as_os_str() == name);
        let found = self.inputs.iter().find(is_path).or_else(|| self.inputs.iter().find(|input| input.name() == name));
        found.ok_or_else(|| Error::new(format!("`{name}` is not a file of this source")))
    }

    /// Changes when a file is added, removed, renamed, resized or written to. Contents are not read: for terabytes of
    /// text that would take as long as the work itself, and no tool changes a file without touching size or time.
    ///
    /// Standard input never is what it was in another run; a command is the same as long as its words are, and the files
    /// that they name.
    pub fn identity(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for input in &self.inputs {
            let line = match input {
                Input::File(_) => match input.metadata() {
                    Ok(metadata) => touched(&input.name(), &metadata),
                    Err(_) if self.on_error == OnError::Skip => format!("{}\nunreadable\n", input.name()),
                    Err(error) => return Err(error),
                },
                Input::Stdin => format!("{STDIN}\n{}\n", this_run()),
                Input::Command(words) => {
                    let files = words.iter().filter_map(|word| Some(touched(word, &fs::metadata(word).ok()?)));
                    format!("{words:?}\n{}", files.collect::<String>())
                }
            };
            hasher.update(line.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// What the user should know: files that keep one worker busy for long, inputs that cannot be read again.
    pub fn notes(&self, by_lines: bool) -> Result<Vec<String>> {
        let sizes = self.inputs.iter().map(|input| self.size(input)).collect::<Result<Vec<_>>>()?;
        let total: u64 = sizes.iter().sum();
        let mut notes = Vec::new();
        for (input, size) in self.inputs.iter().zip(sizes) {
            let name = input.name();
            let large = is_worth_a_note(size, total);
            match input {
                Input::File(_) if large && !(by_lines && input.is_plain()) => {
                    let why = if by_lines { "; split it into several files, or unpack it" } else { "" };
                    notes.push(format!("`{name}` ({}) cannot be split: one worker reads it{why}", human(size)));
                }
                Input::File(_) => {}
                Input::Stdin | Input::Command(_) => notes.push(format!(
                    "{name} is read once, by one worker: an interrupted run has to start over, and a change of its content goes unseen"
                )),
            }
        }
        Ok(notes)
    }
}

/// A piece of `input`, `range.0` to `range.1`.
pub fn partition(index: usize, input: &Input, (start, end): (u64, Option<u64>), bytes: u64) -> Partition {
    let location = input.name() + &end.map(|end| range(start, end)).unwrap_or_default();
    Partition { index, location, start, end, bytes }
}

fn range(start: u64, end: u64) -> String {
    format!(" [{start}..{end}]")
}

fn touched(name: &str, metadata: &fs::Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{name}\n{}\n{}\n", metadata.len(), modified.map_or(0, |time| time.as_nanos()))
}

/// Different in each run of the program.
fn this_run() -> u128 {
    static START: OnceLock<u128> = OnceLock::new();
    *START.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos()))
}

/// Whether a piece that cannot be split keeps one worker busy for long, beside `total` bytes.
pub fn is_worth_a_note(bytes: u64, total: u64) -> bool {
    bytes > 2 * SPLIT_BYTES && bytes > total / NOTE_SHARE
}

/// A size as messages show it.
pub fn human(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{:.1} GB", bytes as f64 / 1e9)
    } else {
        format!("{:.0} MB", bytes as f64 / 1e6)
    }
}

fn expand(name: &str, on_error: OnError) -> Result<Vec<Input>> {
    if name == "-" {
        return Ok(vec![Input::Stdin]);
    }
    let input = Input::File(PathBuf::from(name));
    if !name.contains(['*', '?', '[']) || Path::new(name).exists() {
        if on_error == OnError::Fail {
            input.metadata()?;
        }
        return Ok(vec![input]);
    }
    let matches = glob::glob(name).map_err(|e| Error::usage(format!("`{name}` is no pattern")).because(e))?;
    let mut found = Vec::new();
    for path in matches {
        let path = path.map_err(|e| Error::new(format!("cannot list `{name}`")).because(e))?;
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::new(format!("no file matches `{name}`")).hint("check the folder and the pattern"));
    }
    found.sort();
    Ok(found.into_iter().map(Input::File).collect())
}

fn read_manifest(manifest: &Path, on_error: OnError) -> Result<Vec<Input>> {
    let text = fs::read_to_string(manifest).map_err(|e| Input::File(manifest.to_owned()).cannot_read(e))?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let mut inputs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let name = line.trim();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        let path = folder.join(name);
        if on_error == OnError::Fail && !path.is_file() {
            let place = format!("{}:{}", manifest.display(), number + 1);
            return Err(Error::new(format!("{place}: `{}` is not there", path.display()))
                .hint("names in a manifest are relative to its folder; correct the line or put `#` in front of it"));
        }
        inputs.push(Input::File(path));
    }
    if inputs.is_empty() {
        return Err(Error::new(format!("the manifest `{}` names no file", manifest.display())));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn find(path: &Path, on_error: OnError) -> Result<Files> {
        let path = Paths::One(path.display().to_string());
        Files::find(Named { path: Some(&path), manifest: None, command: None }, on_error)
    }

    fn find_manifest(path: &Path, on_error: OnError) -> Result<Files> {
        Files::find(Named { path: None, manifest: path.to_str(), command: None }, on_error)
    }

    fn names(files: &Files) -> Vec<String> {
        files.inputs.iter().map(|input| input.name().rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn patterns_are_sorted_and_match_something_or_fail() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "c.md"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let path = |name: &str| folder.path().join(name);
        assert_eq!(names(&find(&path("*.txt"), OnError::Fail).unwrap()), ["a.txt", "b.txt"]);
        for policy in [OnError::Fail, OnError::Skip] {
            assert!(find(&path("*.zip"), policy).unwrap_err().to_string().contains("no file matches"));
        }
        assert!(find(&path("z.txt"), OnError::Fail).unwrap_err().to_string().contains("z.txt"));
        assert_eq!(names(&find(&path("z.txt"), OnError::Skip).unwrap()), ["z.txt"]);
        assert!(find(folder.path(), OnError::Fail).unwrap_err().to_string().contains("directory"));
    }

    #[test]
    fn a_manifest_names_the_line_of_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        let manifest = folder.path().join("list");
        fs::write(&manifest, "# files\n\na.txt\nmissing.txt\n").unwrap();
        let error = find_manifest(&manifest, OnError::Fail).unwrap_err();
        assert!(error.to_string().contains("list:4") && error.to_string().contains("missing.txt"), "{error}");
        let files = find_manifest(&manifest, OnError::Skip).unwrap();
        assert_eq!(names(&files), ["a.txt", "missing.txt"]);
        assert_eq!(files.partitions(true).unwrap()[1].bytes, 0);
        fs::write(&manifest, "# nothing\n").unwrap();
        assert!(find_manifest(&manifest, OnError::Fail).unwrap_err().to_string().contains("names no file"));
    }

    #[test]
    fn large_files_are_split_or_noted() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, packed) = (folder.path().join("plain.jsonl"), folder.path().join("packed.jsonl"));
        for (path, head) in [(&plain, &b"text"[..]), (&packed, b"\x1f\x8b\x08\x00")] {
            // The rest is a hole: no test writes 160 MB.
            fs::write(path, head).unwrap();
            File::options().write(true).open(path).unwrap().set_len(5 * SPLIT_BYTES / 2).unwrap();
        }
        let files = find(&folder.path().join("*"), OnError::Fail).unwrap();
        let partitions = files.partitions(true).unwrap();
        let ends: Vec<_> = partitions.iter().map(|partition| (partition.start, partition.end)).collect();
        let size = 5 * SPLIT_BYTES / 2;
        let cut = |piece| size * piece / 3;
        assert_eq!(ends, [(0, None), (0, Some(cut(1))), (cut(1), Some(cut(2))), (cut(2), Some(size))]);
        assert_eq!(files.of(&partitions[3]).unwrap(), &files.inputs[1]);
        let notes = files.notes(true).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("packed.jsonl` (168 MB) cannot be split: one worker reads it"), "{notes:?}");
        assert_eq!(files.notes(false).unwrap().len(), 2);
    }

    #[test]
    fn inputs_that_are_read_once_say_so() {
        let words = ["cat".to_owned(), "x".to_owned()];
        let files = Files::find(Named { path: None, manifest: None, command: Some(&words) }, OnError::Fail).unwrap();
        assert!(files.notes(true).unwrap()[0].starts_with("output of `cat x` is read once"));
        assert_eq!(files.partitions(true).unwrap().len(), 1);
        assert_eq!(names(&find(Path::new("-"), OnError::Fail).unwrap()), [STDIN]);
        let both = Named { path: None, manifest: Some("x"), command: Some(&words) };
        assert!(Files::find(both, OnError::Fail).unwrap_err().to_string().contains("exclude each other"));
    }

    #[test]
    fn identity_changes_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "x").unwrap();
        let files = find(&path, OnError::Fail).unwrap();
        let before = files.identity().unwrap();
        assert_eq!(before, files.identity().unwrap());
        fs::write(&path, "xy").unwrap();
        assert_ne!(before, files.identity().unwrap());
    }
}
