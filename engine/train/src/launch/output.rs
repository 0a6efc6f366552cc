//! What ranks print: forwarded line by line, so that lines of several ranks never mix, and remembered by its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};

/// A line longer than this is forwarded in pieces, so that output without line ends cannot fill the memory.
const LONGEST_LINE: u64 = 1 << 20;

/// How many lines of a rank are remembered, and how many bytes of each.
const REMEMBERED: usize = 40;
const REMEMBERED_BYTES: usize = 2000;

/// Reads `stream` to its end and gives each line, without its line end, to `each`, until that says false.
pub fn read_lines(stream: impl Read, mut each: impl FnMut(Vec<u8>) -> bool) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        // A pipe that cannot be read has nothing more to say; how the rank ends is what counts.
        let Ok(read @ 1..) = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line) else { return };
        debug_assert_eq!(read, line.len());
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !each(line) {
            return;
        }
    }
}

/// Writes one line of a rank in one piece. Bytes stay as they are, whether they are text or not.
pub fn forward(output: &mut dyn Write, rank: usize, line: &[u8]) {
    let mut whole = format!("[rank {rank}] ").into_bytes();
    whole.extend_from_slice(line);
    whole.push(b'\n');
    // Nobody is left to tell when the output is gone; the work goes on.
    drop(output.write_all(&whole).and_then(|()| output.flush()));
}

/// The last lines that a rank wrote to its standard error.
#[derive(Debug, Default)]
pub struct LastLines(VecDeque<String>);

impl LastLines {
    /// Remembers a line.
    pub fn push(&mut self, line: &[u8]) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        let start = &line[..line.len().min(REMEMBERED_BYTES)];
        self.0.push_back(String::from_utf8_lossy(start).trim_end().to_owned());
    }

    /// The line that says best what went wrong: of psann's own errors and those of C++ the message, of a panic what
    /// stands below its place, else the last line that is not empty.
    pub fn error(&self) -> Option<&str> {
        let after_panic = self.0.iter().zip(self.0.iter().skip(1)).rev();
        let panic =
            after_panic.filter(|(place, _)| place.contains("panicked at ")).map(|(_, message)| message.as_str());
        let marked =
            |mark: &'static str| self.0.iter().rev().find_map(move |line| line.trim_start().strip_prefix(mark));
        let found = marked("error: ").or_else(|| panic.into_iter().next()).or_else(|| marked("what(): "));
        found.or_else(|| self.0.iter().rev().map(String::as_str).find(|line| !line.is_empty())).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        read_lines(bytes, |line| {
            lines.push(line);
            true
        });
        lines
    }

    #[test]
    fn lines_are_cut_at_line_ends_and_the_last_may_lack_one() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(b"\xff\xfe\n"), [b"\xff\xfe"]);
        let long = vec![b'x'; LONGEST_LINE as usize + 3];
        assert_eq!(lines(&long).iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST_LINE as usize, 3]);
    }

    #[test]
    fn forwarded_bytes_stay_as_they_are_behind_the_prefix() {
        let mut output = Vec::new();
        forward(&mut output, 12, b"caf\xe9");
        assert_eq!(output, b"[rank 12] caf\xe9\n");
    }

    #[test]
    fn the_error_among_the_last_lines_is_found() {
        let check = |lines: &[&str], expect: Option<&str>| {
            let mut last = LastLines::default();
            for line in lines {
                last.push(line.as_bytes());
            }
            assert_eq!(last.error(), expect, "{lines:?}");
        };
        check(&[], None);
        check(&["", " "], None);
        check(&["step 1", "bad luck", ""], Some("bad luck"));
        check(&["error: no room on disk", "  hint: free some", "bye"], Some("no room on disk"));
        check(
            &["thread 'main' panicked at src/a.rs:1:2:", "index out of bounds", "note: backtrace"],
            Some("index out of bounds"),
        );
        check(
            &["terminate called after throwing", "  what():  Connection closed", "frame #0"],
            Some("Connection closed"),
        );
        let many: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        check(&many.iter().map(String::as_str).collect::<Vec<_>>(), Some("line 99"));
    }
}
