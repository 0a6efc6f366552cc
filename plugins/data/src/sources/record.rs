//! One line of JSON as a row of a batch: by the scanner where it can, by `serde_json` where it cannot.

use psann_core::{BatchBuilder, Document, Row};
use serde_json::{Map, Value};

use super::json::{Found, Members, scan, unescape};
use super::limits::KEPT_BUFFER;
use super::on_error::Broken;

/// Reads lines one after the other in the same memory.
#[derive(Debug)]
pub struct RecordParser {
    /// Keys of text, identifier, address and collection.
    keys: [String; 4],
    members: Members,
    /// Strings that held escapes.
    values: [String; 4],
    meta: String,
}

impl RecordParser {
    /// For objects whose text, identifier, address and collection have these keys.
    pub fn new(keys: [String; 4]) -> Self {
        Self { keys, members: Members::default(), values: Default::default(), meta: String::new() }
    }

    /// Adds the document that `line` holds to `batch`.
    ///
    /// # Errors
    /// Says why the line holds none.
    pub fn push(&mut self, line: &str, batch: &mut BatchBuilder) -> Result<(), Broken> {
        let keys = self.keys.each_ref().map(String::as_str);
        if scan(line, keys, &mut self.members).is_none() || !self.push_scanned(line, batch) {
            batch.push(parse(line, self.keys.each_ref().map(String::as_str))?);
        }
        Ok(())
    }

    /// Gives memory back that a huge line took.
    pub fn give_back(&mut self) {
        for buffer in self.values.iter_mut().chain([&mut self.meta]) {
            if buffer.capacity() > KEPT_BUFFER {
                *buffer = String::new();
            }
        }
    }

    /// Adds what the scanner found; `false` where only the full parser knows what to do.
    fn push_scanned(&mut self, line: &str, batch: &mut BatchBuilder) -> bool {
        let Self { members, values: scratch, meta, .. } = self;
        if !matches!(members.wanted[0], Some(Found::String(..))) {
            return false;
        }
        let mut values = [None; 4];
        for ((value, found), scratch) in values.iter_mut().zip(&members.wanted).zip(scratch) {
            *value = match found {
                Some(Found::String(range, false)) => Some(&line[range.clone()]),
                Some(Found::String(range, true)) => {
                    scratch.clear();
                    unescape(&line[range.clone()], scratch);
                    Some(scratch.as_str())
                }
                Some(Found::Scalar(range)) if prints_as_it_stands(&line[range.clone()]) => Some(&line[range.clone()]),
                Some(Found::Scalar(_) | Found::Nested) => return false,
                Some(Found::Null) | None => None,
            };
        }
        meta.clear();
        if !members.rest.is_empty() {
            members.write_rest(line, meta);
            // An object called `meta` that is all the rest is what others call meta.
            if members.rest.len() == 1 && meta.starts_with("{\"meta\":{") {
                meta.truncate(meta.len() - 1);
                meta.drain(.."{\"meta\":".len());
            }
        }
        let [Some(text), id, url, source] = values else { return false };
        batch.push_row(Row { text, id, url, source, meta: (!meta.is_empty()).then_some(meta) });
        true
    }
}

/// Whether the full parser would print that number or truth value the same way: fractions and huge integers become
/// floats, `-0` among them.
fn prints_as_it_stands(scalar: &str) -> bool {
    scalar.len() < 19 && scalar != "-0" && !scalar.contains('.')
}

/// The line read by the full parser.
fn parse(line: &str, [text, id, url, source]: [&str; 4]) -> Result<Document, Broken> {
    let mut object: Map<String, Value> = serde_json::from_str(line).map_err(|e| Broken {
        reason: "not a JSON object",
        message: format!("not a JSON object: {}", explain(&e)),
        hint: "each line must hold one JSON object; correct the line".into(),
    })?;
    let value = match object.shift_remove(text) {
        Some(Value::String(value)) => value,
        Some(other) => {
            return Err(Broken {
                reason: "text is no string",
                message: format!("`{}` is {}, not a string", text, kind(&other)),
                hint: "name the key of the text with `text`".into(),
            });
        }
        None => {
            let keys: Vec<String> = object.keys().map(|key| format!("`{key}`")).collect();
            let keys =
                if keys.is_empty() { "there is no key".into() } else { format!("the keys are {}", keys.join(", ")) };
            return Err(Broken {
                reason: "no text",
                message: format!("there is no `{text}`"),
                hint: format!("{keys}; name the one with the text with `text`"),
            });
        }
    };
    let mut take = |key: &str| match object.shift_remove(key) {
        Some(Value::String(value)) => Some(value),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let (id, url, source) = (take(id), take(url), take(source));
    let meta = match object.get("meta") {
        Some(meta) if object.len() == 1 && meta.is_object() => Some(meta.to_string()),
        _ => (!object.is_empty()).then(|| Value::Object(object).to_string()),
    };
    Ok(Document { text: value, id, url, source, meta })
}

/// The parser's words with the column only: it sees one line, and calls it line 1.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) if error.column() == 0 => what.to_owned(),
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways give the same document.
    fn same(line: &str) {
        let keys = ["text", "id", "url", "source"];
        let (mut parser, mut batch) = (RecordParser::new(keys.map(str::to_owned)), BatchBuilder::default());
        assert!(scan(line, keys, &mut parser.members).is_some() && parser.push_scanned(line, &mut batch), "{line}");
        assert_eq!(batch.finish().unwrap().document(0), parse(line, keys).unwrap(), "{line}");
    }

    #[test]
    fn scanner_and_parser_make_the_same_document() {
        same(r#"{"text":"a\n\u00e9","id":7,"url":null,"source":"s\/t"}"#);
        same(r#"{"text":"","id":-10,"source":true}"#);
        same(r#"{"text":"a","meta":{"lang":"de","n":2}}"#);
        same(r#"{"text":"a","meta":{"lang":"de"},"more":1}"#);
        same(r#"{ "lang" : "en", "n" : [1,{"x":null}], "text" : "b" , "score" : 0.5 }"#);
    }
}
