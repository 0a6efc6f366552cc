//! Files that are whole or not there: written beside their place, flushed to the disk, then renamed.
//!
//! Writing goes through [`Disk`], so that tests can put a disk in place that fills up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use psann_core::{Error, Result};

/// Where files are created.
pub trait Disk: Send + Sync {
    /// A new, empty file at `path`.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
}

/// An open file.
pub trait DiskFile: Write {
    /// Waits until all that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The computer's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Writes `bytes` to `path` as a whole or not at all.
pub fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(disk, path, |file| file.write_all(bytes))
}

/// Lets `content` write the file at `path`; on failure nothing stands there, or what stood there before.
pub fn write_with(
    disk: &dyn Disk,
    path: &Path,
    content: impl FnOnce(&mut dyn DiskFile) -> io::Result<()>,
) -> Result<()> {
    let temporary = path.with_added_extension("tmp");
    let written = disk.create(&temporary).and_then(|mut file| {
        content(file.as_mut())?;
        file.sync()
    });
    let published = written.and_then(|()| fs::rename(&temporary, path));
    published.map_err(|e| {
        // The failure being reported matters more than one in tidying up after it.
        drop(fs::remove_file(&temporary));
        cannot_write(path, e)
    })?;
    sync_parent(path)
}

/// Makes a rename or a new file in the folder of `path` survive a power failure.
pub fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        // A bare file name stands in the working directory.
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes renames and new files in `directory` survive a power failure.
pub fn sync_directory(directory: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(directory).and_then(|file| file.sync_all()).map_err(|e| cannot_write(directory, e))?;
    }
    Ok(())
}

/// The error for a file that could not be written, with the way out that fits.
pub fn cannot_write(path: &Path, cause: io::Error) -> Error {
    let hint = match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and run the same command again; what was saved before is untouched")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("run where this folder can be written")
        }
        _ => None,
    };
    let error = Error::new(format!("cannot write `{}`", path.display())).because(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A disk that is full after some bytes.
#[cfg(test)]
pub mod full {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Disk, DiskFile, File, Path, Write, io};

    /// Room for so many bytes over all files.
    #[derive(Debug, Clone)]
    pub struct FullDisk(pub Arc<AtomicUsize>);

    impl FullDisk {
        pub fn with_room(bytes: usize) -> Self {
            Self(Arc::new(AtomicUsize::new(bytes)))
        }
    }

    struct Limited {
        file: File,
        room: Arc<AtomicUsize>,
    }

    impl Disk for FullDisk {
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(Limited { file: File::create(path)?, room: Arc::clone(&self.0) }))
        }
    }

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.load(Ordering::Relaxed);
            if room == 0 && !bytes.is_empty() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let written = self.file.write(&bytes[..bytes.len().min(room)])?;
            self.room.store(room - written, Ordering::Relaxed);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl DiskFile for Limited {
        fn sync(&mut self) -> io::Result<()> {
            self.file.sync_all()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::full::FullDisk;
    use super::*;

    #[test]
    fn a_full_disk_leaves_what_was_there_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        write(&FileSystem, &path, b"before").unwrap();
        let error = write(&FullDisk::with_room(3), &path, b"after").unwrap_err();
        assert!(error.to_string().contains("latest"), "{error}");
        assert!(error.hint_text().unwrap().contains("free some space"));
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
