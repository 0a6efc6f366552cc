//! What psann does for plugins: a log, numbers for the report, and the wish to stop.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::abi::{PSANN_LOG_ERROR, PSANN_LOG_INFO, PSANN_LOG_WARNING, PsannHost, PsannStr};
use crate::{Error, Result};

/// The host's side of the conversation. Copies are the same host; all of it may be used from any thread.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    table: Option<&'static PsannHost>,
}

// SAFETY: the interface says that the host's functions may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// The table that `init` was given; one per library.
static TABLE: AtomicPtr<PsannHost> = AtomicPtr::new(std::ptr::null_mut());

impl Host {
    /// A host that hears nothing and never stops anyone: for built-ins and tests.
    pub const SILENT: Self = Self { table: None };

    /// The host of this library; silent before it introduced itself.
    pub fn current() -> Self {
        let table = TABLE.load(Ordering::Acquire);
        // SAFETY: the pointer is null, or was given to `init` by a host whose table lives as long as the process.
        Self { table: unsafe { table.as_ref() } }
    }

    /// Keeps the host's table.
    pub(crate) fn introduce(table: *const PsannHost) {
        TABLE.store(table.cast_mut(), Ordering::Release);
    }

    /// Writes a line to the user's log.
    pub fn info(self, message: &str) {
        self.log(PSANN_LOG_INFO, message);
    }

    /// Writes a warning to the user's log.
    pub fn warn(self, message: &str) {
        self.log(PSANN_LOG_WARNING, message);
    }

    /// Writes an error to the user's log; for what does not end the work.
    pub fn error(self, message: &str) {
        self.log(PSANN_LOG_ERROR, message);
    }

    fn log(self, level: i32, message: &str) {
        if let Some((table, log)) = self.table.and_then(|table| Some((table, table.log?))) {
            // SAFETY: the host's own function and context; the text is valid during the call.
            unsafe { log(table.context, level, PsannStr::new(message)) }
        }
    }

    /// Adds `value` to a named number of the run's report.
    pub fn metric(self, name: &str, value: f64) {
        if let Some((table, metric)) = self.table.and_then(|table| Some((table, table.metric?))) {
            // SAFETY: as for `log`.
            unsafe { metric(table.context, PsannStr::new(name), value) }
        }
    }

    /// Whether the user asked to stop.
    pub fn is_cancelled(self) -> bool {
        let asked = self.table.and_then(|table| Some((table, table.is_cancelled?)));
        // SAFETY: the host's own function and context.
        asked.is_some_and(|(table, is_cancelled)| unsafe { is_cancelled(table.context) } != 0)
    }

    /// Fails when the user asked to stop: long work calls it with `?` now and then.
    ///
    /// # Errors
    /// When the user asked to stop.
    pub fn check(self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}
