//! One error type for everything that crosses a plugin or engine boundary.
//!
//! An error is part of the interface: it names the thing and the place (`message`), the way out
//! (`hint`), and what lay beneath (`source`). Literal values stand in backticks; a one-sentence
//! message has no full stop. Only the command line prints it.

use std::fmt;

/// Shorthand for results that cross a boundary.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who has to act, and therefore the exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The recipe, an option or an argument is wrong; exit code 2.
    Usage,
    /// The work itself failed (input, disk, device); exit code 1.
    Run,
    /// The user asked to stop; what was reached is saved; exit code 130.
    Interrupted,
}

/// A failure: what and where, how to fix it, and the cause beneath.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of the run.
    pub fn new(message: impl Into<String>) -> Self {
        Self { fault: Fault::Run, message: message.into(), hint: None, source: None }
    }

    /// A mistake in a recipe, option or argument.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { fault: Fault::Usage, ..Self::new(message) }
    }

    /// A stop that the user asked for.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { fault: Fault::Interrupted, ..Self::new(message) }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause beneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts a place in front of the message: `prefix: message`.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The message without the causes beneath.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The way out, if one is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Many errors already print their cause; saying it twice helps nobody.
            let text = error.to_string();
            if !self.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_prints_place_message_and_cause_once() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::new("cannot read `a.txt`").because(io).within("source `text`");
        assert_eq!(error.to_string(), "source `text`: cannot read `a.txt`: disk on fire");
    }
}
