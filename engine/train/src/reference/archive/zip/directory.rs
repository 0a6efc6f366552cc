//! Reading: the directory at the end, and the entries it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use psann_core::{Error, Result};

use super::{CENTRAL, END, END_64, EXTRA_64, Entry, LOCAL, LOCATOR_64};
use crate::reference::archive::{Place, cannot_read};
use crate::reference::pickle::MAX_BYTES;

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
