//! The filter `tojson` as transformers has it: Python's `json.dumps`, with non-ASCII characters as they are.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::{engine, failure};
use crate::python::json::float;

/// Lists and objects that are nested deeper are refused, as Python refuses them.
const DEEPEST: usize = 200;

/// Arguments of `json.dumps`.
struct Style {
    ascii: bool,
    /// What a level is indented by.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sorted: bool,
}

/// `value|tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands over arguments by value")]
pub fn filter(state: &State, value: &Value, given: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let style = Style::of(&given, &named)?;
    let mut text = String::new();
    style.write(value, 0, &mut text)?;
    engine::charge(state, text.len())?;
    Ok(Value::from(text))
}

impl Style {
    fn of(given: &[Value], named: &Kwargs) -> Result<Self, Error> {
        let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
        if given.len() > names.len() {
            return Err(Error::new(ErrorKind::TooManyArguments, "`tojson` takes four arguments"));
        }
        let argument = |index: usize| -> Result<Option<Value>, Error> {
            let value = match given.get(index) {
                Some(value) => Some(value.clone()),
                None => named.get::<Option<Value>>(names[index])?,
            };
            Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
        };
        let indent = argument(1)?.map(|indent| match indent.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => i64::try_from(indent).map(|width| " ".repeat(usize::try_from(width).unwrap_or(0).min(1000))),
        });
        let indent = indent.transpose()?;
        let (between_items, after_key) = match argument(2)? {
            None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
            Some(pair) => {
                let pair: Vec<Value> = pair.try_iter()?.take(3).collect();
                match pair.iter().map(Value::as_str).collect::<Vec<_>>()[..] {
                    [Some(between), Some(after)] => (between.to_owned(), after.to_owned()),
                    _ => return Err(refused("`separators` are two texts")),
                }
            }
        };
        let truth = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let style = Self { ascii: truth(argument(0)?), indent, between_items, after_key, sorted: truth(argument(3)?) };
        named.assert_all_used()?;
        Ok(style)
    }

    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(failure::too_deep());
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => text.push_str(&number(value)),
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.write_all(['[', ']'], items, depth, text)?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    let entry = value.get_item(&key)?;
                    entries.push((Some(key), entry));
                }
                if self.sorted {
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.write_all(['{', '}'], entries, depth, text)?;
            }
            kind => return Err(refused(&format!("a value of type {kind} cannot be written as JSON"))),
        }
        Ok(())
    }

    /// Writes the items of a list, or the entries of an object.
    fn write_all(
        &self,
        [open, close]: [char; 2],
        items: Vec<(Option<Value>, Value)>,
        depth: usize,
        text: &mut String,
    ) -> Result<(), Error> {
        let line = |depth: usize, text: &mut String| {
            if let Some(indent) = &self.indent {
                text.push('\n');
                (0..depth).for_each(|_| text.push_str(indent));
            }
        };
        text.push(open);
        let empty = items.is_empty();
        for (index, (key, item)) in items.into_iter().enumerate() {
            if index > 0 {
                text.push_str(&self.between_items);
            }
            line(depth + 1, text);
            if let Some(key) = key {
                self.write_text(&key_text(&key)?, text);
                text.push_str(&self.after_key);
            }
            self.write(&item, depth + 1, text)?;
        }
        if !empty {
            line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn write_text(&self, value: &str, text: &mut String) {
        text.push('"');
        for c in value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a text cannot fail.
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
}

/// A key, which Python turns into a text.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key)),
        kind => Err(refused(&format!("a value of type {kind} cannot be a key in JSON"))),
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match number {
            number if number.is_nan() => "NaN".into(),
            number if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            number => float(number),
        },
        _ => value.to_string(),
    }
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}
