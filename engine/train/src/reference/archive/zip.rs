//! Zip archives without compression, small and large (zip64), as torch reads and writes them.
//!
//! Torch aligns the numbers of each entry to 64 bytes by an extra field, and checks CRCs on reading; so do we.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use psann_core::{Error, Result};

use super::{Place, cannot_read};
use crate::reference::pickle::MAX_BYTES;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// Extra field of 64-bit sizes.
const EXTRA_64: u16 = 1;
/// Extra field that only fills space, as torch calls it.
const PADDING: u16 = u16::from_le_bytes(*b"FB");
const ALIGNMENT: u64 = 64;
const SMALL: u64 = u32::MAX as u64;

/// What an archive holds.
#[derive(Debug)]
pub struct Directory {
    entries: BTreeMap<String, Entry>,
    /// The folder that all names start with, with its slash.
    root: String,
    /// Where entries end.
    end: u64,
    /// Keys of shared storages whose CRC was found right.
    checked: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Place of the local header.
    header: u64,
    size: u64,
    crc: u32,
}

/// A cursor over little-endian fields that are there or not.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

fn truncated() -> Error {
    Error::new("it is cut short: the directory at its end is missing").hint("copy or download the file again")
}

fn damaged() -> Error {
    Error::new("it is damaged: its directory makes no sense")
}

impl Directory {
    /// Reads the directory at the end of `file`.
    pub fn read(file: &mut File, length: u64) -> Result<Self> {
        let (start, size) = Self::locate(file, length)?;
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err(damaged());
        }
        let bytes = at(file, start, size)?;
        let mut fields = Fields(&bytes);
        let mut entries = BTreeMap::new();
        while !fields.0.is_empty() {
            let (name, entry) = Self::entry(&mut fields)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::new(format!("it is damaged: it has two entries `{name}`")));
            }
        }
        let roots: Vec<&str> = entries.keys().filter_map(|name| name.strip_suffix("data.pkl")).collect();
        let [root] = roots[..] else {
            return Err(Error::usage("it is an archive, but none of `torch.save`: it has no single `data.pkl`"));
        };
        let root = root.to_owned();
        Ok(Self { entries, root, end: start, checked: BTreeSet::new() })
    }

    /// Start and size of the directory.
    fn locate(file: &mut File, length: u64) -> Result<(u64, u64)> {
        // The last record has 22 bytes and a comment of at most 65535.
        let tail_start = length.saturating_sub(22 + 65_535);
        let tail = at(file, tail_start, length - tail_start)?;
        let signature = END.to_le_bytes();
        let found = tail.windows(4).rposition(|window| window == signature).ok_or_else(truncated)?;
        let mut fields = Fields(&tail[found + 4..]);
        let mut small = || {
            fields.take(8)?;
            Some((fields.u32()?, fields.u32()?))
        };
        let (size, start) = small().ok_or_else(truncated)?;
        if size != u32::MAX && start != u32::MAX {
            return Ok((start.into(), size.into()));
        }
        let locator = found.checked_sub(20).ok_or_else(damaged)?;
        let mut fields = Fields(&tail[locator..]);
        let mut place = || {
            (fields.u32()? == LOCATOR_64).then_some(())?;
            fields.u32()?;
            fields.u64()
        };
        let place = place().filter(|place| *place <= length.saturating_sub(56)).ok_or_else(damaged)?;
        let bytes = at(file, place, 56)?;
        let mut fields = Fields(&bytes);
        let mut large = || {
            (fields.u32()? == END_64).then_some(())?;
            fields.take(36)?;
            Some((fields.u64()?, fields.u64()?))
        };
        large().map(|(size, start)| (start, size)).ok_or_else(damaged)
    }

    fn entry(fields: &mut Fields<'_>) -> Result<(String, Entry)> {
        let mut read = || {
            (fields.u32()? == CENTRAL).then_some(())?;
            fields.take(4)?;
            let (flags, method) = (fields.u16()?, fields.u16()?);
            fields.take(4)?;
            let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
            let [name, extra, comment] = [fields.u16()?, fields.u16()?, fields.u16()?];
            fields.take(8)?;
            let header = fields.u32()?;
            let name = String::from_utf8(fields.take(name.into())?.to_vec()).ok()?;
            let mut extra = Fields(fields.take(extra.into())?);
            fields.take(comment.into())?;
            let mut entry = Entry { header: header.into(), size: size.into(), crc };
            while !extra.0.is_empty() {
                let (kind, length) = (extra.u16()?, extra.u16()?);
                let mut wide = Fields(extra.take(length.into())?);
                if kind == EXTRA_64 {
                    // Only those that did not fit stand here, in this order.
                    if size == u32::MAX {
                        entry.size = wide.u64()?;
                    }
                    if packed == u32::MAX {
                        wide.u64()?;
                    }
                    if header == u32::MAX {
                        entry.header = wide.u64()?;
                    }
                }
            }
            Some((name, entry, flags, method))
        };
        let (name, entry, flags, method) = read().ok_or_else(damaged)?;
        if method != 0 || flags & 1 != 0 {
            return Err(Error::new(format!(
                "its entry `{name}` is compressed or encrypted, which `torch.save` never does"
            ))
            .hint("save it again with torch instead of packing it by hand"));
        }
        Ok((name, entry))
    }

    /// The pickle; checks what stands beside it too.
    pub fn pickle(&mut self, file: &mut File) -> Result<Vec<u8>> {
        let order = format!("{}byteorder", self.root);
        if self.entries.contains_key(&order) && self.small(file, &order)? != b"little" {
            return Err(Error::new("its numbers are big-endian, which is not supported"));
        }
        let name = format!("{}data.pkl", self.root);
        self.small(file, &name)
    }

    /// Where the numbers of a storage stand.
    pub fn storage(&self, file: &mut File, key: &str) -> Result<Place> {
        self.place(file, &format!("{}data/{key}", self.root))
    }

    /// Checks the numbers of a storage that were all read into `bytes`.
    pub fn check_whole(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        self.check(&format!("{}data/{key}", self.root), crc)
    }

    /// Checks the numbers of a storage of which only parts are read; once, because many tensors may share it.
    pub fn check_shared(&mut self, file: &mut File, key: &str) -> Result<()> {
        if self.checked.contains(key) {
            return Ok(());
        }
        let place = self.storage(file, key)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(cannot_read)?;
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut left = place.length;
        while left > 0 {
            let part = &mut buffer[..left.min(1 << 20) as usize];
            file.read_exact(part).map_err(cannot_read)?;
            crc.update(part);
            left -= part.len() as u64;
        }
        self.check(&format!("{}data/{key}", self.root), crc)?;
        self.checked.insert(key.to_owned());
        Ok(())
    }

    fn small(&self, file: &mut File, name: &str) -> Result<Vec<u8>> {
        let place = self.place(file, name)?;
        if place.length > MAX_BYTES {
            return Err(Error::new(format!("its entry `{name}` has {} bytes, too many for a pickle", place.length)));
        }
        let bytes = at(file, place.offset, place.length)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        self.check(name, crc)?;
        Ok(bytes)
    }

    fn check(&self, name: &str, crc: crc32fast::Hasher) -> Result<()> {
        if self.entries.get(name).is_some_and(|entry| entry.crc == crc.finalize()) {
            return Ok(());
        }
        Err(Error::new(format!("it is damaged: entry `{name}` is not what was saved"))
            .hint("copy or download the file again"))
    }

    fn place(&self, file: &mut File, name: &str) -> Result<Place> {
        let entry = self.entries.get(name).ok_or_else(|| Error::new(format!("it has no entry `{name}`")))?;
        let wrong = || Error::new(format!("it is damaged: entry `{name}` is not where its directory says"));
        if entry.header.checked_add(30).is_none_or(|end| end > self.end) {
            return Err(wrong());
        }
        let header = at(file, entry.header, 30)?;
        let mut fields = Fields(&header);
        let mut lengths = || {
            (fields.u32()? == LOCAL).then_some(())?;
            fields.take(22)?;
            Some(u64::from(fields.u16()?) + u64::from(fields.u16()?))
        };
        let offset = entry.header + 30 + lengths().ok_or_else(wrong)?;
        if offset.checked_add(entry.size).is_none_or(|end| end > self.end) {
            return Err(wrong());
        }
        Ok(Place { offset, length: entry.size })
    }
}

/// Bytes of the file that are known to be inside of it.
fn at(file: &mut File, start: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes)).map_err(cannot_read)?;
    Ok(bytes)
}

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
