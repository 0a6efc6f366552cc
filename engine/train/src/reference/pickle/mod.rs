//! Pickles as `torch.save` writes them, as data: no name in a file is ever looked up, imported or called.
//!
//! Python's pickle is a program for a stack machine that may call any function. Files of tensors need thirty of its
//! opcodes and a handful of names; [`read()`] knows exactly those and refuses the rest by name. What comes out is a
//! [`Document`]: values in one arena, so that neither deep nesting nor cycles can overflow a stack, and tensors as
//! places in a file ([`TensorRef`]) that are read when somebody asks for them.

mod read;
mod write;

use std::rc::Rc;

use psann_core::{Error, Result};
use serde_json::{Map, Number};
use tch::Kind;

pub use read::read;
pub use write::Writer;

/// Pickles beyond this are refused; the largest parts of real ones are texts of tokenizers.
pub const MAX_BYTES: u64 = 256 << 20;

/// A value of a document.
#[derive(Debug, Clone)]
pub enum Value {
    /// `None`.
    None,
    /// `True` and `False`.
    Bool(bool),
    /// An integer; those beyond 64 bits are refused.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A list or tuple: an index into the document.
    Sequence(usize),
    /// A dict, ordered or not: an index into the document.
    Dict(usize),
    /// A tensor, not read yet.
    Tensor(Rc<TensorRef>),
    /// A storage outside of a tensor.
    Storage(Rc<StorageRef>),
    /// One of the known names.
    Global(Global),
}

/// The names that files of tensors use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `_codecs.encode`, by which protocol 2 spells bytes.
    Encode,
    /// `torch.FloatStorage` and its kin.
    Storage(Kind),
}

/// Numbers that a file holds one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRef {
    /// Its name in the file.
    pub key: String,
    /// What its elements are.
    pub kind: Kind,
    /// How many there are.
    pub elements: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// What it is a view of.
    pub storage: Rc<StorageRef>,
    /// Its first element.
    pub offset: u64,
    /// Sizes.
    pub shape: Vec<u64>,
    /// Steps in the storage from one index to the next, by dimension.
    pub stride: Vec<u64>,
}

/// Values that refer to one another by index.
#[derive(Debug)]
pub struct Document {
    root: Value,
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
}

/// Deeper nesting than this is no configuration.
const MAX_DEPTH: usize = 64;

impl Document {
    /// The outermost value.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The entries of a dict.
    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(index) => Some(&self.dicts[*index]),
            _ => None,
        }
    }

    /// The storages of all tensors.
    pub fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        let values = self.sequences.iter().flatten().chain(self.dicts.iter().flatten().map(|(_, value)| value));
        values.chain([&self.root]).filter_map(|value| match value {
            Value::Tensor(tensor) => Some(&*tensor.storage),
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// The items of a list or tuple.
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Sequence(index) => Some(&self.sequences[*index]),
            _ => None,
        }
    }

    /// What a dict holds under `key`.
    pub fn get(&self, dict: &Value, key: &str) -> Option<&Value> {
        let entries = self.entries(dict)?;
        entries
            .iter()
            .rev()
            .find(|(name, _)| matches!(name, Value::Text(text) if **text == *key))
            .map(|(_, value)| value)
    }

    /// A value without tensors as JSON; `place` is named in errors.
    pub fn json(&self, value: &Value, place: &str) -> Result<serde_json::Value> {
        // A pickle may name one list a thousand times, and that list another: as a tree it would not end.
        self.tree(value, place, 0, &mut { 1 << 20 })
    }

    fn tree(&self, value: &Value, place: &str, depth: usize, budget: &mut usize) -> Result<serde_json::Value> {
        if depth > MAX_DEPTH || *budget == 0 {
            return Err(Error::new(format!("`{place}` is nested too deeply or too large")));
        }
        *budget -= 1;
        Ok(match value {
            Value::None => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => Number::from_f64(*value)
                .ok_or_else(|| Error::new(format!("`{place}` is {value}, which is no finite number")))?
                .into(),
            Value::Text(text) => text.to_string().into(),
            Value::Sequence(index) => {
                let items = self.sequences[*index].iter();
                items.map(|item| self.tree(item, place, depth + 1, budget)).collect::<Result<Vec<_>>>()?.into()
            }
            Value::Dict(index) => {
                let mut map = Map::new();
                for (key, value) in &self.dicts[*index] {
                    let Value::Text(key) = key else {
                        return Err(Error::new(format!("`{place}` has a key that is no text")));
                    };
                    map.insert(key.to_string(), self.tree(value, &format!("{place}.{key}"), depth + 1, budget)?);
                }
                map.into()
            }
            Value::Bytes(_) | Value::Tensor(_) | Value::Storage(_) | Value::Global(_) => {
                return Err(Error::new(format!("`{place}` is {}, expected plain data", value.describe())));
            }
        })
    }
}

impl Value {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Sequence(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Tensor(_) => "a tensor",
            Self::Storage(_) => "a storage",
            Self::Global(_) => "a name",
        }
    }
}

/// What the storages of torch are called, with the kind of their elements and its size in bytes.
const STORAGES: [(&str, Kind, u64); 10] = [
    ("FloatStorage", Kind::Float, 4),
    ("DoubleStorage", Kind::Double, 8),
    ("HalfStorage", Kind::Half, 2),
    ("BFloat16Storage", Kind::BFloat16, 2),
    ("LongStorage", Kind::Int64, 8),
    ("IntStorage", Kind::Int, 4),
    ("ShortStorage", Kind::Int16, 2),
    ("CharStorage", Kind::Int8, 1),
    ("ByteStorage", Kind::Uint8, 1),
    ("BoolStorage", Kind::Bool, 1),
];

impl Global {
    /// The name `module.name`, if it is one of the known.
    fn find(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("_codecs", "encode") => Some(Self::Encode),
            ("torch", name) => {
                STORAGES.iter().find(|(storage, ..)| *storage == name).map(|(_, kind, _)| Self::Storage(*kind))
            }
            _ => None,
        }
    }
}

/// Bytes of one element; 0 for kinds that no storage has.
pub fn element_size(kind: Kind) -> u64 {
    STORAGES.iter().find(|(_, of, _)| *of == kind).map_or(0, |(.., size)| *size)
}

#[cfg(test)]
mod tests;
