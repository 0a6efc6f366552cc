//! Environment variables as launchers set them: numbers checked on reading, errors that name the variable.

use std::fmt::Display;
use std::str::FromStr;

use psann_core::{Error, Result};

/// Where variables are looked up: the process's own, or a test's table.
#[derive(Clone, Copy)]
pub struct Variables<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// The value of `name`; one that is empty counts as not set, because shells cannot unset for one command.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Whether `name` is set.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value of `name` as a whole number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong(name, &text, "a whole number from 0"))
    }

    /// `MASTER_PORT`.
    pub fn port(&self) -> Result<Option<u16>> {
        const NAME: &str = "MASTER_PORT";
        let Some(text) = self.text(NAME) else { return Ok(None) };
        match text.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(wrong(NAME, text, "a port from 1 to 65535")),
        }
    }

    /// The value of `name`, which has to be there because `because` is.
    pub fn required<T: FromStr>(&self, name: &str, because: &str) -> Result<T> {
        self.number(name)?.ok_or_else(|| self.missing(name, because))
    }

    /// The error for `name` not being there although `because` is.
    pub fn missing(&self, name: &str, because: &str) -> Error {
        let given = self.text(because).unwrap_or_default();
        Error::usage(format!("`{because}` is `{given}`, but `{name}` is not set")).hint(format!(
            "a launcher sets both; set `{name}` too, or unset `{because}` to let psann start its own processes"
        ))
    }
}

/// The error for a value that does not fit.
pub fn wrong(name: &str, value: impl Display, expected: impl Display) -> Error {
    Error::usage(format!("`{name}` is `{value}`, expected {expected}"))
        .hint("launchers set this variable; unset it if none started this process")
}
