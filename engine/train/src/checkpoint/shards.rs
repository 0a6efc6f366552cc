//! [`Shards`]: tensors whose rows lie in several files, read by rows.
//!
//! Whoever reads names the rows it wants; what they have in common with the rows of each file is read, a few megabytes at
//! a time, and checked on the way. So loading costs the memory of what is loaded, whatever number of ranks wrote it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use psann_core::optimizer::Part;
use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use super::record::{Record, Recorded};
use super::tensors::{Entry, damaged};

/// Bytes that are read at once.
const BUFFER: u64 = 4 << 20;

/// Tensors in the files of one folder.
pub struct Shards {
    files: Vec<Recorded>,
    tensors: BTreeMap<String, Whole>,
    hint: String,
}

/// A tensor with all its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// Its shape.
    pub shape: Vec<i64>,
    /// Dtype of the values.
    pub kind: Kind,
    /// What dimension 0 counts.
    pub part: Part,
    /// File and place in the file, in the order of rows.
    pieces: Vec<(usize, usize)>,
}

/// Rows that somebody wants.
#[derive(Debug)]
pub struct Wanted {
    /// The first of them.
    pub first: i64,
    /// Where they go; its dimension 0 says how many they are. Values are converted to its dtype.
    pub into: Tensor,
}

impl Shards {
    /// Opens the files of `records`, which are paths below `folder`. Every error of reading ends with `hint`.
    ///
    /// # Errors
    /// When a file is missing or damaged, or files do not fit together.
    pub fn open<'a>(
        folder: &Path,
        records: impl IntoIterator<Item = (&'a String, &'a Record)>,
        hint: impl Into<String>,
    ) -> Result<Self> {
        let open = |(name, record): (&String, &Record)| Recorded::open(folder.join(name), record.clone());
        Self::of(records.into_iter().map(open).collect(), folder, hint.into())
    }

    /// Opens files that another program wrote, by their names in `folder`; see [`Shards::open`].
    ///
    /// # Errors
    /// When a file is missing, its header does not fit it, or a tensor is in two of them.
    pub fn open_foreign<'a>(
        folder: &Path,
        names: impl IntoIterator<Item = &'a str>,
        hint: impl Into<String>,
    ) -> Result<Self> {
        let open = |name: &str| Recorded::open_foreign(folder.join(name));
        Self::of(names.into_iter().map(open).collect(), folder, hint.into())
    }

    fn of(files: Result<Vec<Recorded>>, folder: &Path, hint: String) -> Result<Self> {
        let files = files.map_err(|e| e.hint(hint.as_str()))?;
        let tensors = wholes(&files, folder).map_err(|e| e.hint(hint.as_str()))?;
        Ok(Self { files, tensors, hint })
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Whole> {
        &self.tensors
    }

    /// The file that a tensor begins in.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        let (file, _) = self.tensors.get(name)?.pieces.first()?;
        Some(self.files[*file].path())
    }

    /// Takes a tensor for one that is not there.
    pub fn leave_out(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Whether two tensors are the same in shape, dtype and every bit.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn are_equal(&mut self, first: &str, second: &str) -> Result<bool> {
        let looks = |whole: &Whole| (whole.shape.clone(), whole.kind);
        if self.tensors.get(first).map(looks) != self.tensors.get(second).map(looks) {
            return Ok(false);
        }
        let mut hash = |name: &str| -> Result<blake3::Hash> {
            let mut hasher = blake3::Hasher::new();
            self.stream(name, &mut |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
            Ok(hasher.finalize())
        };
        Ok(hash(first)? == hash(second)?)
    }

    /// Fills each of `wanted` with its rows. Files are read one after the other, from front to back.
    ///
    /// # Errors
    /// When a file is damaged, or a tensor does not have the shape that is wanted.
    pub fn fill(&mut self, wanted: &BTreeMap<String, Wanted>) -> Result<()> {
        for (name, wanted) in wanted {
            self.check(name, wanted)?;
        }
        for file in &mut self.files {
            for entry in file.entries.clone() {
                let Some(wanted) = wanted.get(&entry.name) else { continue };
                let rows = wanted.into.size().first().copied().unwrap_or(1);
                let common = wanted.first.max(entry.first)..(wanted.first + rows).min(entry.first + entry.rows());
                if common.is_empty() {
                    continue;
                }
                let flat = wanted.into.detach().view([-1]);
                let mut place = (common.start - wanted.first) * (flat.size()[0] / rows);
                let put = |bytes: &[u8]| {
                    let count = (bytes.len() / entry.kind.elt_size_in_bytes()) as i64;
                    let values = Tensor::f_from_data_size(bytes, &[count], entry.kind)
                        .map_err(|e| Error::new(format!("cannot hold `{}`", entry.name)).because(e))?;
                    flat.narrow(0, place, count).copy_(&values);
                    place += count;
                    Ok(())
                };
                read(file, &entry, common, &self.hint, put)?;
            }
            file.forget();
        }
        Ok(())
    }

    /// Hands all values of a tensor to `put`, row-major, some whole values at a time.
    ///
    /// # Errors
    /// Those of `put`, and when a file is damaged.
    pub fn stream(&mut self, name: &str, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let pieces = self.tensors.get(name).map(|whole| whole.pieces.clone()).unwrap_or_default();
        for (file, place) in pieces {
            let file = &mut self.files[file];
            let entry = file.entries[place].clone();
            let rows = entry.first..entry.first + entry.rows();
            read(file, &entry, rows, &self.hint, &mut *put)?;
        }
        Ok(())
    }

    fn check(&self, name: &str, wanted: &Wanted) -> Result<()> {
        let (size, whole) = (wanted.into.size(), self.tensors.get(name));
        let fits = |whole: &Whole| {
            let rows = whole.shape.first().copied().unwrap_or(1);
            size.iter().skip(1).eq(whole.shape.iter().skip(1)) && wanted.first + size.first().unwrap_or(&1) <= rows
        };
        if wanted.into.numel() == 0 || whole.is_some_and(fits) {
            return Ok(());
        }
        let found = whole.map_or("missing".to_owned(), |whole| format!("{:?}", whole.shape));
        Err(Error::new(format!("tensor `{name}` is {found}, wanted are rows of {size:?} from {}", wanted.first))
            .hint(self.hint.as_str()))
    }
}

/// Reads rows of `entry` from `file` piece by piece, always whole values.
fn read(
    file: &mut Recorded,
    entry: &Entry,
    rows: Range<i64>,
    hint: &str,
    mut put: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut place = entry.start + (rows.start - entry.first) as u64 * entry.row_bytes();
    let end = entry.start + (rows.end - entry.first) as u64 * entry.row_bytes();
    let mut buffer = vec![0; BUFFER.min(end - place) as usize];
    while place < end {
        let now = &mut buffer[..BUFFER.min(end - place) as usize];
        file.read(place, now).map_err(|e| e.within(format!("tensor `{}`", entry.name)).hint(hint))?;
        put(now)?;
        place += now.len() as u64;
    }
    Ok(())
}

/// Puts together what stands in several files.
fn wholes(files: &[Recorded], folder: &Path) -> Result<BTreeMap<String, Whole>> {
    let mut pieces: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (file, recorded) in files.iter().enumerate() {
        for (place, entry) in recorded.entries.iter().enumerate() {
            pieces.entry(&entry.name).or_default().push((file, place));
        }
    }
    let entry = |(file, place): (usize, usize)| &files[file].entries[place];
    let mut wholes = BTreeMap::new();
    for (name, mut pieces) in pieces {
        pieces.sort_by_key(|piece| entry(*piece).first);
        let first = entry(pieces[0]);
        let mut rows = 0;
        for piece in &pieces {
            let next = entry(*piece);
            let alike = (next.kind, next.part) == (first.kind, first.part)
                && next.shape.iter().skip(1).eq(first.shape.iter().skip(1));
            if !alike || next.first != rows {
                let path = files[piece.0].path();
                return Err(damaged(
                    path,
                    &format!("tensor `{name}` does not go with the other files of `{}`", folder.display()),
                ));
            }
            rows += next.rows();
        }
        let mut shape = first.shape.clone();
        if let Some(size) = shape.first_mut() {
            *size = rows;
        }
        wholes.insert(name.to_owned(), Whole { shape, kind: first.kind, part: first.part, pieces });
    }
    Ok(wholes)
}
