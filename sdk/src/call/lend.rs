//! A batch of the host's own strings, as a plugin reads them during a call. Nothing is copied.

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::abi::ArrowArray;

/// A column of strings that the host holds.
#[derive(Debug, Clone, Copy)]
pub enum LentStrings<'a> {
    /// `Utf8`: offsets (one more than rows), bytes, and a bitmap of the rows that have a value.
    Small(&'a [i32], &'a [u8], Option<&'a [u8]>),
    /// `LargeUtf8`.
    Large(&'a [i64], &'a [u8], Option<&'a [u8]>),
}

/// Rows of lent columns.
pub struct Lent<'a> {
    array: ArrowArray,
    _children: Vec<ArrowArray>,
    _pointers: Vec<*mut ArrowArray>,
    _buffers: Vec<[*const c_void; 3]>,
    _columns: PhantomData<&'a ()>,
}

impl<'a> Lent<'a> {
    /// `rows` rows of these columns.
    ///
    /// # Panics
    /// When a column has another number of rows.
    pub fn new(columns: &[LentStrings<'a>], rows: usize) -> Self {
        let mut buffers: Vec<[*const c_void; 3]> = columns.iter().map(|column| pointers(*column, rows)).collect();
        let child = |buffers: &mut [*const c_void; 3]| ArrowArray {
            length: rows as i64,
            null_count: if buffers[0].is_null() { 0 } else { -1 },
            n_buffers: 3,
            buffers: buffers.as_mut_ptr(),
            release: Some(keep),
            ..ArrowArray::empty()
        };
        let mut children: Vec<ArrowArray> = buffers.iter_mut().map(child).collect();
        let mut pointers: Vec<*mut ArrowArray> = children.iter_mut().map(std::ptr::from_mut).collect();
        let array = ArrowArray {
            length: rows as i64,
            n_buffers: 1,
            // A struct without nulls has one buffer, which is null.
            buffers: (&raw const NO_BUFFERS).cast_mut().cast(),
            n_children: children.len() as i64,
            children: pointers.as_mut_ptr(),
            release: Some(keep),
            ..ArrowArray::empty()
        };
        Self { array, _children: children, _pointers: pointers, _buffers: buffers, _columns: PhantomData }
    }

    /// The batch, valid as long as `self`.
    pub fn array(&self) -> *const ArrowArray {
        &raw const self.array
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.array.length as usize
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The buffers of a struct without nulls.
static NO_BUFFERS: [usize; 1] = [0];

fn pointers(column: LentStrings<'_>, rows: usize) -> [*const c_void; 3] {
    let (count, offsets, bytes, valid): (usize, *const c_void, &[u8], Option<&[u8]>) = match column {
        LentStrings::Small(offsets, bytes, valid) => (offsets.len(), offsets.as_ptr().cast(), bytes, valid),
        LentStrings::Large(offsets, bytes, valid) => (offsets.len(), offsets.as_ptr().cast(), bytes, valid),
    };
    assert_eq!(count, rows + 1, "a lent column has another number of rows");
    assert!(valid.is_none_or(|valid| valid.len() * 8 >= rows), "a lent column has too few bits");
    [valid.map_or(std::ptr::null(), |valid| valid.as_ptr().cast()), offsets, bytes.as_ptr().cast()]
}

/// What is lent is not the other side's to free; the function must be there all the same, or the array would be a released
/// one.
unsafe extern "C" fn keep(_array: *mut ArrowArray) {}

impl<'a> Lent<'a> {
    /// The batch as a filter of this process sees it; `names` are those of the columns.
    ///
    /// # Errors
    /// When there are more or fewer names than columns.
    ///
    /// # Safety
    /// All strings are UTF-8.
    pub unsafe fn documents(&'a self, names: &[&'a str]) -> crate::Result<crate::Documents<'a>> {
        // SAFETY: a struct array of strings that lives as long as `self`; the rest by the contract of this function.
        unsafe { crate::Documents::borrow(&self.array, names) }
    }
}
