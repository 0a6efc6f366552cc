//! Writes pickles of plain data and tensors, in the opcodes that [`read`](super::read()) knows.

use serde_json::Value;
use tch::Kind;

use super::STORAGES;

/// A pickle in the making.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: vec![0x80, 2] }
    }
}

impl Writer {
    /// Opens a dict; entries follow as key and value.
    pub fn begin_dict(&mut self) {
        self.bytes.extend(b"}(");
    }

    /// Closes it.
    pub fn end_dict(&mut self) {
        self.bytes.push(b'u');
    }

    /// A text, also as the key of a dict.
    pub fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// Plain data. Whole numbers stay whole and floats stay floats, because the reference tells them apart.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(b'N'),
            Value::Bool(value) => self.bytes.push(if *value { 0x88 } else { 0x89 }),
            Value::Number(number) => {
                if let Some(whole) = number.as_i64() {
                    self.integer(whole);
                } else {
                    self.bytes.push(b'G');
                    self.bytes.extend(number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
                }
            }
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.bytes.extend(b"](");
                for item in items {
                    self.value(item);
                }
                self.bytes.push(b'e');
            }
            Value::Object(map) => {
                self.begin_dict();
                for (key, value) in map {
                    self.text(key);
                    self.value(value);
                }
                self.end_dict();
            }
        }
    }

    /// A tensor that is the whole of storage `key`, row by row.
    pub fn tensor(&mut self, key: &str, kind: Kind, shape: &[i64]) {
        let storage = STORAGES.iter().find(|(_, of, _)| *of == kind).map_or("FloatStorage", |(name, ..)| *name);
        let elements: i64 = shape.iter().product();
        self.bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.bytes.extend(format!("ctorch\n{storage}\n").as_bytes());
        self.text(key);
        self.text("cpu");
        self.integer(elements);
        self.bytes.extend(b"tQ");
        self.integer(0);
        self.sizes(shape.iter().copied());
        let mut strides: Vec<i64> = Vec::with_capacity(shape.len());
        let mut step = 1;
        for size in shape.iter().rev() {
            strides.push(step);
            step *= (*size).max(1);
        }
        self.sizes(strides.into_iter().rev());
        // No gradient, no hooks.
        self.bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    /// The whole pickle.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }

    fn sizes(&mut self, sizes: impl Iterator<Item = i64>) {
        self.bytes.push(b'(');
        for size in sizes {
            self.integer(size);
        }
        self.bytes.push(b't');
    }

    fn integer(&mut self, value: i64) {
        if let Ok(small) = i32::try_from(value) {
            self.bytes.push(b'J');
            self.bytes.extend(small.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 8]);
            self.bytes.extend(value.to_le_bytes());
        }
    }
}
