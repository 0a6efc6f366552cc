//! Lines of a part of a file as text, with their numbers, and what to do with bytes that are no UTF-8. The sources that
//! read line by line share it.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use psann_core::source::{Partition, ResumeToken};
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{cannot_read, open_at};

/// Documents after which a batch is handed on.
pub const BATCH_DOCUMENTS: usize = 1024;
/// Bytes of text after which a batch is handed on.
pub const BATCH_BYTES: usize = 4 << 20;

/// What happens to text that is not valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvalidUtf8 {
    /// The run ends with an error that names file and place.
    Error,
    /// Invalid bytes become U+FFFD, which is counted.
    Replace,
    /// The document is left out, which is counted.
    Skip,
}

/// Counted under this name when a document is left out for its bytes.
pub const INVALID_UTF8: &str = "invalid UTF-8";
/// Counted under this name when bytes were replaced.
pub const REPLACED_UTF8: &str = "invalid UTF-8 replaced (kept)";

/// Bytes as text, by the policy; `None` leaves the document out. `place` is asked for the bytes and the position of the
/// first invalid one, when there is an error to show.
pub fn decode(
    bytes: Vec<u8>,
    policy: InvalidUtf8,
    skipped: &mut BTreeMap<String, u64>,
    place: impl FnOnce(&[u8], usize) -> String,
) -> Result<Option<String>> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(Some(text)),
        Err(error) => error,
    };
    match policy {
        InvalidUtf8::Error => {
            let valid = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[valid];
            Err(Error::new(format!("{}: byte 0x{byte:02x} is not valid UTF-8", place(error.as_bytes(), valid)))
                .hint("convert the file, or set `invalid_utf8` to \"replace\" or \"skip\""))
        }
        InvalidUtf8::Replace => {
            *skipped.entry(REPLACED_UTF8.into()).or_default() += 1;
            Ok(Some(String::from_utf8_lossy(error.as_bytes()).into_owned()))
        }
        InvalidUtf8::Skip => {
            *skipped.entry(INVALID_UTF8.into()).or_default() += 1;
            Ok(None)
        }
    }
}

/// The lines that begin in one partition.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    /// Offset of the next line in the unpacked file.
    offset: u64,
    end: Option<u64>,
    /// Lines read so far; in a later part of a split file the number within the part.
    number: u64,
    split: bool,
}

impl Lines {
    /// Opens a partition at its start, or at the line that `resume` counts from it.
    pub fn open(path: &Path, partition: &Partition, resume: Option<&ResumeToken>) -> Result<Self> {
        let (reader, offset) = open_at(path, partition.start)?;
        let mut lines =
            Self { reader, path: path.to_owned(), offset, end: partition.end, number: 0, split: partition.start > 0 };
        let done = match resume {
            None => 0,
            Some(token) => token
                .0
                .parse::<u64>()
                .map_err(|e| Error::new(format!("`{}` is no place in `{}`", token.0, path.display())).because(e))?,
        };
        while lines.number < done {
            if lines.next_line()?.is_none() {
                return Err(Error::new(format!("`{}` has fewer lines than when it was read first", path.display()))
                    .hint("the file changed; start over with `--fresh`"));
            }
        }
        Ok(lines)
    }

    /// The next line's bytes without its end, and its number; `None` at the end of the part.
    pub fn next_line(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        if self.end.is_some_and(|end| self.offset >= end) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let count = self.reader.read_until(b'\n', &mut bytes).map_err(|e| cannot_read(&self.path, e))?;
        if count == 0 {
            return Ok(None);
        }
        self.offset += count as u64;
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Some((bytes, self.number)))
    }

    /// `file:line`, or file and byte offset in a later part of a split file, whose line numbers nobody counted.
    pub fn place(&self) -> String {
        if self.split {
            format!("{} before byte {}", self.path.display(), self.offset)
        } else {
            format!("{}:{}", self.path.display(), self.number)
        }
    }

    /// Lines read so far, for resuming.
    pub fn position(&self) -> ResumeToken {
        ResumeToken(self.number.to_string())
    }
}
