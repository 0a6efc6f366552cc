//! What went wrong in a plugin, as it crosses to the host.

use std::fmt;

use crate::abi::{PSANN_CANCELLED, PSANN_FAILED, PSANN_PANIC, PSANN_POISONED, PSANN_UNKNOWN, PSANN_USAGE};

/// Shorthand for what can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The work failed: an input, a disk, a service.
    Failed,
    /// What the user asked for is wrong: an option, a name.
    Usage,
    /// The host said to stop.
    Cancelled,
    /// The plugin has a bug: it panicked.
    Panic,
    /// It panicked before, and its state cannot be trusted.
    Poisoned,
    /// There is no component of that name, or no such partition.
    Unknown,
}

/// A failure: what and where in a sentence without full stop, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Who has to act.
    pub fault: Fault,
    /// What and where.
    pub message: String,
    /// How to mend it; may be empty.
    pub hint: String,
}

impl Error {
    /// The work failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { fault: Fault::Failed, message: message.into(), hint: String::new() }
    }

    /// What the user asked for is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { fault: Fault::Usage, ..Self::new(message) }
    }

    /// The host said to stop.
    pub fn cancelled() -> Self {
        Self { fault: Fault::Cancelled, ..Self::new("stopped") }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Fault {
    /// The code that crosses.
    pub fn code(self) -> i32 {
        match self {
            Self::Failed => PSANN_FAILED,
            Self::Usage => PSANN_USAGE,
            Self::Cancelled => PSANN_CANCELLED,
            Self::Panic => PSANN_PANIC,
            Self::Poisoned => PSANN_POISONED,
            Self::Unknown => PSANN_UNKNOWN,
        }
    }

    /// What a code means; codes of a later minor version are failures.
    pub fn of_code(code: i32) -> Self {
        match code {
            PSANN_USAGE => Self::Usage,
            PSANN_CANCELLED => Self::Cancelled,
            PSANN_PANIC => Self::Panic,
            PSANN_POISONED => Self::Poisoned,
            PSANN_UNKNOWN => Self::Unknown,
            _ => Self::Failed,
        }
    }
}
