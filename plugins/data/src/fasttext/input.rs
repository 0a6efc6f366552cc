//! The numbers of a model file. Sizes in a file are claims: nothing is allocated for more than the file has bytes left,
//! so a damaged or hostile file costs an error message and not the machine's memory.

use std::io::{BufRead, Read};

/// Why a file is no model that can be used; the caller knows the file's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("cannot read `{0}`")]
    Unreadable(String, #[source] std::io::Error),
    #[error("it is no fastText model (it does not begin with fastText's mark)")]
    Foreign,
    #[error("its format version is {0}; versions 11 and 12 are known")]
    Version(i32),
    #[error("it holds word vectors, not a classifier with labels")]
    Unsupervised,
    #[error("it ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("{0} bytes follow the end of the model")]
    Trailing(u64),
}

pub(super) type Result<T> = std::result::Result<T, Unusable>;

/// Shorthand for [`Unusable::Damaged`].
pub(super) fn damaged<T>(what: impl Into<String>) -> Result<T> {
    Err(Unusable::Damaged(what.into()))
}

/// Reads little-endian values and knows how many bytes are left.
pub(super) struct Input<'a> {
    reader: &'a mut dyn BufRead,
    left: u64,
    /// What is being read, for the message when the file ends within it.
    part: &'static str,
}

impl<'a> Input<'a> {
    /// `length` bytes of `reader`.
    pub(super) fn new(reader: &'a mut dyn BufRead, length: u64) -> Self {
        Self { reader, left: length, part: "its header" }
    }

    /// From here on errors speak of `part`.
    pub(super) fn enter(&mut self, part: &'static str) {
        self.part = part;
    }

    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.expect(1, bytes.len() as u64)?;
        self.reader.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Unusable::Truncated(self.part),
            _ => Unusable::Unreadable(self.part.into(), e),
        })?;
        self.left -= bytes.len() as u64;
        Ok(())
    }

    /// An error unless `count` things of `size` bytes can still follow.
    pub(super) fn expect(&self, count: u64, size: u64) -> Result<()> {
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.left => Ok(()),
            _ => Err(Unusable::Truncated(self.part)),
        }
    }

    pub(super) fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_le_bytes(self.bytes()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.bytes()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.bytes()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.bytes()?))
    }

    /// A count of things, stored in 32 bits.
    pub(super) fn count32(&mut self, what: &str) -> Result<usize> {
        let count = self.i32()?;
        usize::try_from(count).or_else(|_| damaged(format!("it claims {count} {what}")))
    }

    /// A count of things, stored in 64 bits.
    pub(super) fn count64(&mut self, what: &str) -> Result<usize> {
        let count = self.i64()?;
        usize::try_from(count).or_else(|_| damaged(format!("it claims {count} {what}")))
    }

    pub(super) fn block(&mut self, count: usize) -> Result<Vec<u8>> {
        self.expect(count as u64, 1)?;
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        self.expect(count as u64, 4)?;
        let mut floats = Vec::with_capacity(count);
        let mut chunk = [0; 1 << 14];
        while floats.len() < count {
            let bytes = &mut chunk[..((count - floats.len()) * 4).min(1 << 14)];
            self.fill(bytes)?;
            let (quads, _) = bytes.as_chunks::<4>();
            floats.extend(quads.iter().map(|b| f32::from_le_bytes(*b)));
        }
        Ok(floats)
    }

    /// Appends bytes to `to` up to the next zero byte, which is consumed.
    pub(super) fn zero_ended(&mut self, to: &mut Vec<u8>) -> Result<()> {
        let before = to.len();
        let mut rest = Read::take(&mut *self.reader, self.left);
        let read = rest.read_until(0, to).map_err(|e| Unusable::Unreadable(self.part.into(), e))?;
        self.left -= read as u64;
        if to.len() == before || to.pop() != Some(0) {
            return Err(Unusable::Truncated(self.part));
        }
        Ok(())
    }
}
