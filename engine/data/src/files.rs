//! Files that appear as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use psann_core::{Error, Result};

/// An error about writing `path`.
pub fn cannot_write(path: &Path, cause: io::Error) -> Error {
    let full = cause.kind() == io::ErrorKind::StorageFull;
    let error = Error::new(format!("cannot write `{}`", path.display())).because(cause);
    if full { error.hint("the disk is full: make room and run the same command again") } else { error }
}

/// An error about reading `path`.
pub fn cannot_read(path: &Path, cause: io::Error) -> Error {
    Error::new(format!("cannot read `{}`", path.display())).because(cause)
}

/// A file under a temporary name; [`NewFile::publish`] gives it its own. Dropped before that, it is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl NewFile {
    /// Opens the temporary file beside `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let temporary = path.with_added_extension("tmp");
        let file = File::create(&temporary).map_err(|e| cannot_write(path, e))?;
        Ok(Self { path: path.to_owned(), temporary, writer: Some(BufWriter::new(file)) })
    }

    /// Makes the file durable and gives it its name.
    pub fn publish(mut self) -> Result<()> {
        let finish = |writer: BufWriter<File>| writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all();
        let writer = self.writer.take().ok_or_else(|| Error::new("a file was published twice"))?;
        finish(writer).and_then(|()| fs::rename(&self.temporary, &self.path)).map_err(|e| {
            // Of a file that is not whole nothing stays.
            drop(fs::remove_file(&self.temporary));
            cannot_write(&self.path, e)
        })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.as_mut().map_or(Ok(0), |writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After publishing, nothing stands there under the temporary name.
        if self.writer.is_some() {
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Writes a file as a whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(|e| cannot_write(path, e))?;
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_published_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
