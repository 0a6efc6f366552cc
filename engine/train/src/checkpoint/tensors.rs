//! Tensors to and from safetensors files, one at a time and hashed on the way, so that neither direction ever holds a
//! second copy of a model.
//!
//! The header is the format's own [`Metadata`]; only the streaming is ours. Tensors stand in the order they are given.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use psann_core::{Error, Result};
use psann_torch::bytes;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use tch::{Device, Kind, Tensor};

/// Headers beyond this are not ours; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Writes `tensors` to `file`; gives the hexadecimal BLAKE3 of what was written.
pub fn write(file: &mut dyn Write, tensors: &[(String, Tensor)]) -> io::Result<String> {
    let mut file = Hashing { file, hasher: blake3::Hasher::new() };
    let mut infos = Vec::with_capacity(tensors.len());
    let mut offset = 0;
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        let dtype =
            dtype(kind).ok_or_else(|| io::Error::other(format!("`{name}` is {kind:?}, which files cannot hold")))?;
        let end = offset + tensor.numel() * dtype.bitsize() / 8;
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        infos.push((name.clone(), TensorInfo { dtype, shape, data_offsets: (offset, end) }));
        offset = end;
    }
    let metadata = Metadata::new(None, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    // Data start at a multiple of eight, as readers that map files like it.
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (_, tensor) in tensors {
        let host = tensor.to_device(Device::Cpu).contiguous();
        file.write_all(bytes::of(&host).map_err(io::Error::other)?)?;
    }
    file.file.flush()?;
    Ok(file.hasher.finalize().to_hex().to_string())
}

/// Reads every tensor of the file at `path`, in file order; gives the hexadecimal BLAKE3 of the whole file too.
///
/// # Errors
/// When the file cannot be read, is cut short, or its header is not one.
pub fn read(path: &Path) -> Result<(Vec<(String, Tensor)>, String)> {
    let fail = |e: io::Error| Error::new(format!("cannot read `{}`", path.display())).because(e);
    let mut file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut hasher = blake3::Hasher::new();
    let mut take = |bytes: &mut [u8]| -> Result<()> {
        file.read_exact(bytes).map_err(|e| damaged(path, &e.to_string()))?;
        hasher.update(bytes);
        Ok(())
    };
    let mut size = [0; 8];
    take(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER.min(length) {
        return Err(damaged(path, "the header's size cannot be right"));
    }
    let mut header = vec![0; size as usize];
    take(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(path, &e.to_string()))?;
    if metadata.data_len() as u64 + size + 8 != length {
        return Err(damaged(path, "it is shorter or longer than its header says"));
    }
    let mut tensors = Vec::new();
    let mut buffer = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let kind = kind(info.dtype).ok_or_else(|| {
            Error::new(format!("`{}`: tensor `{name}` is {}, which is not supported", path.display(), info.dtype))
        })?;
        buffer.resize(info.data_offsets.1 - info.data_offsets.0, 0);
        take(&mut buffer)?;
        let shape: Vec<i64> = info.shape.iter().map(|size| *size as i64).collect();
        let tensor = Tensor::f_from_data_size(&buffer, &shape, kind)
            .map_err(|e| Error::new(format!("cannot hold `{name}` of `{}`", path.display())).because(e))?;
        tensors.push((name, tensor));
    }
    Ok((tensors, hasher.finalize().to_hex().to_string()))
}

/// The error for a file whose content is not what was written.
pub fn damaged(path: &Path, what: &str) -> Error {
    Error::new(format!("`{}` is damaged: {what}", path.display()))
}

struct Hashing<'a> {
    file: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Hashing<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
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
    use std::fs;

    use super::*;

    fn tensors() -> Vec<(String, Tensor)> {
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        vec![
            ("b.transposed".into(), matrix.tr()),
            ("a".into(), matrix),
            ("codes".into(), Tensor::from_slice(&[1_u8, 2, 3])),
            ("empty".into(), Tensor::zeros([0, 4], (Kind::BFloat16, Device::Cpu))),
            ("scalar".into(), Tensor::from(1.5_f32)),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_and_other_readers_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let hash = write(&mut File::create(&path).unwrap(), &tensors()).unwrap();
        let (read_back, read_hash) = read(&path).unwrap();
        assert_eq!(hash, read_hash);
        assert_eq!(hash, blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string());
        for ((name, tensor), (expected_name, expected)) in read_back.iter().zip(tensors()) {
            assert_eq!(*name, expected_name);
            assert_eq!((tensor.kind(), tensor.size()), (expected.kind(), expected.size()));
            assert!(tensor.equal(&expected), "{name}");
        }
        let bytes = fs::read(&path).unwrap();
        let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(other.tensor("b.transposed").unwrap().data()[4..8], 3.0_f32.to_le_bytes());
    }

    #[test]
    fn a_file_that_was_cut_or_is_something_else_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&mut File::create(&path).unwrap(), &tensors()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [0, 5, 20, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("x.safetensors` is damaged"), "{length}: {error}");
        }
        fs::write(&path, b"no tensors at all, just some text in a file").unwrap();
        assert!(read(&path).is_err());
    }
}
