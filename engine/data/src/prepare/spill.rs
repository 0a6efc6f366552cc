//! What a pass leaves on disk for the grouping behind it: sorted keys, and notes about documents.
//!
//! Keys are sorted within a file and cut into buckets by their highest bits. Grouping reads the same bucket of all files
//! at a time, so its memory is a bucket's, whatever the size of the corpus. Every bucket carries a checksum.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use psann_core::Result;
use xxhash_rust::xxh3::xxh3_64;

use crate::columns::{Sum, Summing, damaged};
use crate::files::{NewFile, cannot_read, cannot_write};

/// Number of buckets of a key file.
pub const BUCKETS: usize = 1024;
const BUCKET_BITS: u32 = BUCKETS.trailing_zeros();
/// Bytes of one key on disk.
pub const ENTRY_BYTES: usize = 12;
/// Bytes of the table of a key file.
pub const TABLE_BYTES: usize = (BUCKETS + 1) * 16;
const MAGIC: u64 = u64::from_le_bytes(*b"psannky1");

/// The bucket of a key.
fn bucket(key: u64) -> usize {
    (key >> (64 - BUCKET_BITS)) as usize
}

/// Sorts and writes the keys of one segment: `(key, row)`.
pub fn write_keys(path: &Path, mut entries: Vec<(u64, u32)>) -> Result<Sum> {
    entries.sort_unstable();
    entries.dedup();
    let mut file = Summing::new(NewFile::create(path)?);
    let mut table: Vec<u8> = Vec::with_capacity(TABLE_BYTES);
    let mut rest = entries.as_slice();
    let mut start = 0_u64;
    let mut bytes: Vec<u8> = Vec::new();
    for index in 0..BUCKETS {
        let (of_bucket, behind) = rest.split_at(rest.partition_point(|(key, _)| bucket(*key) <= index));
        rest = behind;
        bytes.clear();
        for (key, row) in of_bucket {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&row.to_le_bytes());
        }
        file.write_all(&bytes).map_err(|e| cannot_write(path, e))?;
        table.extend_from_slice(&start.to_le_bytes());
        table.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        start += of_bucket.len() as u64;
    }
    table.extend_from_slice(&start.to_le_bytes());
    table.extend_from_slice(&MAGIC.to_le_bytes());
    file.write_all(&table).map_err(|e| cannot_write(path, e))?;
    let (file, sum) = file.finish();
    file.publish()?;
    Ok(sum)
}

/// A key file that is open for reading.
pub struct KeyFile {
    path: PathBuf,
    file: File,
    /// Where each bucket starts, and its checksum.
    table: Vec<(u64, u64)>,
}

impl KeyFile {
    /// Reads the table of the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| cannot_read(path, e))?;
        let size = file.metadata().map_err(|e| cannot_read(path, e))?.len();
        let mut bytes = vec![0; TABLE_BYTES];
        let at = size.checked_sub(TABLE_BYTES as u64).ok_or_else(|| damaged(path))?;
        file.read_exact_at(&mut bytes, at).map_err(|e| cannot_read(path, e))?;
        let number = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let table: Vec<(u64, u64)> =
            bytes.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect();
        let sound = table.is_sorted_by_key(|(start, _)| *start)
            && table[BUCKETS].1 == MAGIC
            && table[BUCKETS].0.checked_mul(ENTRY_BYTES as u64) == Some(at);
        if sound { Ok(Self { path: path.to_owned(), file, table }) } else { Err(damaged(path)) }
    }

    /// Number of keys in these buckets.
    pub fn len(&self, buckets: &Range<usize>) -> u64 {
        self.table[buckets.end].0 - self.table[buckets.start].0
    }

    /// Appends the keys of these buckets, `document(row)` for each row.
    pub fn read(&self, buckets: Range<usize>, mut document: impl FnMut(u64, u32)) -> Result<()> {
        let mut bytes = Vec::new();
        for index in buckets {
            let (start, end) = (self.table[index].0, self.table[index + 1].0);
            bytes.resize((end - start) as usize * ENTRY_BYTES, 0);
            self.file.read_exact_at(&mut bytes, start * ENTRY_BYTES as u64).map_err(|e| cannot_read(&self.path, e))?;
            if xxh3_64(&bytes) != self.table[index].1 {
                return Err(damaged(&self.path));
            }
            for entry in bytes.chunks_exact(ENTRY_BYTES) {
                let (key, row) = entry.split_at(8);
                document(
                    u64::from_le_bytes(key.try_into().unwrap_or_default()),
                    u32::from_le_bytes(row.try_into().unwrap_or_default()),
                );
            }
        }
        Ok(())
    }
}

/// Writes byte strings, one per row, that can be read back by row.
pub struct NotesWriter {
    path: PathBuf,
    file: Summing<BufWriter<NewFile>>,
    /// Where each note ends.
    ends: Vec<u64>,
    end: u64,
}

impl NotesWriter {
    /// Starts the file under a temporary name.
    pub fn create(path: &Path) -> Result<Self> {
        let file = Summing::new(BufWriter::with_capacity(1 << 17, NewFile::create(path)?));
        Ok(Self { path: path.to_owned(), file, ends: Vec::new(), end: 0 })
    }

    /// Adds the note of the next row.
    pub fn push(&mut self, note: &[u8]) -> Result<()> {
        self.file.write_all(note).map_err(|e| cannot_write(&self.path, e))?;
        self.end += note.len() as u64;
        self.ends.push(self.end);
        Ok(())
    }

    /// Ends the file and gives it its name.
    pub fn publish(mut self) -> Result<Sum> {
        let mut table = Vec::with_capacity(self.ends.len() * 8 + 16);
        self.ends.iter().for_each(|end| table.extend_from_slice(&end.to_le_bytes()));
        table.extend_from_slice(&(self.ends.len() as u64).to_le_bytes());
        table.extend_from_slice(&MAGIC.to_le_bytes());
        self.file.write_all(&table).map_err(|e| cannot_write(&self.path, e))?;
        let (buffered, sum) = self.file.finish();
        buffered.into_inner().map_err(|e| cannot_write(&self.path, e.into_error()))?.publish()?;
        Ok(sum)
    }
}

/// A notes file that is open for reading.
pub struct NotesFile {
    path: PathBuf,
    file: File,
    /// Where the table starts, and its number of rows.
    table: u64,
    rows: u64,
}

impl NotesFile {
    /// Reads where the table stands; whoever opens it has verified the whole file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| cannot_read(path, e))?;
        let size = file.metadata().map_err(|e| cannot_read(path, e))?.len();
        let mut footer = [0; 16];
        let at = size.checked_sub(16).ok_or_else(|| damaged(path))?;
        file.read_exact_at(&mut footer, at).map_err(|e| cannot_read(path, e))?;
        let number = u128::from_le_bytes(footer);
        let (rows, magic) = (number as u64, (number >> 64) as u64);
        let table = rows.checked_mul(8).and_then(|bytes| at.checked_sub(bytes));
        match table {
            Some(table) if magic == MAGIC => Ok(Self { path: path.to_owned(), file, table, rows }),
            _ => Err(damaged(path)),
        }
    }

    /// The note of `row`.
    pub fn read(&self, row: u64, note: &mut Vec<u8>) -> Result<()> {
        let mut ends = [0; 16];
        if row == 0 {
            self.exactly(&mut ends[8..], self.table)?;
        } else {
            self.exactly(&mut ends, self.table + (row - 1) * 8)?;
        }
        let both = u128::from_le_bytes(ends);
        let (start, end) = (both as u64, (both >> 64) as u64);
        if row >= self.rows || start > end || end > self.table {
            return Err(damaged(&self.path));
        }
        note.resize((end - start) as usize, 0);
        self.exactly(note, start)
    }

    fn exactly(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|e| cannot_read(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn scattered(count: u64) -> Vec<(u64, u32)> {
        (0..count).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), (n * 7 % 50) as u32)).collect()
    }

    #[test]
    fn buckets_hold_every_key_once_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut entries = scattered(5000);
        write_keys(&path, entries.clone()).unwrap();
        let file = KeyFile::open(&path).unwrap();
        let mut found = Vec::new();
        for start in (0..BUCKETS).step_by(256) {
            let before = found.len() as u64;
            file.read(start..start + 256, |key, row| found.push((key, row))).unwrap();
            assert_eq!(found.len() as u64 - before, file.len(&(start..start + 256)));
        }
        entries.sort_unstable();
        assert_eq!(found, entries);
    }

    #[test]
    fn a_changed_key_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write_keys(&path, scattered(100)).unwrap();
        let sound = fs::read(&path).unwrap();
        for at in [0, 600, sound.len() - 1, sound.len() - 20] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let outcome = KeyFile::open(&path).and_then(|file| file.read(0..BUCKETS, |_, _| {}));
            assert!(outcome.is_err(), "byte {at}");
        }
        fs::write(&path, &sound[..50]).unwrap();
        assert!(KeyFile::open(&path).is_err());
    }

    #[test]
    fn notes_are_read_by_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let mut writer = NotesWriter::create(&path).unwrap();
        let notes: [&[u8]; 4] = [b"", b"one", b"", b"three"];
        for note in &notes {
            writer.push(note).unwrap();
        }
        let sum = writer.publish().unwrap();
        crate::columns::verify(&path, sum).unwrap();
        let file = NotesFile::open(&path).unwrap();
        let mut note = Vec::new();
        for (row, expected) in notes.iter().enumerate() {
            file.read(row as u64, &mut note).unwrap();
            assert_eq!(note, *expected);
        }
        assert!(file.read(4, &mut note).is_err());
    }
}
