//! The host's table, made from a listener.

use std::ffi::c_void;

use super::copied;
use crate::abi::{PSANN_ABI_MAJOR, PSANN_ABI_MINOR, PSANN_LOG_ERROR, PSANN_LOG_WARNING, PsannHost, PsannStr};

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something to know of.
    Warning,
    /// Something to read.
    Info,
}

/// Who hears what plugins say. Called from any thread.
pub trait Listener: Send + Sync + 'static {
    /// A line for the log.
    fn log(&self, level: Level, message: &str);
    /// A number to add to a named one.
    fn metric(&self, name: &str, value: f64);
    /// Whether the user asked to stop.
    fn is_cancelled(&self) -> bool;
}

/// The table that plugins call. It lives as long as the process, as plugins do.
pub fn host(listener: impl Listener) -> &'static PsannHost {
    // A pointer to a pointer: a trait object does not fit into one.
    let listener: Box<Box<dyn Listener>> = Box::new(Box::new(listener));
    Box::leak(Box::new(PsannHost {
        struct_size: size_of::<PsannHost>() as u32,
        abi_major: PSANN_ABI_MAJOR,
        abi_minor: PSANN_ABI_MINOR,
        context: Box::into_raw(listener).cast(),
        log: Some(log),
        metric: Some(metric),
        is_cancelled: Some(is_cancelled),
    }))
}

/// # Safety
/// The context of a table of [`host`].
unsafe fn listener<'a>(context: *mut c_void) -> &'a dyn Listener {
    // SAFETY: leaked by `host`, never changed.
    unsafe { &**context.cast::<Box<dyn Listener>>() }
}

unsafe extern "C" fn log(context: *mut c_void, level: i32, message: PsannStr) {
    let level = match level {
        PSANN_LOG_ERROR => Level::Error,
        PSANN_LOG_WARNING => Level::Warning,
        _ => Level::Info,
    };
    // SAFETY: plugins pass the context of the table, and a text that is valid during the call.
    unsafe {
        if let Ok(message) = copied(message.data, message.length) {
            listener(context).log(level, &message);
        }
    }
}

unsafe extern "C" fn metric(context: *mut c_void, name: PsannStr, value: f64) {
    // SAFETY: as for `log`.
    unsafe {
        if let Ok(name) = copied(name.data, name.length) {
            listener(context).metric(&name, value);
        }
    }
}

unsafe extern "C" fn is_cancelled(context: *mut c_void) -> i32 {
    // SAFETY: as for `log`.
    i32::from(unsafe { listener(context) }.is_cancelled())
}
