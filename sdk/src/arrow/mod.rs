//! Arrow's C data interface, as far as documents and verdicts need it. Read here, built in [`build`].
//!
//! Written out instead of taken from the `arrow` crates: these structs have not changed since 2019, and those crates have
//! a new major version every few months. Authors may use any version of them, or none.

pub mod build;
mod values;

use std::ffi::CStr;
use std::sync::Arc;

use crate::abi::{ArrowArray, ArrowSchema};
use crate::{Error, Result};
pub use values::{Bits, Numbers, Strings};

/// The flag of a field whose values may be null.
pub const NULLABLE: i64 = 2;

/// One column of values.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// `Utf8` or `LargeUtf8`.
    Strings(Strings<'a>),
    /// `Boolean`.
    Bits(Bits<'a>),
    /// `UInt16`.
    Reasons(Numbers<'a, u16>),
    /// `Float64`.
    Scores(Numbers<'a, f64>),
}

/// The schema of rows that cross. Released when it is dropped.
#[derive(Debug)]
pub struct Schema(ArrowSchema);

// SAFETY: whoever imported it says that it may move to another thread; it is never changed.
unsafe impl Send for Schema {}
// SAFETY: as above.
unsafe impl Sync for Schema {}

impl Schema {
    /// Takes over a schema.
    ///
    /// # Errors
    /// When it is not that of rows; it is released then.
    ///
    /// # Safety
    /// It is released (empty), or valid by the rules of the C data interface and may be released from any thread.
    pub unsafe fn import(schema: ArrowSchema) -> Result<Self> {
        let schema = Self(schema);
        if schema.0.release.is_none() {
            return Err(Error::new("a schema was released before it was read"));
        }
        // SAFETY: valid by the contract of this function.
        let format = unsafe { text(schema.0.format) };
        if format != "+s" {
            return Err(Error::new(format!("rows have the format `+s` (a struct), not `{format}`")));
        }
        if schema.0.n_children < 0 || (schema.0.n_children > 0 && schema.0.children.is_null()) {
            return Err(Error::new("a schema has no children where it says it has some"));
        }
        if schema.fields().count() as i64 != schema.0.n_children {
            return Err(Error::new("a schema has a column that is null"));
        }
        Ok(schema)
    }

    /// The columns: their names and formats.
    pub fn columns(&self) -> Vec<(String, String)> {
        // SAFETY: valid by the contract of `import`.
        self.fields().map(|field| unsafe { (text(field.name), text(field.format)) }).collect()
    }

    fn fields(&self) -> impl Iterator<Item = &ArrowSchema> {
        // SAFETY: it has so many children by `import`, which also says that they are valid.
        (0..self.0.n_children as usize).filter_map(|index| unsafe { (*self.0.children.add(index)).as_ref() })
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        release_schema(&mut self.0);
    }
}

/// Rows that crossed. Released when they are dropped.
#[derive(Debug)]
pub struct Records {
    array: ArrowArray,
    schema: Arc<Schema>,
}

// SAFETY: whoever imported them says that they may move to another thread; nothing here is shared before that.
unsafe impl Send for Records {}

impl Records {
    /// Takes over an array of this schema.
    ///
    /// # Errors
    /// When it does not fit the schema; it is released then.
    ///
    /// # Safety
    /// It is released (empty), or valid by the rules of the C data interface and may be released from any thread.
    pub unsafe fn import(array: ArrowArray, schema: Arc<Schema>) -> Result<Self> {
        let records = Self { array, schema };
        let ArrowArray { length, null_count, offset, n_children, .. } = records.array;
        if records.array.release.is_none() {
            return Err(Error::new("an array was released before it was read"));
        }
        if length < 0 || offset < 0 {
            return Err(Error::new(format!("an array has {length} rows from row {offset} on")));
        }
        if null_count > 0 {
            return Err(Error::new(format!("{null_count} rows are null; only values in columns may be")));
        }
        let end = length.checked_add(offset).ok_or_else(|| Error::new("an array has more rows than there can be"))?;
        let expected = records.schema.0.n_children;
        if expected != n_children || (n_children > 0 && records.array.children.is_null()) {
            return Err(Error::new(format!("the schema has {expected} columns, the array {n_children}")));
        }
        if records.children().count() as i64 != n_children {
            return Err(Error::new("an array has a column that is null"));
        }
        for (child, field) in records.children() {
            // A parent's offset counts in its children, too.
            if child.length < end {
                let (name, found) = (name(field), child.length.saturating_sub(offset).max(0));
                return Err(Error::new(format!("column `{name}` has {found} values for {length} rows")));
            }
            if child.offset < 0 || child.offset.checked_add(end).is_none() {
                return Err(Error::new(format!("column `{}` begins at value {}", name(field), child.offset)));
            }
        }
        Ok(records)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.array.length.max(0) as usize
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of the column of that name, or `None`.
    ///
    /// # Errors
    /// When it is of a type that does not cross, or its buffers are not those of its type.
    pub fn column(&self, name: &str) -> Result<Option<Column<'_>>> {
        let Some((child, field)) = self.children().find(|(_, field)| self::name(field) == name) else {
            return Ok(None);
        };
        // SAFETY: valid by the contract of `import`, and borrowed from `self`.
        let column = unsafe { column(child, &text(field.format), self.array.offset, self.array.length) };
        column.map(Some).map_err(|error| Error::new(format!("column `{name}`: {error}")))
    }

    fn children(&self) -> impl Iterator<Item = (&ArrowArray, &ArrowSchema)> {
        self.schema.fields().enumerate().filter_map(|(index, field)| {
            // SAFETY: it has so many children by `import`, which also says that they are valid.
            Some((unsafe { (*self.array.children.add(index)).as_ref()? }, field))
        })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        release_array(&mut self.array);
    }
}

fn name(field: &ArrowSchema) -> String {
    // SAFETY: fields are reached through a schema that is valid by the contract of `import`.
    unsafe { text(field.name) }
}

/// Releases an array, unless that was done.
pub fn release_array(array: &mut ArrowArray) {
    if let Some(release) = array.release {
        // SAFETY: not released yet, so valid; afterwards `release` is null whatever the producer did.
        unsafe { release(array) }
        array.release = None;
    }
}

/// Releases a schema, unless that was done.
pub fn release_schema(schema: &mut ArrowSchema) {
    if let Some(release) = schema.release {
        // SAFETY: as for arrays.
        unsafe { release(schema) }
        schema.release = None;
    }
}

/// A text that ends with zero; what is no UTF-8 is replaced.
///
/// # Safety
/// Null, or valid and terminated.
pub unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// The values of a child of a struct array, from row `offset` of it on.
///
/// # Safety
/// `array` is valid for its format as long as it is borrowed.
pub unsafe fn column<'a>(array: &'a ArrowArray, format: &str, offset: i64, length: i64) -> Result<Column<'a>> {
    let buffers = match format {
        "u" | "U" => 3,
        "b" | "S" | "g" => 2,
        _ => {
            let known = "strings (`u`, `U`), booleans (`b`), 16-bit unsigned integers (`S`) and 64-bit floats (`g`)";
            return Err(Error::new(format!("the format `{format}` does not cross; these do: {known}")));
        }
    };
    if array.n_buffers != buffers || array.buffers.is_null() || array.offset < 0 || length < 0 {
        return Err(Error::new(format!("the format `{format}` has {buffers} buffers, found {}", array.n_buffers)));
    }
    if !array.dictionary.is_null() {
        return Err(Error::new("dictionaries do not cross"));
    }
    // SAFETY: there are at least two buffers, checked above.
    if length > 0 && unsafe { *array.buffers.add(1) }.is_null() {
        return Err(Error::new(format!("there are no values for {length} rows")));
    }
    // SAFETY: checked above, the rest by the contract of this function.
    unsafe {
        Ok(match format {
            "u" => Column::Strings(Strings::new::<i32>(array, offset, length)?),
            "U" => Column::Strings(Strings::new::<i64>(array, offset, length)?),
            "b" => Column::Bits(Bits::new(array, offset, length)),
            "S" => Column::Reasons(Numbers::new(array, offset, length)),
            _ => Column::Scores(Numbers::new(array, offset, length)),
        })
    }
}
