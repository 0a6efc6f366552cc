//! Values of one column, read through the pointers of the C data interface.

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::abi::ArrowArray;
use crate::{Error, Result};

/// Which rows have a value.
#[derive(Debug, Clone, Copy)]
struct Validity<'a> {
    /// Null if all have one.
    bits: *const u8,
    first: usize,
    array: PhantomData<&'a ArrowArray>,
}

impl Validity<'_> {
    fn of(array: &ArrowArray, first: usize) -> Self {
        // A producer that knows there is no null may leave any bitmap there.
        let bits = if array.null_count == 0 { std::ptr::null() } else { buffer(array, 0).cast() };
        Self { bits, first, array: PhantomData }
    }

    fn is_valid(self, row: usize) -> bool {
        // SAFETY: not null, and the array has a bit for each of its rows.
        self.bits.is_null() || unsafe { bit(self.bits, self.first + row) }
    }
}

/// Bit `index` of a bitmap.
///
/// # Safety
/// The bitmap has that bit.
unsafe fn bit(bits: *const u8, index: usize) -> bool {
    // SAFETY: by the contract of this function.
    unsafe { *bits.add(index / 8) >> (index % 8) & 1 == 1 }
}

fn buffer(array: &ArrowArray, index: usize) -> *const c_void {
    // SAFETY: callers checked that there are so many buffers.
    unsafe { *array.buffers.add(index) }
}

#[derive(Debug, Clone, Copy)]
enum Offsets {
    Small(*const i32),
    Large(*const i64),
}

/// A column of strings.
#[derive(Debug, Clone, Copy)]
pub struct Strings<'a> {
    validity: Validity<'a>,
    offsets: Offsets,
    data: *const u8,
    length: usize,
}

/// Types of the offsets of strings.
pub trait Offset: Copy + 'static {
    /// Whether they are those of large strings.
    const LARGE: bool;
}

impl Offset for i32 {
    const LARGE: bool = false;
}

impl Offset for i64 {
    const LARGE: bool = true;
}

impl<'a> Strings<'a> {
    /// From row `offset` of the rows that `array` is a column of.
    ///
    /// # Errors
    /// When offsets go backwards.
    ///
    /// # Safety
    /// `array` is a valid array of strings with offsets of type `O`, as long as it is borrowed; its buffer of offsets is there
    /// if it has rows.
    pub unsafe fn new<O: Offset>(array: &'a ArrowArray, offset: i64, length: i64) -> Result<Self> {
        let first = (array.offset + offset) as usize;
        let offsets = buffer(array, 1);
        let offsets = if O::LARGE { Offsets::Large(offsets.cast()) } else { Offsets::Small(offsets.cast()) };
        let strings = Self {
            validity: Validity::of(array, first),
            offsets,
            data: buffer(array, 2).cast(),
            length: length as usize,
        };
        let mut last = strings.offset_at(0);
        for row in 0..strings.length {
            let next = strings.offset_at(row + 1);
            if next < last || last < 0 || (next > last && strings.data.is_null()) {
                return Err(Error::new(format!("the offsets of row {row} go from {last} to {next}")));
            }
            last = next;
        }
        Ok(strings)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes of a row; `None` for null.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn bytes(&self, row: usize) -> Option<&'a [u8]> {
        assert!(row < self.length, "row {row} of {}", self.length);
        if !self.validity.is_valid(row) {
            return None;
        }
        let (start, end) = (self.offset_at(row), self.offset_at(row + 1));
        if start == end {
            return Some(&[]);
        }
        // SAFETY: offsets were checked to rise, and a valid array has the bytes between them.
        Some(unsafe { std::slice::from_raw_parts(self.data.add(start as usize), (end - start) as usize) })
    }

    /// The text of a row; `None` for null.
    ///
    /// # Errors
    /// When it is no UTF-8.
    pub fn text(&self, row: usize) -> Result<Option<&'a str>> {
        let Some(bytes) = self.bytes(row) else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|e| {
            let place = e.valid_up_to();
            Error::new(format!("row {row} is no UTF-8 at byte {place}"))
        })
    }

    /// The text of a row that the other side has checked; `None` for null.
    ///
    /// # Safety
    /// All strings of this column are UTF-8.
    pub unsafe fn text_unchecked(&self, row: usize) -> Option<&'a str> {
        // SAFETY: by the contract of this function.
        self.bytes(row).map(|bytes| unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    fn offset_at(&self, row: usize) -> i64 {
        if self.length == 0 {
            return 0;
        }
        let place = self.validity.first + row;
        // SAFETY: a valid array has one offset more than rows.
        unsafe {
            match self.offsets {
                Offsets::Small(offsets) => i64::from(*offsets.add(place)),
                Offsets::Large(offsets) => *offsets.add(place),
            }
        }
    }
}

/// A column of booleans.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    validity: Validity<'a>,
    values: *const u8,
    length: usize,
}

impl<'a> Bits<'a> {
    /// From row `offset` of the rows that `array` is a column of.
    ///
    /// # Safety
    /// `array` is a valid array of booleans, as long as it is borrowed; its values are there if it has rows.
    pub unsafe fn new(array: &'a ArrowArray, offset: i64, length: i64) -> Self {
        let validity = Validity::of(array, (array.offset + offset) as usize);
        Self { validity, values: buffer(array, 1).cast(), length: length as usize }
    }

    /// The value of a row; `None` for null.
    pub fn get(&self, row: usize) -> Option<bool> {
        assert!(row < self.length, "row {row} of {}", self.length);
        // SAFETY: a valid array has a bit for each row.
        self.validity.is_valid(row).then(|| unsafe { bit(self.values, self.validity.first + row) })
    }
}

/// A column of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a, T> {
    validity: Validity<'a>,
    values: *const T,
    length: usize,
}

impl<'a, T: Copy> Numbers<'a, T> {
    /// From row `offset` of the rows that `array` is a column of.
    ///
    /// # Safety
    /// `array` is a valid array of such numbers, as long as it is borrowed; its values are there if it has rows.
    pub unsafe fn new(array: &'a ArrowArray, offset: i64, length: i64) -> Self {
        let validity = Validity::of(array, (array.offset + offset) as usize);
        Self { validity, values: buffer(array, 1).cast(), length: length as usize }
    }

    /// The value of a row; `None` for null.
    pub fn get(&self, row: usize) -> Option<T> {
        assert!(row < self.length, "row {row} of {}", self.length);
        // SAFETY: a valid array has a value for each row.
        self.validity.is_valid(row).then(|| unsafe { *self.values.add(self.validity.first + row) })
    }
}
