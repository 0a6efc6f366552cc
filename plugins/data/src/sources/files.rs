//! Files that a source reads: found by name, pattern or manifest, split where that is possible, opened whatever their
//! compression.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;
use psann_core::source::Partition;
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Plain files larger than this are split at line borders, so that several workers share them.
const SPLIT_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 1 << 18;

/// One or several names or patterns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several, read in this order.
    Many(Vec<String>),
}

/// The files of a source, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    paths: Vec<PathBuf>,
}

/// How a file is packed, told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

fn packing(path: &Path) -> Packing {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Packing::Gzip,
        Some("zst" | "zstd") => Packing::Zstd,
        _ => Packing::Plain,
    }
}

impl Files {
    /// Finds the files that `path` (names or patterns) or `manifest` (a list of names, one a line) name.
    ///
    /// Names in a manifest are relative to its folder; empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// When nothing is named, a file is missing (with its line in the manifest), or a pattern matches nothing.
    pub fn find(path: Option<&Paths>, manifest: Option<&str>) -> Result<Self> {
        let paths = match (path, manifest) {
            (Some(path), None) => {
                let names: Vec<&String> = match path {
                    Paths::One(name) => vec![name],
                    Paths::Many(names) => names.iter().collect(),
                };
                names.into_iter().map(|name| expand(name)).collect::<Result<Vec<_>>>()?.concat()
            }
            (None, Some(manifest)) => read_manifest(Path::new(manifest))?,
            (Some(_), Some(_)) => {
                return Err(Error::usage("`path` and `manifest` are both given").hint("give one of them"));
            }
            (None, None) => {
                return Err(Error::usage("no file is named")
                    .hint("give `path` (a file or pattern) or `manifest` (a list of files)"));
            }
        };
        if paths.is_empty() {
            return Err(Error::new("no file is named: the list is empty"));
        }
        Ok(Self { paths })
    }

    /// The partitions: a part of a plain file, or a whole compressed one (which only reads from its start).
    ///
    /// `by_lines` says whether a file may be cut at line borders.
    pub fn partitions(&self, by_lines: bool) -> Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        for path in &self.paths {
            let size = metadata(path)?.len();
            let pieces =
                if by_lines && packing(path) == Packing::Plain { size.div_ceil(SPLIT_BYTES).max(1) } else { 1 };
            for piece in 0..pieces {
                let (start, end) = (size * piece / pieces, size * (piece + 1) / pieces);
                let location = match pieces {
                    1 => path.display().to_string(),
                    _ => format!("{} [{start}..{end}]", path.display()),
                };
                partitions.push(Partition {
                    index: partitions.len(),
                    location,
                    start,
                    end: (pieces > 1).then_some(end),
                    bytes: end - start,
                });
            }
        }
        Ok(partitions)
    }

    /// The file that a partition belongs to.
    pub fn of(&self, partition: &Partition) -> Result<&Path> {
        let split = partition.end.map(|end| format!(" [{}..{end}]", partition.start)).unwrap_or_default();
        let name = partition.location.strip_suffix(&split).unwrap_or(&partition.location);
        let found = self.paths.iter().find(|path| path.display().to_string() == name);
        found.map(PathBuf::as_path).ok_or_else(|| Error::new(format!("`{name}` is not a file of this source")))
    }

    /// Changes when a file is added, removed, renamed, resized or written to. Contents are not read: for terabytes of
    /// text that would take as long as the work itself, and no tool changes a file without touching size or time.
    pub fn identity(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for path in &self.paths {
            let metadata = metadata(path)?;
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let line =
                format!("{}\n{}\n{}\n", path.display(), metadata.len(), modified.map_or(0, |time| time.as_nanos()));
            hasher.update(line.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(|e| cannot_read(path, e))
}

/// An error about reading `path`.
pub fn cannot_read(path: &Path, cause: std::io::Error) -> Error {
    let missing = cause.kind() == std::io::ErrorKind::NotFound;
    let error = Error::new(format!("cannot read `{}`", path.display())).because(cause);
    if missing { error.hint("check the name; relative names are relative to the recipe's folder") } else { error }
}

fn expand(name: &str) -> Result<Vec<PathBuf>> {
    if !name.contains(['*', '?', '[']) || Path::new(name).exists() {
        metadata(Path::new(name))?;
        return Ok(vec![PathBuf::from(name)]);
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
    Ok(found)
}

fn read_manifest(manifest: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(manifest).map_err(|e| cannot_read(manifest, e))?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let name = line.trim();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        let path = folder.join(name);
        if !path.is_file() {
            let place = format!("{}:{}", manifest.display(), number + 1);
            return Err(Error::new(format!("{place}: `{}` is not there", path.display()))
                .hint("names in a manifest are relative to its folder; correct the line or put `#` in front of it"));
        }
        paths.push(path);
    }
    if paths.is_empty() {
        return Err(Error::new(format!("the manifest `{}` names no file", manifest.display())));
    }
    Ok(paths)
}

/// Reads a file's (unpacked) bytes from its start.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|e| cannot_read(path, e))?;
    let plain = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(match packing(path) {
        Packing::Plain => Box::new(plain),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain))),
        Packing::Zstd => {
            let decoder = zstd::Decoder::with_buffer(plain).map_err(|e| cannot_read(path, e))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
}

/// Opens the part of a plain file that starts with the first line that begins at or behind `start`.
///
/// Returns the reader and the offset of its first byte. A line belongs to the part in which it begins.
pub fn open_at(path: &Path, start: u64) -> Result<(Box<dyn BufRead + Send>, u64)> {
    if start == 0 {
        return Ok((open(path)?, 0));
    }
    let mut file = File::open(path).map_err(|e| cannot_read(path, e))?;
    // One byte earlier: if it ends a line, the next one begins right here.
    file.seek(SeekFrom::Start(start - 1)).map_err(|e| cannot_read(path, e))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut skipped = Vec::new();
    let count = reader.by_ref().read_until(b'\n', &mut skipped).map_err(|e| cannot_read(path, e))?;
    Ok((Box::new(reader), start - 1 + count as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn patterns_are_sorted_and_match_something_or_fail() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "c.md"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let pattern = |name: &str| Paths::One(folder.path().join(name).display().to_string());
        let files = Files::find(Some(&pattern("*.txt")), None).unwrap();
        let names: Vec<_> = files.paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.txt", "b.txt"]);
        assert!(Files::find(Some(&pattern("*.zip")), None).unwrap_err().to_string().contains("no file matches"));
        assert!(Files::find(Some(&pattern("z.txt")), None).unwrap_err().to_string().contains("z.txt"));
    }

    #[test]
    fn a_manifest_names_the_line_of_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        let manifest = folder.path().join("list");
        fs::write(&manifest, "# files\n\na.txt\nmissing.txt\n").unwrap();
        let error = Files::find(None, Some(manifest.to_str().unwrap())).unwrap_err();
        assert!(error.to_string().contains("list:4") && error.to_string().contains("missing.txt"), "{error}");
        fs::write(&manifest, "# nothing\n").unwrap();
        assert!(Files::find(None, Some(manifest.to_str().unwrap())).unwrap_err().to_string().contains("names no file"));
    }

    #[test]
    fn packed_files_read_like_plain_ones() {
        let folder = tempfile::tempdir().unwrap();
        let gz = folder.path().join("a.gz");
        // Two members, as tools that append make.
        let member = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        fs::write(&gz, [member("one\n"), member("two\n")].concat()).unwrap();
        let zst = folder.path().join("a.zst");
        fs::write(&zst, zstd::encode_all(&b"one\ntwo\n"[..], 3).unwrap()).unwrap();
        for path in [gz, zst] {
            let mut text = String::new();
            open(&path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one\ntwo\n");
        }
    }

    #[test]
    fn identity_changes_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "x").unwrap();
        let files = Files::find(Some(&Paths::One(path.display().to_string())), None).unwrap();
        let before = files.identity().unwrap();
        assert_eq!(before, files.identity().unwrap());
        fs::write(&path, "xy").unwrap();
        assert_ne!(before, files.identity().unwrap());
    }
}
