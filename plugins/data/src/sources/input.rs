//! One input of a source, opened whatever it is (a file, standard input, the output of a command) and however it is
//! packed.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use psann_core::source::ResumeToken;
use psann_core::{Error, Result};

use super::on_error::DAMAGE_HINT;
use super::stream::{self, Running};
use super::unpack::{BUFFER_BYTES, Packing, unpack};

/// What messages call standard input.
pub const STDIN: &str = "standard input";

/// How messages begin that are about a command.
const OUTPUT: &str = "output of `";

/// Whether a message that calls its input so is about one that is read once and has no size.
pub fn is_stream(name: &str) -> bool {
    name == STDIN || name.starts_with(OUTPUT)
}

/// What one name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Standard input, named `-`.
    Stdin,
    /// What a command prints.
    Command(Vec<String>),
}

/// An opened input.
pub struct Opened {
    /// Its unpacked bytes.
    pub reader: Box<dyn BufRead + Send>,
    /// How they were packed.
    pub packing: Packing,
    /// The command that prints them.
    pub running: Option<Arc<Running>>,
}

impl Input {
    /// What a message calls it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => STDIN.to_owned(),
            Self::Command(words) => format!("{OUTPUT}{}`", words.join(" ")),
        }
    }

    /// Reads the (unpacked) bytes from the start.
    pub fn open(&self) -> Result<Opened> {
        let unpack = |raw: Box<dyn Read + Send>, promised| {
            let (packing, reader) = unpack(raw, promised).map_err(|e| self.cannot_read(e))?;
            Ok(Opened { reader, packing, running: None })
        };
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(|e| self.cannot_read(e))?;
                unpack(Box::new(file), Packing::of_name(path))
            }
            Self::Stdin => unpack(Box::new(stream::stdin()?), Packing::Plain),
            Self::Command(words) => {
                let (output, running) = stream::command(words)?;
                Ok(Opened { running: Some(running), ..unpack(Box::new(output), Packing::Plain)? })
            }
        }
    }

    /// Opens the part of a plain file that starts with the first line that begins at or behind `start`.
    ///
    /// Returns the reader and the offset of its first byte. A line belongs to the part in which it begins.
    pub fn open_at(&self, start: u64) -> Result<(Opened, u64)> {
        let Self::File(path) = self else { return Ok((self.open()?, 0)) };
        if start == 0 {
            return Ok((self.open()?, 0));
        }
        let open = || {
            let mut file = File::open(path)?;
            // One byte earlier: if it ends a line, the next one begins right here.
            file.seek(SeekFrom::Start(start - 1))?;
            let mut reader = io::BufReader::with_capacity(BUFFER_BYTES, file);
            let skipped = reader.skip_until(b'\n')?;
            Ok((reader, start - 1 + skipped as u64))
        };
        let (reader, offset) = open().map_err(|e| self.cannot_read(e))?;
        Ok((Opened { reader: Box::new(reader), packing: Packing::Plain, running: None }, offset))
    }

    /// An error about reading this input.
    pub fn cannot_read(&self, cause: io::Error) -> Error {
        let kind = cause.kind();
        let error = Error::new(format!("cannot read `{}`", self.name())).because(cause);
        match kind {
            io::ErrorKind::NotFound => error.hint("check the name; relative names are relative to the recipe's folder"),
            io::ErrorKind::IsADirectory => error.hint("name its files, for example with a pattern that ends in `/*`"),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => error.hint(DAMAGE_HINT),
            io::ErrorKind::PermissionDenied => error.hint("ask for the right to read it"),
            _ => error,
        }
    }

    /// The number in a token of this input's readers.
    pub fn records_done(&self, token: &ResumeToken) -> Result<u64> {
        token.0.parse().map_err(|e| Error::new(format!("`{}` is no place in `{}`", token.0, self.name())).because(e))
    }

    /// An error about an input that ends before the place where reading should go on.
    pub fn changed(&self) -> Error {
        Error::new(format!("`{}` holds less than when it was read first", self.name()))
            .hint("the input changed; start over with `--fresh`")
    }

    /// Size and time of change of a file.
    pub fn metadata(&self) -> Result<fs::Metadata> {
        let Self::File(path) = self else {
            return Err(Error::new(format!("`{}` is no file", self.name())));
        };
        let metadata = fs::metadata(path).and_then(|metadata| {
            if metadata.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(metadata) }
        });
        metadata.map_err(|e| self.cannot_read(e))
    }

    /// Whether it is a file without compression. Told by content, so only asked where it matters.
    pub fn is_plain(&self) -> bool {
        let Self::File(path) = self else { return false };
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut head));
        read.is_ok() && Packing::of_content(&head) == Packing::Plain
    }
}
