//! The C interface between psann and a plugin, major version 1: the types that cross, and nothing else.
//!
//! `docs/abi.md` says in words what must hold; `include/psann.h` is generated from this file. Nothing here may ever
//! change but by appending fields (a new minor version) or interfaces (a new id).

use std::ffi::{c_char, c_int, c_void};

/// The major version; it is part of the entry symbol's name.
pub const PSANN_ABI_MAJOR: u16 = 1;
/// The minor version: fields that were appended since 1.0.
pub const PSANN_ABI_MINOR: u16 = 0;

/// Success.
pub const PSANN_OK: i32 = 0;
/// The work failed: an input, a disk, a service.
pub const PSANN_FAILED: i32 = 1;
/// What the user asked for is wrong: an option, a name.
pub const PSANN_USAGE: i32 = 2;
/// The plugin stopped because the host said so.
pub const PSANN_CANCELLED: i32 = 3;
/// The plugin met a mistake of its own (in Rust: a panic). The handle is of no more use.
pub const PSANN_PANIC: i32 = 4;
/// The handle met such a mistake before.
pub const PSANN_POISONED: i32 = 5;
/// There is no component of that name, or no such partition.
pub const PSANN_UNKNOWN: i32 = 6;

/// Levels of log lines: an error, a warning, information.
pub const PSANN_LOG_ERROR: i32 = 1;
/// A warning.
pub const PSANN_LOG_WARNING: i32 = 2;
/// Information.
pub const PSANN_LOG_INFO: i32 = 3;

/// A flag of interfaces: one handle may be called from several threads at once.
pub const PSANN_THREAD_SAFE: u32 = 1;

/// Text: UTF-8, not terminated, valid during the call that it is passed to. `data` may be null if `length` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PsannStr {
    /// The first byte.
    pub data: *const u8,
    /// Bytes.
    pub length: usize,
}

/// Text that the plugin hands over, UTF-8. The host copies it and calls `release` at once.
#[repr(C)]
#[derive(Debug)]
pub struct PsannText {
    /// The first byte.
    pub data: *const u8,
    /// Bytes.
    pub length: usize,
    /// The plugin's own.
    pub private_data: *mut c_void,
    /// Frees the text and nulls all fields, this one included. Null if there is nothing to free.
    pub release: Option<unsafe extern "C" fn(*mut PsannText)>,
}

/// What went wrong. The host allocates it, zeroed; a plugin that returns anything but `PSANN_OK` fills it.
#[repr(C)]
#[derive(Debug)]
pub struct PsannError {
    /// The code that the function returned.
    pub code: i32,
    /// What and where, in a sentence without full stop.
    pub message: PsannStr,
    /// How to mend it; may be empty.
    pub hint: PsannStr,
    /// Anything else, as a JSON object; may be empty.
    pub detail_json: PsannStr,
    /// The plugin's own.
    pub private_data: *mut c_void,
    /// Frees the texts and nulls all fields, this one included. Null if there is nothing to free.
    pub release: Option<unsafe extern "C" fn(*mut PsannError)>,
}

/// What the host does for plugins. Lives as long as the process. All functions may be called from any thread.
#[repr(C)]
#[derive(Debug)]
pub struct PsannHost {
    /// Bytes of this struct on the host's side: fields beyond it are not there.
    pub struct_size: u32,
    /// Version of the interface that the host speaks.
    pub abi_major: u16,
    /// Its minor version.
    pub abi_minor: u16,
    /// The host's own; the first argument of the functions below.
    pub context: *mut c_void,
    /// Writes a line to the user's log.
    pub log: Option<unsafe extern "C" fn(context: *mut c_void, level: i32, message: PsannStr)>,
    /// Adds `value` to a named number of the run's report.
    pub metric: Option<unsafe extern "C" fn(context: *mut c_void, name: PsannStr, value: f64)>,
    /// Not 0 when the user asked to stop: long work returns `PSANN_CANCELLED` soon.
    pub is_cancelled: Option<unsafe extern "C" fn(context: *mut c_void) -> i32>,
}

/// What a plugin is. The entry symbol returns a pointer to one that lives as long as the process.
#[repr(C)]
#[derive(Debug)]
pub struct PsannPlugin {
    /// Bytes of this struct on the plugin's side: fields beyond it are not there. This and the next two never move.
    pub struct_size: u32,
    /// `PSANN_ABI_MAJOR`.
    pub abi_major: u16,
    /// `PSANN_ABI_MINOR`.
    pub abi_minor: u16,
    /// Who this is and what it offers, as JSON; valid as long as the process.
    pub manifest_json: PsannStr,
    /// Called once, before everything else; keeps the host's table.
    pub init: Option<unsafe extern "C" fn(host: *const PsannHost, error: *mut PsannError) -> i32>,
    /// The table of an interface by its id, valid as long as the process; null if it is not offered.
    pub get_interface: Option<unsafe extern "C" fn(id: PsannStr) -> *const c_void>,
    /// May be called once at the end of the process, when no handle is left; nothing depends on it. May be null.
    pub shutdown: Option<unsafe extern "C" fn()>,
}

/// The entry symbol `psann_plugin_v1`.
pub type PsannEntry = unsafe extern "C" fn() -> *const PsannPlugin;

/// A source or filter with its options; the plugin knows what is behind it.
#[repr(C)]
#[derive(Debug)]
pub struct PsannHandle {
    _private: [u8; 0],
}

/// Interface `psann.source/1`.
#[repr(C)]
#[derive(Debug)]
pub struct PsannSource {
    /// Bytes of this struct on the plugin's side.
    pub struct_size: u32,
    /// `PSANN_THREAD_SAFE` or 0. Without it the host makes one handle per thread.
    pub flags: u32,
    /// Makes the component called `name` with these options, a JSON object. Cheap: no input is opened.
    pub create: Option<
        unsafe extern "C" fn(
            name: PsannStr,
            options_json: PsannStr,
            handle: *mut *mut PsannHandle,
            error: *mut PsannError,
        ) -> i32,
    >,
    /// Frees a handle, also a poisoned one. All its streams were released before.
    pub destroy: Option<unsafe extern "C" fn(handle: *mut PsannHandle)>,
    /// A text that changes when the content changes.
    pub identity:
        Option<unsafe extern "C" fn(handle: *mut PsannHandle, text: *mut PsannText, error: *mut PsannError) -> i32>,
    /// The independent pieces, in order: a JSON array of `{"name": "a message calls it so", "bytes": 0}`.
    pub partitions:
        Option<unsafe extern "C" fn(handle: *mut PsannHandle, json: *mut PsannText, error: *mut PsannError) -> i32>,
    /// Opens a piece, at its start if `resume` is empty, or behind the batch at which `position` said `resume`.
    pub open: Option<
        unsafe extern "C" fn(
            handle: *mut PsannHandle,
            partition: u64,
            resume: PsannStr,
            stream: *mut ArrowArrayStream,
            error: *mut PsannError,
        ) -> i32,
    >,
    /// The place behind the last batch of a stream that this handle opened, for `open`.
    pub position: Option<
        unsafe extern "C" fn(
            handle: *mut PsannHandle,
            stream: *const ArrowArrayStream,
            resume: *mut PsannText,
            error: *mut PsannError,
        ) -> i32,
    >,
}

/// Interface `psann.filter/1`.
#[repr(C)]
#[derive(Debug)]
pub struct PsannFilter {
    /// Bytes of this struct on the plugin's side.
    pub struct_size: u32,
    /// `PSANN_THREAD_SAFE` or 0. Without it the host makes one handle per thread.
    pub flags: u32,
    /// Makes the component called `name` with these options, a JSON object.
    pub create: Option<
        unsafe extern "C" fn(
            name: PsannStr,
            options_json: PsannStr,
            handle: *mut *mut PsannHandle,
            error: *mut PsannError,
        ) -> i32,
    >,
    /// Frees a handle, also a poisoned one.
    pub destroy: Option<unsafe extern "C" fn(handle: *mut PsannHandle)>,
    /// A text that changes when the files that the filter reads change; may be empty.
    pub identity:
        Option<unsafe extern "C" fn(handle: *mut PsannHandle, text: *mut PsannText, error: *mut PsannError) -> i32>,
    /// What the filter reads and says, as JSON:
    /// `{"columns": ["text"], "reasons": ["too short"], "scores": ["letters"], "rewrites": false}`.
    pub bind:
        Option<unsafe extern "C" fn(handle: *mut PsannHandle, json: *mut PsannText, error: *mut PsannError) -> i32>,
    /// Judges a batch of the columns that `bind` named, in that order. The batch is the host's and valid during the call.
    /// The verdicts and their schema are the host's to release.
    pub apply: Option<
        unsafe extern "C" fn(
            handle: *mut PsannHandle,
            batch: *const ArrowArray,
            verdicts: *mut ArrowArray,
            schema: *mut ArrowSchema,
            error: *mut PsannError,
        ) -> i32,
    >,
}

/// The type of an array: https://arrow.apache.org/docs/format/CDataInterface.html.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowSchema {
    /// The type, as a format string.
    pub format: *const c_char,
    /// The name of a field.
    pub name: *const c_char,
    /// Encoded key-value pairs; may be null.
    pub metadata: *const c_char,
    /// Bits: 2 says that values may be null.
    pub flags: i64,
    /// Number of children.
    pub n_children: i64,
    /// The children.
    pub children: *mut *mut ArrowSchema,
    /// The type of a dictionary's values; null here.
    pub dictionary: *mut ArrowSchema,
    /// Frees it; null in a schema that was released.
    pub release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// The values of an array: https://arrow.apache.org/docs/format/CDataInterface.html.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowArray {
    /// Number of values.
    pub length: i64,
    /// Number of nulls; -1 if it was not counted.
    pub null_count: i64,
    /// The place of the first value in the buffers.
    pub offset: i64,
    /// Number of buffers.
    pub n_buffers: i64,
    /// Number of children.
    pub n_children: i64,
    /// The buffers.
    pub buffers: *mut *const c_void,
    /// The children.
    pub children: *mut *mut ArrowArray,
    /// A dictionary's values; null here.
    pub dictionary: *mut ArrowArray,
    /// Frees it; null in an array that was released.
    pub release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// A stream of arrays of one type: https://arrow.apache.org/docs/format/CStreamInterface.html.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowArrayStream {
    /// The type of all arrays. 0, or an errno.
    pub get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int>,
    /// The next array, or a released one at the end. 0, or an errno.
    pub get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, out: *mut ArrowArray) -> c_int>,
    /// What the last error was, null-terminated and valid until the next call; may be null.
    pub get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    /// Frees it; null in a stream that was released.
    pub release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

/// The errno that a stream returns when the host asked to stop (ECANCELED of Linux).
pub const PSANN_ECANCELED: c_int = 125;

impl PsannStr {
    /// A text that outlives the call.
    pub const fn new(text: &str) -> Self {
        Self { data: text.as_ptr(), length: text.len() }
    }

    /// No text.
    pub const EMPTY: Self = Self { data: std::ptr::null(), length: 0 };
}

impl PsannText {
    /// No text, for the other side to fill.
    pub const fn empty() -> Self {
        Self { data: std::ptr::null(), length: 0, private_data: std::ptr::null_mut(), release: None }
    }
}

impl PsannError {
    /// No error, for the other side to fill.
    pub const fn empty() -> Self {
        Self {
            code: PSANN_OK,
            message: PsannStr::EMPTY,
            hint: PsannStr::EMPTY,
            detail_json: PsannStr::EMPTY,
            private_data: std::ptr::null_mut(),
            release: None,
        }
    }
}

impl ArrowSchema {
    /// A released schema, for the other side to fill.
    pub const fn empty() -> Self {
        Self {
            format: std::ptr::null(),
            name: std::ptr::null(),
            metadata: std::ptr::null(),
            flags: 0,
            n_children: 0,
            children: std::ptr::null_mut(),
            dictionary: std::ptr::null_mut(),
            release: None,
            private_data: std::ptr::null_mut(),
        }
    }
}

impl ArrowArray {
    /// A released array, for the other side to fill.
    pub const fn empty() -> Self {
        Self {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: std::ptr::null_mut(),
            children: std::ptr::null_mut(),
            dictionary: std::ptr::null_mut(),
            release: None,
            private_data: std::ptr::null_mut(),
        }
    }
}

impl ArrowArrayStream {
    /// A released stream, for the other side to fill.
    pub const fn empty() -> Self {
        Self {
            get_schema: None,
            get_next: None,
            get_last_error: None,
            release: None,
            private_data: std::ptr::null_mut(),
        }
    }
}

// SAFETY: all pointers of these tables are to constants: functions, and text that lives as long as the process.
unsafe impl Sync for PsannPlugin {}
// SAFETY: as above.
unsafe impl Send for PsannPlugin {}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    /// What is written down in docs/abi.md for machines with pointers of eight bytes.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_layout_is_the_one_of_version_1() {
        assert_eq!((size_of::<PsannStr>(), size_of::<PsannText>(), size_of::<PsannError>()), (16, 32, 72));
        assert_eq!((offset_of!(PsannError, message), offset_of!(PsannError, private_data)), (8, 56));
        assert_eq!((size_of::<PsannHost>(), offset_of!(PsannHost, log)), (40, 16));
        let plugin = (offset_of!(PsannPlugin, struct_size), offset_of!(PsannPlugin, abi_major));
        assert_eq!((plugin, offset_of!(PsannPlugin, abi_minor)), ((0, 4), 6));
        assert_eq!((size_of::<PsannPlugin>(), offset_of!(PsannPlugin, manifest_json)), (48, 8));
        assert_eq!((offset_of!(PsannPlugin, init), offset_of!(PsannPlugin, get_interface)), (24, 32));
        assert_eq!((size_of::<PsannSource>(), offset_of!(PsannSource, create)), (56, 8));
        assert_eq!((offset_of!(PsannSource, open), offset_of!(PsannSource, position)), (40, 48));
        assert_eq!((size_of::<PsannFilter>(), offset_of!(PsannFilter, apply)), (48, 40));
        assert_eq!((size_of::<ArrowSchema>(), size_of::<ArrowArray>(), size_of::<ArrowArrayStream>()), (72, 80, 40));
        assert_eq!((offset_of!(ArrowSchema, release), offset_of!(ArrowArray, release)), (56, 64));
        assert_eq!(align_of::<PsannPlugin>(), 8);
    }
}
