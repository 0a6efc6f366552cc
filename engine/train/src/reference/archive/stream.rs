//! The format before torch 1.6: five pickles in a row, of which the fourth is the content and the fifth names the
//! storages; their numbers follow, each behind its count.

use std::collections::BTreeMap;
use std::io::{BufRead, Seek, SeekFrom};

use psann_core::{Error, Result};

use super::{Place, cannot_read};
use crate::reference::pickle::{self, Document, StorageRef, Value, element_size};

/// The first pickle: the number that marks such files.
pub const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The version of the format, the second pickle.
const PROTOCOL: i64 = 1001;

/// Where the numbers of each storage stand.
#[derive(Debug)]
pub struct Storages(BTreeMap<String, Place>);

impl Storages {
    pub fn find(&self, key: &str) -> Result<Place> {
        self.0.get(key).copied().ok_or_else(|| Error::new(format!("it has no storage `{key}`")))
    }
}

/// Reads the file from its start.
pub fn read<R: BufRead + Seek>(reader: &mut R, length: u64) -> Result<(Document, Storages)> {
    reader.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(cannot_read)?;
    let protocol = pickle::read(reader).map_err(|e| e.within("its version"))?;
    if !matches!(protocol.root(), Value::Int(PROTOCOL)) {
        return Err(Error::new("its version is not the one that torch wrote before 1.6"));
    }
    let system = pickle::read(reader).map_err(|e| e.within("its header"))?;
    if !matches!(system.get(system.root(), "little_endian"), Some(Value::Bool(true))) {
        return Err(Error::new("its numbers are big-endian, which is not supported"));
    }
    let document = pickle::read(reader).map_err(|e| e.within("its content"))?;
    let keys = pickle::read(reader).map_err(|e| e.within("its list of storages"))?;
    let known: BTreeMap<&str, &StorageRef> =
        document.storages().map(|storage| (storage.key.as_str(), storage)).collect();
    let mut places = BTreeMap::new();
    let mut offset = reader.stream_position().map_err(cannot_read)?;
    for key in keys.items(keys.root()).ok_or_else(|| Error::new("its list of storages is none"))? {
        let key = key.text().ok_or_else(|| Error::new("the key of a storage is no text"))?;
        let storage = known.get(key).ok_or_else(|| Error::new(format!("storage `{key}` belongs to no tensor")))?;
        let mut count = [0; 8];
        reader.seek(SeekFrom::Start(offset)).map_err(cannot_read)?;
        reader.read_exact(&mut count).map_err(|e| cut(key).because(e))?;
        let count = u64::from_le_bytes(count);
        if count != storage.elements {
            return Err(Error::new(format!("storage `{key}` has {count} elements, expected {}", storage.elements)));
        }
        let bytes = count.checked_mul(element_size(storage.kind)).ok_or_else(|| cut(key))?;
        let end = (offset + 8).checked_add(bytes).filter(|end| *end <= length).ok_or_else(|| cut(key))?;
        places.insert(key.to_owned(), Place { offset: offset + 8, length: bytes });
        offset = end;
    }
    Ok((document, Storages(places)))
}

fn cut(key: &str) -> Error {
    Error::new(format!("it is cut short: storage `{key}` is not whole"))
}
