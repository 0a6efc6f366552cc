//! What sources do with input that cannot be used. Every source asks the same [`Ledger`], so that `on_error` means the
//! same for a broken line, a null in a column and a damaged file: the run ends, or the loss is counted.

use std::collections::BTreeMap;

use psann_core::source::{DAMAGED_FILE, EMPTY_FILE, REPLACED_UTF8};
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::utf8::repair;

/// The way out of a damaged file.
pub const DAMAGE_HINT: &str =
    "fetch or make the file again, or set `on_error` to \"skip\" to keep what comes before the damage";

/// What happens to input that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run ends with an error that names file and place.
    Fail,
    /// Broken records are left out, damaged files are read up to the damage; both are counted.
    Skip,
}

/// What happens to text that is not valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvalidUtf8 {
    /// The document counts as broken: `on_error` decides.
    Reject,
    /// Invalid bytes become U+FFFD; the document is kept and counted.
    Replace,
}

/// Why one record cannot be used.
#[derive(Debug)]
pub struct Broken {
    /// Counted under this name when records are skipped.
    pub reason: &'static str,
    /// Shown behind the record's place when the run ends.
    pub message: String,
    /// The way out, besides skipping.
    pub hint: String,
}

/// Keeps count of what one reader left out, by the policy of its source.
#[derive(Debug)]
pub struct Ledger {
    policy: OnError,
    invalid_utf8: InvalidUtf8,
    skipped: BTreeMap<String, u64>,
    warnings: Vec<String>,
}

impl Ledger {
    /// Nothing left out yet.
    pub fn new(policy: OnError, invalid_utf8: InvalidUtf8) -> Self {
        Self { policy, invalid_utf8, skipped: BTreeMap::new(), warnings: Vec::new() }
    }

    /// A record that cannot be used; `place` says where it stands.
    pub fn record(&mut self, broken: Broken, place: impl FnOnce() -> String) -> Result<()> {
        let Broken { reason, message, hint } = broken;
        if self.policy == OnError::Skip {
            self.count(reason, 1);
            return Ok(());
        }
        Err(Error::new(format!("{}: {message}", place()))
            .hint(format!("{hint}, or set `on_error` to \"skip\" to leave such documents out")))
    }

    /// A file that cannot be read to its end.
    pub fn damaged(&mut self, error: Error) -> Result<()> {
        if self.policy == OnError::Fail {
            return Err(error);
        }
        self.count(DAMAGED_FILE, 1);
        self.warnings.push(error.to_string());
        Ok(())
    }

    /// Whether damage was counted.
    pub fn has_damage(&self) -> bool {
        self.skipped.contains_key(DAMAGED_FILE)
    }

    /// A file without any record.
    pub fn empty(&mut self, name: &str) {
        self.count(EMPTY_FILE, 1);
        self.warnings.push(format!("`{name}` is empty"));
    }

    /// Bytes as text, by the policy; the text is put into `replaced` where it differs from the bytes. `None` leaves the
    /// document out. `place` is asked for the position of the first invalid byte.
    pub fn decode<'a>(
        &mut self,
        bytes: &'a [u8],
        replaced: &'a mut String,
        place: impl FnOnce(usize) -> String,
    ) -> Result<Option<&'a str>> {
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(Some(text)),
            Err(error) => error,
        };
        if self.invalid_utf8 == InvalidUtf8::Replace {
            let (text, parts) = repair(bytes);
            self.count(REPLACED_UTF8, parts);
            *replaced = text;
            return Ok(Some(replaced));
        }
        let at = error.valid_up_to();
        let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        let broken = Broken {
            reason: "invalid UTF-8",
            message: format!("byte 0x{:02x} is not valid UTF-8", bytes[at]),
            hint: if utf16 { "this looks like UTF-16: convert it to UTF-8" } else { "convert the file to UTF-8" }
                .to_owned()
                + ", set `invalid_utf8` to \"replace\"",
        };
        self.record(broken, || place(at))?;
        Ok(None)
    }

    /// Counts by reason, for [`psann_core::source::BatchReader::skipped`].
    pub fn skipped(&self) -> BTreeMap<String, u64> {
        self.skipped.clone()
    }

    /// Sentences, for [`psann_core::source::BatchReader::warnings`].
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn count(&mut self, reason: &str, by: u64) {
        // Looked up first: a corpus may hold millions of broken lines, and their reasons are few.
        match self.skipped.get_mut(reason) {
            Some(count) => *count += by,
            None => {
                self.skipped.insert(reason.to_owned(), by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Broken {
        Broken { reason: "no text", message: "there is no `text`".into(), hint: "name it".into() }
    }

    #[test]
    fn fail_ends_with_the_place_and_skip_counts() {
        let mut fail = Ledger::new(OnError::Fail, InvalidUtf8::Reject);
        let error = fail.record(broken(), || "a:2".into()).unwrap_err();
        assert_eq!(error.to_string(), "a:2: there is no `text`");
        assert!(fail.damaged(Error::new("cut")).is_err());
        let mut skip = Ledger::new(OnError::Skip, InvalidUtf8::Reject);
        for _ in 0..2 {
            skip.record(broken(), String::new).unwrap();
        }
        skip.damaged(Error::new("`a` is cut")).unwrap();
        skip.empty("b");
        let counts = [("damaged file", 1), ("empty file", 1), ("no text", 2)];
        assert_eq!(skip.skipped(), counts.map(|(key, count)| (key.to_owned(), count)).into());
        assert_eq!(skip.warnings(), ["`a` is cut", "`b` is empty"]);
    }

    #[test]
    fn invalid_bytes_are_named_or_skipped_or_replaced() {
        let mut text = String::new();
        let mut decode = |policy, utf8| {
            let mut ledger = Ledger::new(policy, utf8);
            let decoded = ledger.decode(b"b\xffd", &mut text, |at| format!("a:1: column {}", at + 1));
            (decoded.map(|text| text.map(str::to_owned)), ledger.skipped)
        };
        let (error, _) = decode(OnError::Fail, InvalidUtf8::Reject);
        assert_eq!(error.unwrap_err().to_string(), "a:1: column 2: byte 0xff is not valid UTF-8");
        assert_eq!(decode(OnError::Skip, InvalidUtf8::Reject).0.unwrap(), None);
        let (text, counts) = decode(OnError::Fail, InvalidUtf8::Replace);
        assert_eq!((text.unwrap().as_deref(), counts[REPLACED_UTF8]), (Some("b\u{fffd}d"), 1));
    }
}
