//! The containers that `torch.save` puts a pickle and its numbers into: a zip archive without compression since torch
//! 1.6 ([`zip`]), one stream before that ([`stream`]).

mod stream;
mod zip;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};

use super::pickle::{self, Document};

pub use zip::ZipWriter;

/// An open file of `torch.save`.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Zip(zip::Directory),
    Stream(stream::Storages),
}

/// Where numbers stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
}

impl Archive {
    /// Opens the file at `path` and reads its pickle.
    ///
    /// # Errors
    /// When it is no such file, is cut short, or its pickle is refused. Every message names the file.
    pub fn open(path: &Path) -> Result<(Self, Document)> {
        Self::open_any(path).map_err(|e| e.within(format!("`{}`", path.display())))
    }

    fn open_any(path: &Path) -> Result<(Self, Document)> {
        let mut file = File::open(path).map_err(|e| Error::usage("it cannot be opened").because(e))?;
        let length = file.metadata().map_err(cannot_read)?.len();
        let mut start = Vec::new();
        (&mut file).take(stream::MAGIC.len() as u64).read_to_end(&mut start).map_err(cannot_read)?;
        if start.starts_with(b"PK") {
            let mut directory = zip::Directory::read(&mut file, length)?;
            let bytes = directory.pickle(&mut file)?;
            let mut rest = &bytes[..];
            let document = pickle::read(&mut rest)?;
            return Ok((Self { path: path.to_owned(), file, format: Format::Zip(directory) }, document));
        }
        if start == stream::MAGIC {
            let mut reader = BufReader::new(&mut file);
            let (document, storages) = stream::read(&mut reader, length)?;
            return Ok((Self { path: path.to_owned(), file, format: Format::Stream(storages) }, document));
        }
        Err(Error::usage("it is no file of `torch.save`").hint("name a `.pt` file of the Python reference"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads bytes `start .. start + length` of storage `key`, which must have `whole` bytes, into `buffer`.
    pub fn read(&mut self, key: &str, whole: u64, start: u64, length: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let place = match &self.format {
            Format::Zip(directory) => directory.storage(&mut self.file, key)?,
            Format::Stream(storages) => storages.find(key)?,
        };
        if place.length != whole {
            return Err(Error::new(format!("storage `{key}` has {} bytes, expected {whole}", place.length)));
        }
        if start.checked_add(length).is_none_or(|end| end > place.length) {
            return Err(Error::new(format!("storage `{key}` has {} bytes, too few for a tensor of it", place.length)));
        }
        if length < whole
            && let Format::Zip(directory) = &mut self.format
        {
            directory.check_shared(&mut self.file, key)?;
        }
        buffer.resize(length as usize, 0);
        self.file.seek(SeekFrom::Start(place.offset + start)).map_err(cannot_read)?;
        self.file.read_exact(buffer).map_err(cannot_read)?;
        match &self.format {
            Format::Zip(directory) if length == whole => directory.check_whole(key, buffer),
            _ => Ok(()),
        }
    }
}

fn cannot_read(cause: io::Error) -> Error {
    Error::new("it cannot be read").because(cause)
}

#[cfg(test)]
mod tests;
