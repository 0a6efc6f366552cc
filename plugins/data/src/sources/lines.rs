//! Lines of a part of a file, with their numbers and a cap on their length. The sources that read line by line share it.

use std::io::{self, BufRead};

use psann_core::quantity::Bytes;
use psann_core::source::{Partition, ResumeToken};
use psann_core::{Error, Result};

use super::input::{Input, Opened};
use super::limits::{KEPT_BUFFER, too_long};
use super::on_error::{DAMAGE_HINT, InvalidUtf8, Ledger, OnError};
use super::unpack::Packing;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines that begin in one partition.
pub struct Lines {
    /// `None` behind the end, or the damage.
    opened: Option<Opened>,
    input: Input,
    /// Offset of the next line in the unpacked file.
    offset: u64,
    end: Option<u64>,
    /// Lines read so far; in a later part of a split file the number within the part.
    number: u64,
    /// Whether this is a later part of a split file.
    later: bool,
    /// Whether any line held more than blanks.
    content: bool,
    /// Longest line in bytes.
    limit: usize,
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are no part of the line.
    mark: usize,
}

enum Step {
    Line,
    TooLong,
    End,
}

impl Lines {
    /// Opens a partition at its start, or at the line that `resume` counts from it. A file that cannot be opened is damaged.
    pub fn open(
        input: &Input,
        partition: &Partition,
        resume: Option<&ResumeToken>,
        limit: Bytes,
        ledger: &mut Ledger,
    ) -> Result<Self> {
        let (opened, offset) = match input.open_at(partition.start) {
            Ok((opened, offset)) => (Some(opened), offset),
            Err(error) if matches!(input, Input::File(_)) => {
                ledger.damaged(error)?;
                (None, partition.start)
            }
            Err(error) => return Err(error),
        };
        let mut lines = Self {
            opened,
            input: input.clone(),
            offset,
            end: partition.end,
            number: 0,
            later: partition.start > 0,
            content: false,
            limit: limit.0 as usize,
            buffer: Vec::new(),
            mark: 0,
        };
        let done = resume.map_or(Ok(0), |token| input.records_done(token))?;
        while lines.number < done {
            if matches!(lines.step().map_err(|e| lines.damage(e))?, Step::End) {
                return Err(input.changed());
            }
        }
        Ok(lines)
    }

    /// Goes to the next line; `false` at the end of the part. Lines above the limit are broken records.
    pub fn advance(&mut self, ledger: &mut Ledger) -> Result<bool> {
        loop {
            match self.step() {
                Ok(Step::Line) => return Ok(true),
                Ok(Step::TooLong) => ledger.record(too_long("the line", self.limit), || self.place())?,
                Ok(Step::End) => {
                    self.end(ledger)?;
                    return Ok(false);
                }
                Err(cause) => {
                    let error = self.damage(cause);
                    if let Some(Opened { running: Some(running), .. }) = self.opened.take()
                        && running.is_drained()
                    {
                        // Damage at the end of the output: most likely the command failed.
                        running.finish()?;
                    }
                    ledger.damaged(error)?;
                    return Ok(false);
                }
            }
        }
    }

    /// The line's bytes without its end.
    pub fn line(&self) -> &[u8] {
        &self.buffer[self.mark..]
    }

    fn end(&mut self, ledger: &mut Ledger) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        if let Some(running) = opened.running {
            running.finish()?;
        }
        if !self.content && self.end.is_none() {
            ledger.empty(&self.input.name());
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<Step> {
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.mark = 0;
        let Some(opened) = &mut self.opened else { return Ok(Step::End) };
        if self.end.is_some_and(|end| self.offset >= end) {
            return Ok(Step::End);
        }
        let count = read_line(&mut opened.reader, &mut self.buffer, self.limit)?;
        if count == 0 {
            return Ok(Step::End);
        }
        if self.offset == 0 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.mark = BYTE_ORDER_MARK.len();
        }
        self.offset += count;
        self.number += 1;
        // With or without its end, a line of the limit's length fits.
        if count > self.buffer.len() as u64 {
            self.content = true;
            return Ok(Step::TooLong);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        }
        self.content = self.content || !is_blank(self.line());
        Ok(Step::Line)
    }

    /// `file:line`, or file and byte offset in a later part of a split file, whose line numbers nobody counted.
    pub fn place(&self) -> String {
        if self.later {
            format!("{} before byte {}", self.input.name(), self.offset)
        } else {
            format!("{}:{}", self.input.name(), self.number)
        }
    }

    /// Lines read so far, for resuming.
    pub fn position(&self) -> ResumeToken {
        ResumeToken(self.number.to_string())
    }

    fn damage(&self, cause: io::Error) -> Error {
        let (name, at) = (self.input.name(), self.offset + self.buffer.len() as u64);
        if self.opened.as_ref().is_none_or(|opened| opened.packing == Packing::Plain) {
            return Error::new(format!("cannot read `{name}` behind byte {at}")).because(cause);
        }
        let line = self.number + 1;
        Error::new(format!("`{name}` is damaged behind byte {at} of its unpacked text (line {line})"))
            .because(cause)
            .hint(DAMAGE_HINT)
    }
}

/// Whether a line holds nothing but blanks.
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Bytes without the mark that some editors put before UTF-8 text.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Reads one line with its end; returns its length, which is greater than the buffer's if it is above the limit.
pub fn read_line(reader: &mut dyn BufRead, buffer: &mut Vec<u8>, limit: usize) -> io::Result<u64> {
    let mut count = 0;
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = memchr::memchr(b'\n', bytes);
        let piece = &bytes[..end.map_or(bytes.len(), |at| at + 1)];
        let length = piece.len();
        count += length as u64;
        // The end of the line does not count.
        if count - u64::from(end.is_some()) <= limit as u64 {
            buffer.extend_from_slice(piece);
        } else {
            *buffer = Vec::new();
        }
        reader.consume(length);
        if end.is_some() || length == 0 {
            return Ok(count);
        }
    }
}

/// A ledger for reading what was read before: nothing is counted twice.
pub fn quiet() -> Ledger {
    Ledger::new(OnError::Skip, InvalidUtf8::Replace)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::limits::MAX_DOCUMENT;
    use super::*;

    fn partition(start: u64, end: Option<u64>) -> Partition {
        Partition { index: 0, location: String::new(), start, end, bytes: 0 }
    }

    #[test]
    fn parts_of_a_split_file_hold_each_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let lines: Vec<String> = (0..200).map(|n| "x".repeat(n % 13) + &n.to_string()).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let size = fs::metadata(&path).unwrap().len();
        let input = Input::File(path);
        for pieces in [1, 2, 3, 7, 50] {
            let mut found = Vec::new();
            for piece in 0..pieces {
                let part = partition(size * piece / pieces, Some(size * (piece + 1) / pieces));
                let mut ledger = quiet();
                let mut part = Lines::open(&input, &part, None, MAX_DOCUMENT, &mut ledger).unwrap();
                while part.advance(&mut ledger).unwrap() {
                    found.push(String::from_utf8(part.line().to_vec()).unwrap());
                }
            }
            assert_eq!(found, lines, "{pieces} pieces");
        }
    }

    #[test]
    fn long_lines_are_broken_records_and_their_bytes_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, format!("{}\n{}\n{}", "x".repeat(9), "y".repeat(10_000_000), "z".repeat(10))).unwrap();
        let input = Input::File(path);
        let mut ledger = Ledger::new(OnError::Skip, InvalidUtf8::Reject);
        let mut lines = Lines::open(&input, &partition(0, None), None, Bytes(9), &mut ledger).unwrap();
        assert!(lines.advance(&mut ledger).unwrap());
        assert_eq!(lines.line(), b"xxxxxxxxx");
        assert!(!lines.advance(&mut ledger).unwrap());
        assert!(lines.buffer.capacity() < 100);
        assert_eq!(ledger.skipped()["longer than max_document"], 2);
        // Resuming behind the long line neither counts it again nor loses what follows.
        let token = ResumeToken("1".into());
        let mut lines = Lines::open(&input, &partition(0, None), Some(&token), Bytes(10), &mut ledger).unwrap();
        assert!(lines.advance(&mut ledger).unwrap());
        assert_eq!(lines.line(), b"zzzzzzzzzz");
        let mut ledger = Ledger::new(OnError::Fail, InvalidUtf8::Reject);
        let mut lines = Lines::open(&input, &partition(0, None), Some(&token), Bytes(9), &mut ledger).unwrap();
        let error = lines.advance(&mut ledger).unwrap_err();
        assert!(error.to_string().ends_with("a.txt:2: the line is longer than the limit of 9 bytes"), "{error}");
    }

    #[test]
    fn a_token_behind_the_end_says_that_the_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "one\ntwo\n").unwrap();
        let (token, mut ledger) = (ResumeToken("3".into()), quiet());
        let opened = Lines::open(&Input::File(path), &partition(0, None), Some(&token), MAX_DOCUMENT, &mut ledger);
        assert!(opened.err().unwrap().to_string().contains("holds less than"));
    }
}
