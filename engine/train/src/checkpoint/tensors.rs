//! Tensors into safetensors files, one at a time, so that writing never holds a second copy of a model, and the headers of
//! such files.
//!
//! A file may hold rows of tensors whose other rows lie elsewhere. Its header says so the way PyTorch's
//! `HuggingFaceStorageReader` expects: `DCP_SHARDING_INFO` maps each name to `saved_offsets`. Beside them stands `part` when
//! dimension 0 does not count rows of a parameter (`blocks:256`, `whole`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use psann_core::optimizer::Part;
use psann_core::{Error, Result};
use psann_torch::bytes;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use tch::{Device, Kind, Tensor};

use super::record::Recorder;

/// A tensor to write, maybe some of its rows.
#[derive(Debug)]
pub struct Rows {
    /// Its name in the file.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
    /// Where they stand in dimension 0 of the whole.
    pub first: i64,
    /// What dimension 0 counts.
    pub part: Part,
}

/// How a tensor stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Dtype of the values.
    pub kind: Kind,
    /// Shape of what stands in the file.
    pub shape: Vec<i64>,
    /// Where that stands in dimension 0 of the whole.
    pub first: i64,
    /// What dimension 0 counts.
    pub part: Part,
    /// First byte among the file's data.
    pub start: u64,
}

impl Entry {
    /// How many entries of dimension 0 stand in the file; a tensor without dimensions is one.
    pub fn rows(&self) -> i64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of one entry of dimension 0.
    pub fn row_bytes(&self) -> u64 {
        self.shape.iter().skip(1).product::<i64>() as u64 * self.kind.elt_size_in_bytes() as u64
    }

    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.rows() as u64 * self.row_bytes()
    }
}

/// Key of the sharding information in a header's metadata.
const SHARDING: &str = "DCP_SHARDING_INFO";

#[derive(Serialize, Deserialize)]
struct Sharding {
    saved_offsets: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<String>,
}

/// Writes `tensors`, the widest dtypes first: so every value starts at a multiple of its size, as readers that map files
/// need it.
pub fn write(file: &mut Recorder<'_>, mut tensors: Vec<Rows>) -> io::Result<()> {
    tensors.sort_by_key(|rows| std::cmp::Reverse(rows.tensor.kind().elt_size_in_bytes()));
    let mut start = 0;
    let entries = tensors.iter().map(|rows| {
        let (kind, shape) = (rows.tensor.kind(), rows.tensor.size());
        let entry = Entry { name: rows.name.clone(), kind, shape, first: rows.first, part: rows.part, start };
        start += entry.bytes();
        entry
    });
    file.header(&header(&entries.collect::<Vec<_>>(), true)?)?;
    for rows in tensors {
        let host = rows.tensor.to_device(Device::Cpu).contiguous();
        file.data(bytes::of(&host).map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// The header of a file of `entries`, its length in front; `sharded` when they are rows of tensors.
pub fn header(entries: &[Entry], sharded: bool) -> io::Result<Vec<u8>> {
    let mut metadata = json!({ "format": "pt" });
    if sharded {
        let mut sharding = Map::new();
        for entry in entries {
            let mut saved_offsets = vec![0; entry.shape.len()];
            if let Some(first) = saved_offsets.first_mut() {
                *first = entry.first;
            }
            let part = (entry.part != Part::Rows).then(|| part_text(entry.part));
            sharding.insert(entry.name.clone(), serde_json::to_value(Sharding { saved_offsets, part })?);
        }
        metadata["DCP_VERSION"] = json!("1.0");
        metadata[SHARDING] = json!(serde_json::to_string(&sharding)?);
    }
    let mut all = Map::new();
    all.insert("__metadata__".to_owned(), metadata);
    for entry in entries {
        let dtype = dtype(entry.kind).ok_or_else(|| {
            io::Error::other(format!("`{}` is {:?}, which files cannot hold", entry.name, entry.kind))
        })?;
        let info =
            json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [entry.start, entry.start + entry.bytes()] });
        all.insert(entry.name.clone(), info);
    }
    let mut text = serde_json::to_vec(&all)?;
    // Data start at a multiple of eight, as readers that map files like it.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), text.as_slice()].concat())
}

/// What `header`, without its length in front, says of the file at `path`, in the order of the data; and the bytes that
/// follow.
///
/// # Errors
/// When it is no header, or speaks of dtypes that are not supported.
pub fn read_header(header: &[u8], path: &Path) -> Result<(Vec<Entry>, u64)> {
    let metadata: Metadata = serde_json::from_slice(header).map_err(|e| damaged(path, &e.to_string()))?;
    let sharding = metadata.metadata().as_ref().and_then(|texts| texts.get(SHARDING));
    let sharding: BTreeMap<String, Sharding> = match sharding {
        Some(text) => serde_json::from_str(text).map_err(|e| damaged(path, &e.to_string()))?,
        None => BTreeMap::new(),
    };
    let mut entries = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let kind = kind(info.dtype).ok_or_else(|| {
            Error::new(format!("`{}`: tensor `{name}` is {}, which is not supported", path.display(), info.dtype))
        })?;
        let place = sharding.get(&name);
        let first = place.and_then(|place| place.saved_offsets.first().copied()).unwrap_or(0);
        let part = match place.and_then(|place| place.part.as_deref()) {
            None => Part::Rows,
            Some(text) => part_of(text).ok_or_else(|| damaged(path, &format!("`{text}` is no part of `{name}`")))?,
        };
        let shape = info.shape.iter().map(|size| *size as i64).collect();
        entries.push(Entry { name, kind, shape, first, part, start: info.data_offsets.0 as u64 });
    }
    Ok((entries, metadata.data_len() as u64))
}

/// The error for a file whose content is not what was written.
pub fn damaged(path: &Path, what: &str) -> Error {
    Error::new(format!("`{}` is damaged: {what}", path.display()))
}

fn part_text(part: Part) -> String {
    match part {
        Part::Rows => "rows".to_owned(),
        Part::Blocks(elements) => format!("blocks:{elements}"),
        Part::Whole => "whole".to_owned(),
    }
}

fn part_of(text: &str) -> Option<Part> {
    match text {
        "rows" => Some(Part::Rows),
        "whole" => Some(Part::Whole),
        _ => text.strip_prefix("blocks:")?.parse().ok().filter(|elements| *elements > 0).map(Part::Blocks),
    }
}

const DTYPES: [(Kind, Dtype); 9] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Half, Dtype::F16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Uint8, Dtype::U8),
    (Kind::Int8, Dtype::I8),
    (Kind::Bool, Dtype::BOOL),
];

fn dtype(kind: Kind) -> Option<Dtype> {
    DTYPES.iter().find(|(of, _)| *of == kind).map(|(_, dtype)| *dtype)
}

fn kind(dtype: Dtype) -> Option<Kind> {
    DTYPES.iter().find(|(_, of)| *of == dtype).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Rows> {
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let rows = |name: &str, tensor: Tensor, first, part| Rows { name: name.into(), tensor, first, part };
        vec![
            rows("codes", Tensor::from_slice(&[1_u8, 2, 3]), 256, Part::Blocks(1)),
            rows("b.transposed", matrix.tr(), 0, Part::Rows),
            rows("a", matrix, 4, Part::Rows),
            rows("scalar", Tensor::from(1.5_f32), 0, Part::Whole),
        ]
    }

    #[test]
    fn other_readers_agree_and_values_are_aligned() {
        let mut written = Vec::new();
        let mut file = Recorder::new(&mut written);
        write(&mut file, rows()).unwrap();
        file.finish().unwrap();
        let other = safetensors::SafeTensors::deserialize(&written).unwrap();
        assert_eq!(other.tensor("b.transposed").unwrap().data()[4..8], 3.0_f32.to_le_bytes());
        assert_eq!(other.tensor("codes").unwrap().data(), [1, 2, 3]);
        let length = u64::from_le_bytes(written[..8].try_into().unwrap()) as usize;
        let (entries, data) = read_header(&written[8..8 + length], Path::new("x.safetensors")).unwrap();
        assert_eq!(8 + length as u64 + data, written.len() as u64);
        assert!((8 + length).is_multiple_of(8));
        let found: Vec<(&str, i64, Part, u64)> =
            entries.iter().map(|entry| (entry.name.as_str(), entry.first, entry.part, entry.start)).collect();
        let expected = [
            ("b.transposed", 0, Part::Rows, 0),
            ("a", 4, Part::Rows, 24),
            ("scalar", 0, Part::Whole, 48),
            ("codes", 256, Part::Blocks(1), 52),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_header_is_refused_by_name() {
        for wrong in ["", "no tensors at all", r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#] {
            let error = read_header(wrong.as_bytes(), Path::new("x.safetensors")).unwrap_err().to_string();
            assert!(error.contains("`x.safetensors` is damaged"), "{error}");
        }
    }
}
