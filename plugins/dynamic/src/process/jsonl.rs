//! Documents that a program writes as JSON lines.

use std::io::BufReader;

use psann_core::{BatchBuilder, Error, Result};
use psann_plugins_data::sources::json::{Found, Members, scan, unescape};
use psann_plugins_data::sources::limits::{KEPT_BUFFER, MAX_DOCUMENT};
use psann_plugins_data::sources::lines::{is_blank, read_line};
use psann_plugins_data::sources::record::RecordParser;
use serde_json::{Map, Value};

use super::manifest::Resume;
use super::reader::{Documents, PIPE_BYTES, Step, TOKEN_HINT, check_token};
use super::running::Output;

/// The key of the place behind a document.
const RESUME: &str = "resume";

const HINT: &str = "each line is a JSON object with a string `text`; what is meant for people goes to standard error";

/// Lines that are not blank, with their numbers.
pub(super) struct Lines {
    reader: BufReader<Output>,
    buffer: Vec<u8>,
    number: u64,
}

impl Lines {
    /// The lines of an output.
    pub fn new(output: Output) -> Self {
        Self { reader: BufReader::with_capacity(PIPE_BYTES, output), buffer: Vec::new(), number: 0 }
    }

    /// Goes to the next line; `false` at the end.
    pub fn advance(&mut self) -> Result<bool> {
        loop {
            if self.buffer.capacity() > KEPT_BUFFER {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
            let limit = MAX_DOCUMENT.0 as usize;
            let count = read_line(&mut self.reader, &mut self.buffer, limit)
                .map_err(|e| Error::new(format!("its output cannot be read behind line {}", self.number)).because(e))?;
            if count == 0 {
                return Ok(false);
            }
            self.number += 1;
            if count > self.buffer.len() as u64 {
                return Err(self
                    .error(&format!("longer than the limit of {limit} bytes"))
                    .hint("write shorter documents"));
            }
            if !is_blank(&self.buffer) {
                return Ok(true);
            }
        }
    }

    /// The line.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn line(&self) -> Result<&str> {
        std::str::from_utf8(&self.buffer).map_err(|e| {
            let at = e.valid_up_to();
            let message = format!("byte 0x{:02x} in column {} is not valid UTF-8", self.buffer[at], at + 1);
            self.error(&message).hint("write UTF-8; in Python, begin with `sys.stdout.reconfigure(encoding=\"utf-8\")`")
        })
    }

    /// An error about the line.
    pub fn error(&self, message: &str) -> Error {
        Error::new(format!("line {}: {message}", self.number))
    }
}

/// Reads documents line by line.
pub(super) struct JsonLines {
    lines: Lines,
    parser: RecordParser,
    /// Takes places out of lines, where the manifest says that there are any.
    places: Option<Places>,
}

impl JsonLines {
    /// The documents of an output.
    pub fn new(output: Output, resume: Resume) -> Self {
        let parser = RecordParser::new(["text", "id", "url", "source"].map(str::to_owned));
        Self { lines: Lines::new(output), parser, places: (resume == Resume::Token).then(Places::default) }
    }
}

impl Documents for JsonLines {
    fn pass(&mut self, count: u64) -> Result<u64> {
        for passed in 0..count {
            if !self.lines.advance()? {
                return Ok(passed);
            }
        }
        Ok(count)
    }

    fn next(&mut self, batch: &mut BatchBuilder) -> Result<Step> {
        if !self.lines.advance()? {
            return Ok(Step::End);
        }
        let mut line = self.lines.line()?;
        let mut token = None;
        if let Some(places) = &mut self.places {
            token = places.take(&mut line).map_err(|why| self.lines.error(&why).hint(TOKEN_HINT))?;
        }
        self.parser.push(line, batch).map_err(|broken| self.lines.error(&broken.message).hint(HINT))?;
        self.parser.give_back();
        Ok(Step::Document(token))
    }
}

/// Takes the member `resume` out of lines.
#[derive(Default)]
struct Places {
    members: Members,
    /// The line without the member.
    rest: String,
}

impl Places {
    /// The place that the line names; `line` becomes the line without it. What is no JSON object stays as it is: the parser
    /// of documents has the words for it.
    fn take<'a>(&'a mut self, line: &mut &'a str) -> Result<Option<String>, String> {
        self.rest.clear();
        let value = if scan(line, [RESUME; 4], &mut self.members).is_some() {
            let Some(found) = &self.members.wanted[0] else { return Ok(None) };
            self.members.write_rest(line, &mut self.rest);
            match found {
                Found::String(range, false) => Value::String(line[range.clone()].to_owned()),
                Found::String(range, true) => {
                    let mut text = String::new();
                    unescape(&line[range.clone()], &mut text);
                    Value::String(text)
                }
                Found::Null => Value::Null,
                Found::Scalar(_) | Found::Nested => Value::Bool(false),
            }
        } else {
            let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(line) else { return Ok(None) };
            let Some(value) = object.shift_remove(RESUME) else { return Ok(None) };
            self.rest = Value::Object(object).to_string();
            value
        };
        *line = &self.rest;
        match value {
            Value::Null => Ok(None),
            Value::String(token) => check_token(&token).map(|()| Some(token)),
            _ => Err(format!("`{RESUME}` is no string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> (Result<Option<String>, String>, String) {
        let (mut places, mut rest) = (Places::default(), line);
        let token = places.take(&mut rest);
        (token, rest.to_owned())
    }

    #[test]
    fn places_are_taken_out_of_lines_and_nothing_else_is() {
        let place = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(take(r#"{"text":"a","resume":"7"}"#), (place("7"), r#"{"text":"a"}"#.into()));
        assert_eq!(take(r#"{"resume":"a\n\u00e9","text":"a"}"#), (place("a\né"), r#"{"text":"a"}"#.into()));
        // An escaped key is left to the full parser.
        assert_eq!(take(r#"{"\u0072esume":"7","n":1.5}"#), (place("7"), r#"{"n":1.5}"#.into()));
        assert_eq!(take(r#"{"text":"a","resume":null}"#), (Ok(None), r#"{"text":"a"}"#.into()));
        for stays in [r#"{"text":"a", "x":{"resume":"7"}}"#, "oops", "[]"] {
            assert_eq!(take(stays), (Ok(None), stays.into()));
        }
    }

    #[test]
    fn places_that_could_not_be_given_back_are_refused() {
        let refused = |line: &str| take(line).0.unwrap_err();
        assert_eq!(refused(r#"{"resume":7}"#), "`resume` is no string");
        assert_eq!(refused(r#"{"\u0072esume":[]}"#), "`resume` is no string");
        assert!(refused(r#"{"resume":""}"#).contains("empty"));
        assert!(refused(r#"{"resume":"a\u0000b"}"#).contains("zero"));
        assert!(refused(&format!(r#"{{"resume":"{}"}}"#, "x".repeat(70_000))).contains("70000 bytes"));
    }
}
