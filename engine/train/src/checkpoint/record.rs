//! [`Record`]: what is remembered of a file of tensors, so that reading any part of it finds out whether that part is what
//! was written.
//!
//! The data are hashed in chunks of a few megabytes: a rank that needs an eighth of a file reads and checks an eighth of
//! it. The header, which says what is where, has a hash of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use blake3::{Hash, Hasher};
use psann_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::tensors::{Entry, damaged, read_header};

/// Bytes of data under one hash.
const CHUNK: u64 = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// BLAKE3 of the header with its length.
    pub header: Hashes,
    /// Bytes of data under one of `hashes`.
    pub chunk: u64,
    /// BLAKE3 of each chunk of the data, in order; the last may be shorter.
    pub hashes: Hashes,
}

/// Hashes; written as one hexadecimal text, because a file has thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes(pub Vec<Hash>);

impl Serialize for Hashes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|hash| hash.to_hex().to_string()).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let one = |hex: &[u8]| Hash::from_hex(hex).map_err(de::Error::custom);
        text.as_bytes().chunks(2 * blake3::OUT_LEN).map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// Writes a file and keeps its record.
pub struct Recorder<'a> {
    file: &'a mut dyn Write,
    chunk: u64,
    header: Hash,
    hasher: Hasher,
    in_chunk: u64,
    hashes: Vec<Hash>,
    bytes: u64,
}

impl<'a> Recorder<'a> {
    /// Writes to `file`, which is empty.
    pub fn new(file: &'a mut dyn Write) -> Self {
        Self::with_chunks(file, CHUNK)
    }

    /// With a hash for every so many bytes.
    pub(super) fn with_chunks(file: &'a mut dyn Write, chunk: u64) -> Self {
        let header = blake3::hash(b"");
        Self { file, chunk, header, hasher: Hasher::new(), in_chunk: 0, hashes: Vec::new(), bytes: 0 }
    }

    /// Writes the header, which comes first.
    pub fn header(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.header = blake3::hash(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Writes what comes next of the data.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min((self.chunk - self.in_chunk) as usize));
            self.hasher.update(now);
            self.in_chunk += now.len() as u64;
            if self.in_chunk == self.chunk {
                self.end_chunk();
            }
            rest = later;
        }
        Ok(())
    }

    fn end_chunk(&mut self) {
        self.hashes.push(self.hasher.finalize());
        self.hasher.reset();
        self.in_chunk = 0;
    }

    /// What was written.
    pub fn finish(mut self) -> io::Result<Record> {
        self.file.flush()?;
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        let header = Hashes(vec![self.header]);
        Ok(Record { bytes: self.bytes, header, chunk: self.chunk, hashes: Hashes(self.hashes) })
    }
}

/// A file of tensors that is read against its record, where it has one.
pub struct Recorded {
    path: PathBuf,
    /// Without hashes if another program wrote the file.
    record: Record,
    /// The tensors, in the order of their data.
    pub entries: Vec<Entry>,
    data_start: u64,
    /// The chunk that was read last.
    chunk: Option<(u64, Vec<u8>)>,
}

impl Recorded {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// When the file is missing, its size or header is not what was written.
    pub fn open(path: PathBuf, record: Record) -> Result<Self> {
        let file = File::open(&path).map_err(|e| cannot_read(&path, e))?;
        let bytes = file.metadata().map_err(|e| cannot_read(&path, e))?.len();
        if bytes != record.bytes {
            return Err(damaged(&path, &format!("it has {bytes} bytes, {} were saved", record.bytes)));
        }
        let header = read_start(file, bytes, &path)?;
        if record.header.0 != [blake3::hash(&header)] {
            return Err(damaged(&path, "its header is not what was saved"));
        }
        let opened = Self::with_header(path, record, &header)?;
        let data = opened.record.bytes - opened.data_start;
        if opened.record.hashes.0.len() as u64 != data.div_ceil(opened.record.chunk) {
            return Err(damaged(&opened.path, "its header does not fit its size"));
        }
        Ok(opened)
    }

    /// Reads the header of the file at `path` that another program wrote, so that nothing is known its content could be
    /// held against.
    ///
    /// # Errors
    /// When the file is missing, or its header does not fit it.
    pub fn open_foreign(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(|e| cannot_read(&path, e))?;
        let bytes = file.metadata().map_err(|e| cannot_read(&path, e))?.len();
        let header = read_start(file, bytes, &path)?;
        let record = Record { bytes, header: Hashes::default(), chunk: CHUNK, hashes: Hashes::default() };
        Self::with_header(path, record, &header)
    }

    /// `header` with its length in front.
    fn with_header(path: PathBuf, record: Record, header: &[u8]) -> Result<Self> {
        let (entries, data) = read_header(&header[8..], &path)?;
        let data_start = header.len() as u64;
        if record.chunk == 0 || data_start + data != record.bytes {
            return Err(damaged(&path, "its header does not fit its size"));
        }
        Ok(Self { path, record, entries, data_start, chunk: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `buffer.len()` bytes of the data from `start` on.
    ///
    /// # Errors
    /// When the file cannot be read, or what is read is not what was written.
    pub fn read(&mut self, start: u64, mut buffer: &mut [u8]) -> Result<()> {
        let mut place = start;
        let size = self.record.chunk;
        while !buffer.is_empty() {
            let index = place / size;
            let chunk = self.chunk(index)?;
            let from = (place - index * size) as usize;
            let count = buffer.len().min(chunk.len() - from);
            let (now, later) = buffer.split_at_mut(count);
            now.copy_from_slice(&chunk[from..from + count]);
            place += count as u64;
            buffer = later;
        }
        Ok(())
    }

    /// Lets go of what was kept for the next read.
    pub fn forget(&mut self) {
        self.chunk = None;
    }

    fn chunk(&mut self, index: u64) -> Result<&[u8]> {
        let mut chunk = match self.chunk.take() {
            Some((kept, bytes)) if kept == index => return Ok(&self.chunk.insert((kept, bytes)).1),
            Some((_, bytes)) => bytes,
            None => Vec::new(),
        };
        let start = self.data_start + index * self.record.chunk;
        chunk.resize(self.record.chunk.min(self.record.bytes - start) as usize, 0);
        // Opened for each chunk: a run of hundreds of ranks would hold too many files open.
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut chunk)
        });
        read.map_err(|e| cannot_read(&self.path, e))?;
        if self.record.hashes.0.get(index as usize).is_some_and(|hash| *hash != blake3::hash(&chunk)) {
            return Err(damaged(&self.path, "its content is not what was saved"));
        }
        Ok(&self.chunk.insert((index, chunk)).1)
    }
}

/// The header of a file of so many bytes, its length in front.
fn read_start(mut file: File, bytes: u64, path: &Path) -> Result<Vec<u8>> {
    let mut header = vec![0; 8];
    file.read_exact(&mut header).map_err(|e| damaged(path, &e.to_string()))?;
    let length = header.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if length > bytes.saturating_sub(8) {
        return Err(damaged(path, "the header's size cannot be right"));
    }
    header.resize(8 + length as usize, 0);
    file.read_exact(&mut header[8..]).map_err(|e| cannot_read(path, e))?;
    Ok(header)
}

fn cannot_read(path: &Path, cause: io::Error) -> Error {
    Error::new(format!("cannot read `{}`", path.display())).because(cause)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use psann_core::optimizer::Part;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::checkpoint::tensors::{self, Rows};

    /// A file of one tensor of a hundred bytes in chunks of 32.
    fn written(path: &Path) -> Record {
        let tensor = Tensor::arange(100, (Kind::Uint8, Device::Cpu));
        let mut file = File::create(path).unwrap();
        let mut recorder = Recorder::with_chunks(&mut file, 32);
        let rows = Rows { name: "x".into(), tensor, first: 0, part: Part::Rows };
        tensors::write(&mut recorder, vec![rows]).unwrap();
        recorder.finish().unwrap()
    }

    #[test]
    fn any_part_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let record = written(&path);
        assert_eq!(record.hashes.0.len(), 4);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let mut file = Recorded::open(path, record).unwrap();
        for (start, count) in [(0, 100), (31, 2), (32, 32), (99, 1), (40, 0), (5, 90)] {
            let mut buffer = vec![0; count];
            file.read(start, &mut buffer).unwrap();
            assert!(buffer.iter().zip(start..).all(|(byte, expected)| u64::from(*byte) == expected));
        }
    }

    #[test]
    fn damage_is_found_by_whoever_reads_the_damaged_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let record = written(&path);
        let whole = fs::read(&path).unwrap();
        let mut edited = whole.clone();
        let place = whole.len() - 100 + 40;
        edited[place] ^= 1;
        fs::write(&path, &edited).unwrap();
        let mut file = Recorded::open(path.clone(), record.clone()).unwrap();
        let mut buffer = [0; 10];
        file.read(64, &mut buffer).unwrap();
        let error = file.read(25, &mut buffer).unwrap_err();
        assert!(error.to_string().contains("x.safetensors` is damaged: its content"), "{error}");
        let longer = [whole.as_slice(), b"x"].concat();
        let mut renamed = whole.clone();
        renamed[20] ^= 1;
        for damaged in [&whole[..0], &whole[..5], &whole[..60], &longer, &renamed] {
            fs::write(&path, damaged).unwrap();
            let error = Recorded::open(path.clone(), record.clone()).err().unwrap();
            assert!(error.to_string().contains("x.safetensors` is damaged"), "{error}");
        }
    }
}
