//! What is behind a handle, whichever its kind: a source or filter, and whether it panicked.

use super::Component;
use super::guard::{Poison, answer, borrowed, caught, hand_over};
use crate::abi::{PsannError, PsannHandle, PsannStr, PsannText};
use crate::{Host, Result};

/// The type of `create` in a table.
pub type Create = unsafe extern "C" fn(PsannStr, PsannStr, *mut *mut PsannHandle, *mut PsannError) -> i32;

/// A source or filter; `T` is its trait.
pub struct Held<T: ?Sized> {
    pub poison: Poison,
    pub object: Box<T>,
}

/// Makes the one of these components that is called `name`, and gives its handle.
///
/// # Safety
/// As the interface says of `create`.
pub unsafe fn create<T: ?Sized>(
    components: &[&dyn Component<T>],
    name: PsannStr,
    options: PsannStr,
    handle: *mut *mut PsannHandle,
    error: *mut PsannError,
) -> i32 {
    let made = caught(|| {
        // SAFETY: the host lends both for the call.
        let (name, options) = unsafe { (borrowed(name)?, borrowed(options)?) };
        let found = components.iter().find(|component| component.name() == name);
        let object = found.ok_or_else(|| super::unknown("component", name))?.create(options, Host::current())?;
        let held = Box::new(Held { poison: Poison::default(), object });
        // SAFETY: the host gives a valid place.
        unsafe { *handle = Box::into_raw(held).cast() };
        Ok(())
    });
    // SAFETY: the host gives a valid place or null.
    unsafe { answer(made, error) }
}

/// The function `destroy` of a table.
///
/// # Safety
/// A handle that [`create`] made with the same `T`, destroyed once.
pub unsafe extern "C" fn destroy<T: ?Sized>(handle: *mut PsannHandle) {
    let dropped = caught(|| {
        // SAFETY: by the contract of this function.
        drop(unsafe { Box::from_raw(handle.cast::<Held<T>>()) });
        Ok(())
    });
    // There is nobody to tell.
    drop(dropped);
}

/// What is behind a handle.
///
/// # Safety
/// A handle that [`create`] made with the same `T`, not destroyed while it is borrowed.
pub unsafe fn held<'a, T: ?Sized>(handle: *mut PsannHandle) -> &'a Held<T> {
    // SAFETY: by the contract of this function.
    unsafe { &*handle.cast::<Held<T>>() }
}

/// Asks for a text and hands it over.
///
/// # Safety
/// As [`held`]; `text` is valid, `error` valid or null.
pub unsafe fn ask<T: ?Sized>(
    handle: *mut PsannHandle,
    text: *mut PsannText,
    error: *mut PsannError,
    question: fn(&T) -> Result<String>,
) -> i32 {
    // SAFETY: by the contract of this function.
    unsafe {
        let held = held::<T>(handle);
        let found = held.poison.guard(|| question(&held.object));
        answer(found.map(|found| hand_over(found, text)), error)
    }
}
