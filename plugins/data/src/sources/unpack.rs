//! Compression, told by content: a file's first bytes say gzip or zstd whatever its name says, because corpora hold
//! both packed files without a suffix and unpacked files with one. Damage that the formats can detect (a missing end,
//! a wrong checksum, bytes behind the end) always surfaces as an error behind the text before it.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

/// Size of read buffers.
pub const BUFFER_BYTES: usize = 1 << 18;
/// Enough to tell text from anything else.
const HEAD_BYTES: u64 = 4096;
/// 2 GiB: what `zstd --long=31` needs, with which the largest public dumps are packed. Smaller files use less.
const ZSTD_WINDOW_LOG: u32 = 31;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// One or several gzip members.
    Gzip,
    /// One or several zstd frames.
    Zstd,
}

impl Packing {
    /// What the name promises.
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// What the first bytes say. Neither magic number can begin a text: both hold bytes that no UTF-8 text begins with.
    pub fn of_content(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The unpacked bytes of `raw`, and how they were packed. `promised` is what the name says.
///
/// # Errors
/// When the first bytes cannot be read, or fit neither the promise nor a text.
pub fn unpack(raw: impl Read + Send + 'static, promised: Packing) -> io::Result<(Packing, Box<dyn BufRead + Send>)> {
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    let mut head = Vec::new();
    raw.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let packing = Packing::of_content(&head);
    if packing == Packing::Plain && promised != Packing::Plain && !is_text(&head) {
        let word = promised.word();
        return Err(invalid(format!(
            "its name says {word}, but it is corrupt: it begins neither like {word} nor like text"
        )));
    }
    let raw = Cursor::new(head).chain(raw);
    let unpacked: Box<dyn BufRead + Send> = match packing {
        Packing::Plain => Box::new(raw),
        Packing::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, Gzip { member: Some(GzDecoder::new(raw)) })),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(raw)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, Explained { reader: decoder, packing }))
        }
    };
    Ok((packing, unpacked))
}

fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
    // The head may end inside a character.
    let valid = std::str::from_utf8(head).map_or_else(|e| e.error_len().is_none() && e.valid_up_to() > 0, |_| true);
    valid && !head.iter().any(control)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Says in our words what a decoder found; errors of the disk pass unchanged.
fn explain(packing: Packing, error: io::Error) -> io::Error {
    let word = packing.word();
    match error.kind() {
        _ if error.raw_os_error().is_some() => error,
        io::ErrorKind::Interrupted => error,
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::UnexpectedEof, format!("the {word} data is truncated: it ends too early"))
        }
        _ => invalid(format!("the {word} data is corrupt: {error}")),
    }
}

struct Explained<R> {
    reader: R,
    packing: Packing,
}

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|e| explain(self.packing, e))
    }
}

/// Member after member, as tools that append make them; zeros behind the last one are padding, anything else is damage.
struct Gzip<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer).map_err(|e| explain(Packing::Gzip, e))?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let raw = member.get_mut();
            match raw.fill_buf()?.first() {
                Some(0x1f) => self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner())),
                Some(_) => {
                    only_zeros(raw)?;
                    self.member = None;
                }
                None => self.member = None,
            }
        }
        Ok(0)
    }
}

fn only_zeros(raw: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = raw.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(invalid("other bytes follow the gzip data: the end of the file is corrupt".into()));
        }
        let count = bytes.len();
        raw.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &str) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>, promised: Packing) -> (String, Option<String>) {
        let mut text = Vec::new();
        let error = unpack(Cursor::new(bytes), promised).and_then(|(_, mut reader)| {
            let mut chunk = [0; 7];
            loop {
                match reader.read(&mut chunk)? {
                    0 => return Ok(()),
                    count => text.extend(&chunk[..count]),
                }
            }
        });
        (String::from_utf8(text).unwrap(), error.err().map(|e| e.to_string()))
    }

    #[test]
    fn packed_bytes_are_found_whatever_the_name() {
        for promised in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            for bytes in [b"one\ntwo\n".to_vec(), [gzip("one\n"), gzip(""), gzip("two\n")].concat(), zstd("one\ntwo\n")]
            {
                assert_eq!(read(bytes, promised), ("one\ntwo\n".into(), None));
            }
        }
        assert_eq!(read(Vec::new(), Packing::Gzip), (String::new(), None));
        assert_eq!(read([gzip("one"), vec![0; 99]].concat(), Packing::Gzip), ("one".into(), None));
    }

    #[test]
    fn damage_is_told_behind_the_text_before_it() {
        let check = |bytes: Vec<u8>, promised, said: &str| {
            let (text, error) = read(bytes, promised);
            let error = error.unwrap_or_default();
            assert!(error.contains(said), "{error}");
            text
        };
        for whole in [gzip("one\n"), zstd("one\n")] {
            check(whole[..whole.len() - 1].to_vec(), Packing::Plain, "truncated");
            let mut flipped = whole.clone();
            // A byte of either checksum.
            let at = whole.len() - if whole[0] == 0x1f { 5 } else { 1 };
            flipped[at] ^= 1;
            check(flipped, Packing::Plain, "checksum");
        }
        assert_eq!(check([gzip("one"), b"junk".to_vec()].concat(), Packing::Gzip, "other bytes follow"), "one");
        assert_eq!(check([zstd("one"), b"junk".to_vec()].concat(), Packing::Zstd, "corrupt"), "one");
        check(b"\x1e\x8b\x08rest".to_vec(), Packing::Gzip, "neither like gzip nor like text");
    }
}
