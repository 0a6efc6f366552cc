//! Arrays that this side makes and the other side releases.

use std::ffi::{CString, c_void};

use super::{NULLABLE, release_array, release_schema};
use crate::abi::{ArrowArray, ArrowSchema};

/// The values of a column, in the layout of Arrow.
#[derive(Debug)]
pub enum Values {
    /// `LargeUtf8`, perhaps with nulls.
    Strings(StringsBuilder),
    /// `Boolean`, without nulls.
    Bits(BitsBuilder),
    /// `UInt16`, without nulls.
    Reasons(Vec<u16>),
    /// `Float64`, without nulls.
    Scores(Vec<f64>),
}

/// Strings on their way into a column.
#[derive(Debug, Clone)]
pub struct StringsBuilder {
    offsets: Vec<i64>,
    data: Vec<u8>,
    valid: BitsBuilder,
    nulls: i64,
}

impl Default for StringsBuilder {
    fn default() -> Self {
        Self { offsets: vec![0], data: Vec::new(), valid: BitsBuilder::default(), nulls: 0 }
    }
}

impl StringsBuilder {
    /// Adds a value.
    pub fn push(&mut self, value: Option<&str>) {
        self.data.extend_from_slice(value.unwrap_or_default().as_bytes());
        self.offsets.push(self.data.len() as i64);
        self.valid.push(value.is_some());
        self.nulls += i64::from(value.is_none());
    }

    /// A value; `None` for null and beyond the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let (start, end) = (*self.offsets.get(index)?, *self.offsets.get(index + 1)?);
        let is_valid = self.valid.bytes[index / 8] >> (index % 8) & 1 == 1;
        let bytes = self.data.get(start as usize..end as usize).filter(|_| is_valid)?;
        // They were texts when they came.
        std::str::from_utf8(bytes).ok()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Whether all values are null.
    pub fn all_null(&self) -> bool {
        self.nulls as usize == self.len()
    }
}

/// Booleans on their way into a column, eight to a byte.
#[derive(Debug, Clone, Default)]
pub struct BitsBuilder {
    bytes: Vec<u8>,
    length: usize,
}

impl BitsBuilder {
    /// Adds a value.
    pub fn push(&mut self, value: bool) {
        if self.length.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(value) << (self.length % 8);
        }
        self.length += 1;
    }
}

impl Values {
    fn format(&self) -> &'static std::ffi::CStr {
        match self {
            Self::Strings(_) => c"U",
            Self::Bits(_) => c"b",
            Self::Reasons(_) => c"S",
            Self::Scores(_) => c"g",
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Strings(strings) => strings.len(),
            Self::Bits(bits) => bits.length,
            Self::Reasons(values) => values.len(),
            Self::Scores(values) => values.len(),
        }
    }

    /// Nulls, and the buffers; the first one says where there are values.
    fn buffers(&self) -> (i64, Vec<*const c_void>) {
        match self {
            Self::Strings(strings) => {
                let valid = if strings.nulls == 0 { std::ptr::null() } else { strings.valid.bytes.as_ptr().cast() };
                let buffers = vec![valid, strings.offsets.as_ptr().cast(), strings.data.as_ptr().cast()];
                (strings.nulls, buffers)
            }
            Self::Bits(bits) => (0, vec![std::ptr::null(), bits.bytes.as_ptr().cast()]),
            Self::Reasons(values) => (0, vec![std::ptr::null(), values.as_ptr().cast()]),
            Self::Scores(values) => (0, vec![std::ptr::null(), values.as_ptr().cast()]),
        }
    }
}

/// What an exported array keeps alive.
struct Kept {
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    _values: Option<Values>,
}

/// The rows of columns of equal length, for the other side.
pub fn rows(columns: Vec<Values>, length: usize) -> ArrowArray {
    let child = |values: Values| {
        let (nulls, buffers) = values.buffers();
        let length = values.length();
        Box::into_raw(Box::new(array(length, nulls, buffers, Vec::new(), Some(values))))
    };
    let children = columns.into_iter().map(child).collect();
    array(length, 0, vec![std::ptr::null()], children, None)
}

fn array(
    length: usize,
    null_count: i64,
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    values: Option<Values>,
) -> ArrowArray {
    // The buffers of `values` stay where they are when it moves: they are on the heap.
    let mut kept = Box::new(Kept { buffers, children, _values: values });
    ArrowArray {
        length: length as i64,
        null_count,
        offset: 0,
        n_buffers: kept.buffers.len() as i64,
        n_children: kept.children.len() as i64,
        buffers: kept.buffers.as_mut_ptr(),
        children: kept.children.as_mut_ptr(),
        dictionary: std::ptr::null_mut(),
        release: Some(drop_array),
        private_data: Box::into_raw(kept).cast(),
    }
}

unsafe extern "C" fn drop_array(array: *mut ArrowArray) {
    // SAFETY: the interface says that `array` is valid and was not released; `private_data` is the box of `array`.
    unsafe {
        let kept = Box::from_raw((*array).private_data.cast::<Kept>());
        for child in &kept.children {
            release_array(&mut **child);
            drop(Box::from_raw(*child));
        }
        *array = ArrowArray::empty();
    }
}

/// What an exported schema keeps alive.
struct KeptSchema {
    name: CString,
    children: Vec<*mut ArrowSchema>,
}

/// The schema of [`rows`] of columns with these names.
pub fn schema<'a>(columns: impl IntoIterator<Item = (&'a str, &'a Values)>) -> ArrowSchema {
    let child = |(name, values): (&str, &Values)| {
        let flags = if matches!(values, Values::Strings(_)) { NULLABLE } else { 0 };
        Box::into_raw(Box::new(field(name, values.format(), flags, Vec::new())))
    };
    let children = columns.into_iter().map(child).collect();
    field("", c"+s", 0, children)
}

fn field(name: &str, format: &'static std::ffi::CStr, flags: i64, children: Vec<*mut ArrowSchema>) -> ArrowSchema {
    // A zero byte cannot be part of a name here; what is before it is.
    let name = name.split('\0').next().unwrap_or_default();
    let mut kept = Box::new(KeptSchema { name: CString::new(name).unwrap_or_default(), children });
    ArrowSchema {
        format: format.as_ptr(),
        name: kept.name.as_ptr(),
        metadata: std::ptr::null(),
        flags,
        n_children: kept.children.len() as i64,
        children: kept.children.as_mut_ptr(),
        dictionary: std::ptr::null_mut(),
        release: Some(drop_schema),
        private_data: Box::into_raw(kept).cast(),
    }
}

unsafe extern "C" fn drop_schema(schema: *mut ArrowSchema) {
    // SAFETY: the interface says that `schema` is valid and was not released; `private_data` is the box of `field`.
    unsafe {
        let kept = Box::from_raw((*schema).private_data.cast::<KeptSchema>());
        for child in &kept.children {
            release_schema(&mut **child);
            drop(Box::from_raw(*child));
        }
        *schema = ArrowSchema::empty();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Column, Records, Schema};
    use super::*;

    #[test]
    fn columns_cross_and_come_back() {
        let mut strings = StringsBuilder::default();
        let mut bits = BitsBuilder::default();
        for row in 0..20 {
            let text = "é".repeat(row);
            strings.push((row % 3 > 0).then_some(text.as_str()));
            bits.push(row % 5 == 0);
        }
        let columns = vec![
            Values::Strings(strings),
            Values::Bits(bits),
            Values::Reasons((0..20).collect()),
            Values::Scores((0..20).map(|row| f64::from(row) / 4.0).collect()),
        ];
        let schema = schema(["text", "keep", "reason", "score"].into_iter().zip(&columns));
        // SAFETY: both were made above.
        let records = unsafe { Records::import(rows(columns, 20), Arc::new(Schema::import(schema).unwrap())) }.unwrap();
        assert_eq!(records.len(), 20);
        let Some(Column::Strings(strings)) = records.column("text").unwrap() else { panic!() };
        let Some(Column::Bits(bits)) = records.column("keep").unwrap() else { panic!() };
        let Some(Column::Reasons(reasons)) = records.column("reason").unwrap() else { panic!() };
        let Some(Column::Scores(scores)) = records.column("score").unwrap() else { panic!() };
        for row in 0..20 {
            let text = "é".repeat(row);
            assert_eq!(strings.text(row).unwrap(), (row % 3 > 0).then_some(text.as_str()));
            assert_eq!(bits.get(row), Some(row % 5 == 0));
            assert_eq!((reasons.get(row), scores.get(row)), (Some(row as u16), Some(row as f64 / 4.0)));
        }
        assert!(records.column("other").unwrap().is_none());
    }
}
