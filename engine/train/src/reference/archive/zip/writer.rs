//! Writing: entry by entry, the directory last.

use std::io::{self, Write};

use super::{CENTRAL, END, END_64, EXTRA_64, Entry, LOCAL, LOCATOR_64};

/// Extra field that only fills space, as torch calls it.
const PADDING: u16 = u16::from_le_bytes(*b"FB");
const ALIGNMENT: u64 = 64;
const SMALL: u64 = u32::MAX as u64;

/// Writes an archive entry by entry.
pub struct ZipWriter<'a> {
    out: &'a mut dyn Write,
    position: u64,
    entries: Vec<(String, Entry)>,
}

impl<'a> ZipWriter<'a> {
    /// An archive that starts where `out` stands.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, position: 0, entries: Vec::new() }
    }

    /// Adds an entry.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        let entry = Entry { header: self.position, size: bytes.len() as u64, crc: crc.finalize() };
        let mut extra = Vec::new();
        if entry.size >= SMALL {
            extra.extend(EXTRA_64.to_le_bytes());
            extra.extend(16_u16.to_le_bytes());
            extra.extend(entry.size.to_le_bytes());
            extra.extend(entry.size.to_le_bytes());
        }
        let unpadded = self.position + 30 + (name.len() + extra.len()) as u64 + 4;
        let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
        extra.extend(PADDING.to_le_bytes());
        extra.extend((padding as u16).to_le_bytes());
        extra.resize(extra.len() + padding as usize, b'Z');
        let mut header = LOCAL.to_le_bytes().to_vec();
        header.extend(head(&entry, name, extra.len()));
        header.extend(name.as_bytes());
        header.extend(extra);
        self.write(&header)?;
        self.write(bytes)?;
        self.entries.push((name.to_owned(), entry));
        Ok(())
    }

    /// Writes the directory.
    pub fn finish(mut self) -> io::Result<()> {
        let start = self.position;
        for (name, entry) in std::mem::take(&mut self.entries) {
            let mut wide = Vec::new();
            if entry.size >= SMALL {
                wide.extend(entry.size.to_le_bytes());
                wide.extend(entry.size.to_le_bytes());
            }
            if entry.header >= SMALL {
                wide.extend(entry.header.to_le_bytes());
            }
            let mut extra = Vec::new();
            if !wide.is_empty() {
                extra.extend(EXTRA_64.to_le_bytes());
                extra.extend((wide.len() as u16).to_le_bytes());
                extra.extend(wide);
            }
            let mut record = CENTRAL.to_le_bytes().to_vec();
            record.extend(VERSION.to_le_bytes());
            record.extend(head(&entry, &name, extra.len()));
            // No comment, first disk, no attributes.
            record.extend([0; 10]);
            record.extend((entry.header.min(SMALL) as u32).to_le_bytes());
            record.extend(name.as_bytes());
            record.extend(extra);
            self.write(&record)?;
            self.entries.push((name, entry));
        }
        let (size, count) = (self.position - start, self.entries.len() as u64);
        let is_large = size >= SMALL || start >= SMALL || count >= 0xffff;
        let mut record = Vec::new();
        if is_large {
            record.extend(END_64.to_le_bytes());
            record.extend(44_u64.to_le_bytes());
            record.extend([VERSION.to_le_bytes(), VERSION.to_le_bytes()].concat());
            record.extend([0; 8]);
            for number in [count, count, size, start] {
                record.extend(number.to_le_bytes());
            }
            record.extend(LOCATOR_64.to_le_bytes());
            record.extend(0_u32.to_le_bytes());
            record.extend(self.position.to_le_bytes());
            record.extend(1_u32.to_le_bytes());
        }
        let (count, size, start) =
            if is_large { (u16::MAX, u32::MAX, u32::MAX) } else { (count as u16, size as u32, start as u32) };
        record.extend(END.to_le_bytes());
        record.extend([0; 4]);
        record.extend(count.to_le_bytes());
        record.extend(count.to_le_bytes());
        record.extend(size.to_le_bytes());
        record.extend(start.to_le_bytes());
        record.extend([0; 2]);
        self.write(&record)?;
        self.out.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// The version of the format that knows 64-bit sizes.
const VERSION: u16 = 45;
/// The first of January 1980: archives of the same content are the same.
const DATE: u16 = 0x21;

/// What the local and the central header of an entry have in common.
fn head(entry: &Entry, name: &str, extra: usize) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    // No flags, not compressed, midnight.
    bytes.extend([0; 6]);
    bytes.extend(DATE.to_le_bytes());
    bytes.extend(entry.crc.to_le_bytes());
    let size = entry.size.min(SMALL) as u32;
    bytes.extend(size.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend((extra as u16).to_le_bytes());
    bytes
}
