//! The machine that reads pickles.

use std::collections::BTreeMap;
use std::io::Read;
use std::rc::Rc;

use psann_core::{Error, Result};

use super::{Document, Global, MAX_BYTES, StorageRef, TensorRef, Value};

/// Opcodes beyond this are no checkpoint: a model of a thousand tensors takes a hundred thousand.
const MAX_STEPS: usize = 1 << 24;

/// Reads one pickle from `source` and stops behind it.
///
/// # Errors
/// When it is cut short, uses an opcode or a name that files of tensors do not need, or builds nonsense; the message
/// says at which byte.
pub fn read(source: &mut dyn Read) -> Result<Document> {
    let mut machine = Machine {
        source,
        position: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        sequences: Vec::new(),
        dicts: Vec::new(),
    };
    match machine.run() {
        Ok(root) => Ok(Document { root, sequences: machine.sequences, dicts: machine.dicts }),
        Err(error) => Err(error.within(format!("byte {} of the pickle", machine.position))),
    }
}

struct Machine<'a> {
    source: &'a mut dyn Read,
    position: u64,
    stack: Vec<Value>,
    /// Heights of the stack at which marks stand.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value>,
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(what)
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value> {
        for _ in 0..MAX_STEPS {
            match self.byte()? {
                b'.' => {
                    let root = self.pop()?;
                    return if self.stack.is_empty() && self.marks.is_empty() {
                        Ok(root)
                    } else {
                        Err(wrong("values are left over"))
                    };
                }
                opcode => self.step(opcode)?,
            }
        }
        Err(wrong("it is too long for a checkpoint"))
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => match self.byte()? {
                2 => {}
                protocol => {
                    return Err(wrong(format!("it uses pickle protocol {protocol}, files of torch use 2"))
                        .hint("save the file again without `pickle_protocol`"));
                }
            },
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => self.integer(4)?,
            0x8a => {
                let length = self.byte()?;
                self.integer(usize::from(length) | LONG)?;
            }
            b'G' => {
                let bits = self.array()?;
                self.stack.push(Value::Float(f64::from_be_bytes(bits)));
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                let bytes = self.bytes(u64::from(length))?;
                let text = String::from_utf8(bytes).map_err(|_| wrong("a text is not UTF-8"))?;
                self.stack.push(Value::Text(text.into()));
            }
            b'(' => self.marks.push(self.stack.len()),
            b']' | b')' => self.sequence(Vec::new()),
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let first = self.stack.len().checked_sub(count).filter(|first| *first >= self.floor());
                let items = self.stack.split_off(first.ok_or_else(empty)?);
                self.sequence(items);
            }
            b't' => {
                let items = self.above_mark()?;
                self.sequence(items);
            }
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            b'e' => {
                let items = self.above_mark()?;
                self.list()?.extend(items);
            }
            b'}' => self.dict(),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.top_dict()?.push((key, value));
            }
            b'u' => {
                let mut items = self.above_mark()?.into_iter();
                let dict = self.top_dict()?;
                while let Some(key) = items.next() {
                    dict.push((key, items.next().ok_or_else(|| wrong("a key has no value"))?));
                }
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = Global::find(&module, &name).ok_or_else(|| {
                    wrong(format!("it names `{module}.{name}`, which is no part of a checkpoint; nothing was run"))
                        .hint("a file that names more than tensors and plain data can run code when Python loads it")
                })?;
                self.stack.push(Value::Global(global));
            }
            b'R' => {
                let (arguments, global) = (self.pop()?, self.pop()?);
                let value = self.call(&global, &arguments)?;
                self.stack.push(value);
            }
            b'b' => {
                // Attributes of a dict, such as the versions of modules in `_metadata`: nothing we need.
                let (state, target) = (self.pop()?, self.pop()?);
                if !matches!((&state, &target), (Value::Dict(_), Value::Dict(_))) {
                    return Err(wrong(format!("it sets attributes of {}", target.describe())));
                }
                self.stack.push(target);
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id).ok_or_else(|| wrong("a reference is not one to a storage"))?;
                self.stack.push(Value::Storage(Rc::new(storage)));
            }
            b'q' => {
                let index = self.byte()?.into();
                self.remember(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)?;
            }
            b'h' => {
                let index = self.byte()?.into();
                self.recall(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            other => return Err(wrong(format!("opcode {other:#04x} is not one that `torch.save` writes"))),
        }
        Ok(())
    }

    fn call(&mut self, global: &Value, arguments: &Value) -> Result<Value> {
        let Value::Sequence(index) = arguments else { return Err(wrong("arguments must be a tuple")) };
        let arguments = &self.sequences[*index];
        match (global, arguments.as_slice()) {
            (Value::Global(Global::OrderedDict), []) => {
                self.dicts.push(Vec::new());
                Ok(Value::Dict(self.dicts.len() - 1))
            }
            (
                Value::Global(Global::RebuildTensor),
                [Value::Storage(storage), Value::Int(offset), shape, stride, ..],
            ) => {
                let tensor = || {
                    let (shape, stride) = (self.sizes(shape)?, self.sizes(stride)?);
                    let offset = u64::try_from(*offset).ok()?;
                    (shape.len() == stride.len()).then(|| TensorRef {
                        storage: Rc::clone(storage),
                        offset,
                        shape,
                        stride,
                    })
                };
                Ok(Value::Tensor(Rc::new(tensor().ok_or_else(|| wrong("a tensor's sizes cannot be right"))?)))
            }
            (Value::Global(Global::RebuildParameter), [Value::Tensor(tensor), ..]) => {
                Ok(Value::Tensor(Rc::clone(tensor)))
            }
            (Value::Global(Global::Encode), [Value::Text(text), Value::Text(codec)]) if **codec == *"latin1" => {
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                Ok(Value::Bytes(bytes.ok_or_else(|| wrong("bytes are spelt wrongly"))?.into()))
            }
            _ => Err(wrong("it calls something in a way that `torch.save` does not")),
        }
    }

    /// `("storage", type, key, location, elements)`; files of old add what it was a view of.
    fn storage(&self, id: &Value) -> Option<StorageRef> {
        let Value::Sequence(index) = id else { return None };
        let id = &self.sequences[*index];
        let [
            Value::Text(word),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(elements),
            rest @ ..,
        ] = id.as_slice()
        else {
            return None;
        };
        let whole = matches!(rest, [] | [Value::None]);
        let elements = u64::try_from(*elements).ok()?;
        (**word == *"storage" && whole).then(|| StorageRef { key: key.to_string(), kind: *kind, elements })
    }

    fn sizes(&self, value: &Value) -> Option<Vec<u64>> {
        let Value::Sequence(index) = value else { return None };
        let size = |value: &Value| match value {
            Value::Int(size) => u64::try_from(*size).ok(),
            _ => None,
        };
        self.sequences[*index].iter().map(size).collect()
    }

    fn sequence(&mut self, items: Vec<Value>) {
        self.sequences.push(items);
        self.stack.push(Value::Sequence(self.sequences.len() - 1));
    }

    fn dict(&mut self) {
        self.dicts.push(Vec::new());
        self.stack.push(Value::Dict(self.dicts.len() - 1));
    }

    fn list(&mut self) -> Result<&mut Vec<Value>> {
        match self.stack.last() {
            Some(Value::Sequence(index)) => Ok(&mut self.sequences[*index]),
            _ => Err(wrong("items are added to what is no list")),
        }
    }

    fn top_dict(&mut self) -> Result<&mut Vec<(Value, Value)>> {
        match self.stack.last() {
            Some(Value::Dict(index)) => Ok(&mut self.dicts[*index]),
            _ => Err(wrong("entries are added to what is no dict")),
        }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let value = self.stack.last().ok_or_else(empty)?.clone();
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let value =
            self.memo.get(&index).ok_or_else(|| wrong(format!("it recalls value {index} before it is made")))?;
        self.stack.push(value.clone());
        Ok(())
    }

    /// The height below which nothing may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value> {
        if self.stack.len() <= self.floor() {
            return Err(empty());
        }
        self.stack.pop().ok_or_else(empty)
    }

    fn above_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(empty)?;
        Ok(self.stack.split_off(mark))
    }

    /// One and two bytes are unsigned, four and [`LONG`] ones are not.
    fn integer(&mut self, width: usize) -> Result<()> {
        let length = width & !LONG;
        if length > 8 {
            return Err(wrong("an integer has more than 64 bits"));
        }
        let bytes = self.bytes(length as u64)?;
        let signed = length > 2 || width & LONG != 0;
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..length].copy_from_slice(&bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|e| wrong("it is cut short").because(e))?;
        self.advance(N as u64)?;
        Ok(bytes)
    }

    /// So many bytes; memory grows with what is there, not with what is promised.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut *self.source).take(length).read_to_end(&mut bytes).map_err(|e| wrong("it cannot be read").because(e))?;
        self.advance(bytes.len() as u64)?;
        if (bytes.len() as u64) < length { Err(wrong("it is cut short")) } else { Ok(bytes) }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return String::from_utf8(line).map_err(|_| wrong("a name is not UTF-8")),
                _ if line.len() > 200 => return Err(wrong("a name does not end")),
                byte => line.push(byte),
            }
        }
    }

    fn advance(&mut self, by: u64) -> Result<()> {
        self.position += by;
        if self.position > MAX_BYTES { Err(wrong("it is too large for a checkpoint")) } else { Ok(()) }
    }
}

/// Marks the width of an integer of any length.
const LONG: usize = 1 << 16;

fn empty() -> Error {
    wrong("it takes a value that is not there")
}
