//! Where panics and errors of a plugin become codes and texts: nothing else crosses.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::abi::{PSANN_OK, PsannError, PsannStr, PsannText};
use crate::{Error, Fault, Result};

thread_local! {
    /// How many guards are around what this thread does: panics elsewhere are not ours to hear.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
    /// What the hook heard of the panic that is under way, and where it was.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the texts of panics for [`caught`] instead of printing them in the middle of the host's output.
pub fn capture_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDS.get() == 0 {
                return before(info);
            }
            let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            let text = format!("{}{}", message(info.payload()), place.unwrap_or_default());
            PANIC.with(|panic| *panic.borrow_mut() = Some(text));
        }));
    });
}

fn message(payload: &dyn Any) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "something without a text",
    }
}

/// Whether a handle met a panic; what it holds cannot be trusted then.
#[derive(Debug, Default)]
pub struct Poison(AtomicBool);

impl Poison {
    /// Does `work`, unless the handle is poisoned; a panic poisons it.
    pub fn guard<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.0.load(Ordering::Acquire) {
            let fault = Fault::Poisoned;
            return Err(Error { fault, ..Error::new("it panicked before and cannot be used any more") });
        }
        let result = caught(work);
        if result.as_ref().is_err_and(|error| error.fault == Fault::Panic) {
            self.0.store(true, Ordering::Release);
        }
        result
    }
}

/// Does `work`; a panic becomes an error.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(GUARDS.get() - 1);
    result.unwrap_or_else(|payload| {
        let heard = PANIC.with(|panic| panic.borrow_mut().take());
        let text = heard.unwrap_or_else(|| message(payload.as_ref()).to_owned());
        // A payload may panic when it is dropped; leaking it is the lesser evil.
        std::mem::forget(payload);
        Err(Error { fault: Fault::Panic, ..Error::new(format!("panicked: {text}")) })
    })
}

/// Gives a result to the other side: a code, and the error's texts.
///
/// # Safety
/// `error` is null or valid.
pub unsafe fn answer(result: Result<()>, error: *mut PsannError) -> i32 {
    let Err(found) = result else { return PSANN_OK };
    let code = found.fault.code();
    // SAFETY: by the contract of this function.
    if let Some(error) = unsafe { error.as_mut() } {
        let texts = Box::new([found.message, found.hint]);
        error.code = code;
        error.message = PsannStr::new(&texts[0]);
        error.hint = PsannStr::new(&texts[1]);
        error.detail_json = PsannStr::EMPTY;
        error.private_data = Box::into_raw(texts).cast();
        error.release = Some(release_error);
    }
    code
}

unsafe extern "C" fn release_error(error: *mut PsannError) {
    // SAFETY: the interface says that `error` was filled by `answer` and not released yet.
    unsafe {
        drop(Box::from_raw((*error).private_data.cast::<[String; 2]>()));
        *error = PsannError::empty();
    }
}

/// Gives a text to the other side.
///
/// # Safety
/// `out` is valid.
pub unsafe fn hand_over(text: String, out: *mut PsannText) {
    let kept = Box::new(text);
    let (data, length) = (kept.as_ptr(), kept.len());
    let private_data = Box::into_raw(kept).cast::<c_void>();
    // SAFETY: by the contract of this function.
    unsafe { *out = PsannText { data, length, private_data, release: Some(release_text) } }
}

unsafe extern "C" fn release_text(text: *mut PsannText) {
    // SAFETY: the interface says that `text` was filled by `hand_over` and not released yet.
    unsafe {
        drop(Box::from_raw((*text).private_data.cast::<String>()));
        *text = PsannText::empty();
    }
}

/// A text that the other side lent.
///
/// # Errors
/// When it is no UTF-8.
///
/// # Safety
/// Null or valid as long as the result is used.
pub unsafe fn borrowed<'a>(text: PsannStr) -> Result<&'a str> {
    if text.data.is_null() || text.length == 0 {
        return Ok("");
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { std::slice::from_raw_parts(text.data, text.length) };
    std::str::from_utf8(bytes).map_err(|_| Error::new("a text that crossed is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_poisons() {
        let poison = Poison::default();
        let mut done = 0;
        assert!(poison.guard(|| Err::<(), _>(Error::new("no"))).is_err());
        assert_eq!(poison.guard(|| Ok(1)).unwrap(), 1);
        let error = poison.guard(|| -> Result<()> { panic!("one {}", 2) }).unwrap_err();
        assert!(error.fault == Fault::Panic && error.message.starts_with("panicked: one 2"), "{error}");
        let error = poison.guard(|| {
            done += 1;
            Ok(())
        });
        assert_eq!((error.unwrap_err().fault, done), (Fault::Poisoned, 0));
    }
}
