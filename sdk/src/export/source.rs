//! From a [`Source`] to the table `psann.source/1`.

use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;

use serde_json::{Value, json};

use super::guard::{Poison, answer, borrowed, caught, hand_over};
use super::handle::{self, Create};
use super::{Component, component};
use crate::abi::{
    ArrowArray, ArrowArrayStream, ArrowSchema, PSANN_ECANCELED, PSANN_THREAD_SAFE, PsannError, PsannHandle,
    PsannSource, PsannStr, PsannText,
};
use crate::{Batch, Error, Fault, Host, Reader, Result, Source, options};

/// A source, whatever its type.
pub trait SourceObject: Send + Sync {
    /// As [`Source::identity`].
    fn identity(&self) -> Result<String>;
    /// As [`Source::partitions`], in JSON.
    fn partitions(&self) -> Result<Value>;
    /// As [`Source::open`].
    fn open(&self, partition: usize, resume: Option<&str>) -> Result<Box<dyn Reader>>;
}

/// The component of a [`Source`].
pub struct SourceOf<S>(PhantomData<fn() -> S>);

impl<S: Source> SourceOf<S> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<S: Source> Component<dyn SourceObject> for SourceOf<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn manifest(&self) -> Value {
        component("psann.source/1", S::NAME, S::VERSION, S::PRIMARY, &options::schema::<S::Options>())
    }

    fn create(&self, options: &str, host: Host) -> Result<Box<dyn SourceObject>> {
        Ok(Box::new(Object(S::new(options::read(options)?, host)?)))
    }
}

struct Object<S>(S);

impl<S: Source> SourceObject for Object<S> {
    fn identity(&self) -> Result<String> {
        self.0.identity()
    }

    fn partitions(&self) -> Result<Value> {
        Ok(json!(self.0.partitions()?))
    }

    fn open(&self, partition: usize, resume: Option<&str>) -> Result<Box<dyn Reader>> {
        Ok(Box::new(self.0.open(partition, resume)?))
    }
}

/// What is behind a stream.
struct Opened {
    poison: Poison,
    reader: Box<dyn Reader>,
    last_error: CString,
}

/// The table; `create` knows the library.
pub const fn table(create: Create) -> PsannSource {
    PsannSource {
        struct_size: size_of::<PsannSource>() as u32,
        flags: PSANN_THREAD_SAFE,
        create: Some(create),
        destroy: Some(handle::destroy::<dyn SourceObject>),
        identity: Some(identity),
        partitions: Some(partitions),
        open: Some(open),
        position: Some(position),
    }
}

unsafe extern "C" fn identity(handle: *mut PsannHandle, text: *mut PsannText, error: *mut PsannError) -> i32 {
    // SAFETY: the host passes a handle of this table, and valid places.
    unsafe { handle::ask::<dyn SourceObject>(handle, text, error, SourceObject::identity) }
}

unsafe extern "C" fn partitions(handle: *mut PsannHandle, json: *mut PsannText, error: *mut PsannError) -> i32 {
    // SAFETY: as above.
    unsafe { handle::ask::<dyn SourceObject>(handle, json, error, |source| Ok(source.partitions()?.to_string())) }
}

unsafe extern "C" fn open(
    handle: *mut PsannHandle,
    partition: u64,
    resume: PsannStr,
    stream: *mut ArrowArrayStream,
    error: *mut PsannError,
) -> i32 {
    // SAFETY: as above; the host lends `resume` for the call.
    unsafe {
        let held = handle::held::<dyn SourceObject>(handle);
        let opened = held.poison.guard(|| {
            let resume = borrowed(resume)?;
            let partition = usize::try_from(partition).map_err(|_| super::unknown("partition", "of that number"))?;
            held.object.open(partition, (!resume.is_empty()).then_some(resume))
        });
        let given = opened.map(|reader| {
            let opened = Box::new(Opened { poison: Poison::default(), reader, last_error: CString::default() });
            *stream = ArrowArrayStream {
                get_schema: Some(get_schema),
                get_next: Some(get_next),
                get_last_error: Some(get_last_error),
                release: Some(release),
                private_data: Box::into_raw(opened).cast(),
            };
        });
        answer(given, error)
    }
}

unsafe extern "C" fn position(
    _handle: *mut PsannHandle,
    stream: *const ArrowArrayStream,
    resume: *mut PsannText,
    error: *mut PsannError,
) -> i32 {
    // SAFETY: a stream that `open` made and nobody released, used by one thread at a time; valid places.
    unsafe {
        let opened = &*(*stream).private_data.cast::<Opened>();
        let found = opened.poison.guard(|| Ok(opened.reader.position()));
        answer(found.map(|found| hand_over(found, resume)), error)
    }
}

unsafe extern "C" fn get_schema(_stream: *mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int {
    // SAFETY: the host gives a valid place.
    unsafe { *out = Batch::schema() };
    0
}

/// The errno of everything but a wish to stop (EIO).
const FAILED: c_int = 5;

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, out: *mut ArrowArray) -> c_int {
    // SAFETY: a stream that `open` made and nobody released, used by one thread at a time; a valid place.
    let (opened, out) = unsafe { (&mut *(*stream).private_data.cast::<Opened>(), &mut *out) };
    let Opened { poison, reader, last_error } = opened;
    let next = poison.guard(|| {
        Host::current().check()?;
        match reader.next()? {
            Some(batch) if batch.is_empty() => Err(Error::new("a reader gave a batch without documents")),
            next => Ok(next),
        }
    });
    match next {
        Ok(next) => {
            *out = next.map_or(ArrowArray::empty(), Batch::export);
            0
        }
        Err(error) => {
            let hint = if error.hint.is_empty() { String::new() } else { format!("\nhint: {}", error.hint) };
            let text = format!("{error}{hint}").replace('\0', "\u{fffd}");
            *last_error = CString::new(text).unwrap_or_default();
            if error.fault == Fault::Cancelled { PSANN_ECANCELED } else { FAILED }
        }
    }
}

unsafe extern "C" fn get_last_error(stream: *mut ArrowArrayStream) -> *const c_char {
    // SAFETY: as above.
    unsafe { (*(*stream).private_data.cast::<Opened>()).last_error.as_ptr() }
}

unsafe extern "C" fn release(stream: *mut ArrowArrayStream) {
    let dropped = caught(|| {
        // SAFETY: as above; afterwards the stream says that it was released.
        let opened = unsafe {
            let opened = Box::from_raw((*stream).private_data.cast::<Opened>());
            *stream = ArrowArrayStream::empty();
            opened
        };
        drop(opened);
        Ok(())
    });
    // There is nobody to tell.
    drop(dropped);
}
