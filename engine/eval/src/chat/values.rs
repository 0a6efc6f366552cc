//! Values and texts as Python has them: how they are written, what is white space, which methods a text has.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::{engine, failure};
use crate::python::json::float;
use crate::python::text::{is_space, split_trailing_space, strip};

/// Lists that are nested deeper are not written.
const DEEPEST: usize = 200;

/// `str(value)`.
pub fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            let mut text = String::new();
            write_repr(value, 0, &mut text)?;
            Ok(text)
        }
        ValueKind::Iterable if value.len().is_some() => {
            let mut text = String::new();
            write_repr(value, 0, &mut text)?;
            Ok(text)
        }
        _ => Ok(value.to_string()),
    }
}

/// `repr(value)`.
fn write_repr(value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(failure::too_deep());
    }
    match value.kind() {
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if !value.is_integer() => text.push_str(&float(number)),
            _ => text.push_str(&value.to_string()),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            text.push(open);
            let mut items = 0;
            for item in value.try_iter()? {
                if items > 0 {
                    text.push_str(", ");
                }
                write_repr(&item, depth + 1, text)?;
                items += 1;
            }
            if value.is_tuple() && items == 1 {
                text.push(',');
            }
            text.push(close);
        }
        ValueKind::Map => {
            text.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_repr(&key, depth + 1, text)?;
                text.push_str(": ");
                write_repr(&value.get_item(&key)?, depth + 1, text)?;
            }
            text.push('}');
        }
        ValueKind::Undefined => text.push_str("Undefined"),
        _ => text.push_str(&format!("{value:?}")),
    }
    Ok(())
}

/// The filter `trim`: `str(value).strip(chars)`.
pub fn trim(value: &Value, chars: Option<&str>) -> Result<Value, Error> {
    let text = text(value)?;
    Ok(Value::from(text.trim_matches(set(chars))))
}

/// The filter `indent(width=4, first=false, blank=false)`: lines behind the first are indented, unless they are empty.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands over arguments by value")]
pub fn indent(state: &State, value: &Value, given: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let call = Call { given: &given, named: Some(named) };
    let width = call.get(0, "width")?.unwrap_or(Value::from(4));
    let is_set = |index, name| Ok::<_, Error>(call.get(index, name)?.is_some_and(|value| value.is_true()));
    let (first, blank) = (is_set(1, "first")?, is_set(2, "blank")?);
    call.finish()?;
    let indent = match width.as_str() {
        Some(indent) => indent.to_owned(),
        None => " ".repeat(usize::try_from(i64::try_from(width)?).unwrap_or(0).min(1000)),
    };
    let mut indented = String::new();
    // The added end makes a last empty line count.
    for (index, line) in lines(&(text(value)? + "\n"), false).into_iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            engine::charge(state, indent.len())?;
            indented.push_str(&indent);
        }
        indented.push_str(line);
    }
    engine::charge(state, indented.len())?;
    Ok(Value::from(indented))
}

/// Whether a character is one of `chars`, or white space.
fn set(chars: Option<&str>) -> impl Fn(char) -> bool + Copy + '_ {
    move |c| chars.map_or_else(|| is_space(c), |chars| chars.contains(c))
}

/// Methods of Python's types. Those of texts that minijinja lacks or has otherwise are here.
pub fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, arguments);
    };
    let call = Call::of(arguments)?;
    let result = match name {
        "strip" => Value::from(text.trim_matches(set(call.text(0, "chars")?.as_deref()))),
        "lstrip" => Value::from(text.trim_start_matches(set(call.text(0, "chars")?.as_deref()))),
        "rstrip" => Value::from(text.trim_end_matches(set(call.text(0, "chars")?.as_deref()))),
        "split" | "rsplit" => {
            let (separator, most) = (call.text(0, "sep")?, call.number(1, "maxsplit")?);
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            split(text, separator.as_deref(), most, name == "rsplit")?
        }
        "splitlines" => {
            let keep = call.get(0, "keepends")?.is_some_and(|keep| keep.is_true());
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => partition(text, &call.required(0)?, name == "rpartition")?,
        "removeprefix" => Value::from(text.strip_prefix(call.required(0)?.as_str()).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(call.required(0)?.as_str()).unwrap_or(text)),
        "index" | "rindex" => {
            let part = call.required(0)?;
            let found = if name == "index" { text.find(&part) } else { text.rfind(&part) };
            Value::from(text[..found.ok_or_else(|| wrong("the text to find is not there"))?].chars().count())
        }
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "title" => Value::from(title(text)),
        _ => return pycompat::unknown_method_callback(state, value, name, arguments),
    };
    call.finish()?;
    engine::charge(state, text.len())?;
    Ok(result)
}

/// Arguments by place and by name.
struct Call<'a> {
    given: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Call<'a> {
    fn of(arguments: &'a [Value]) -> Result<Self, Error> {
        Ok(match arguments.split_last() {
            Some((last, given)) if last.is_kwargs() => Self { given, named: Some(Kwargs::try_from(last.clone())?) },
            _ => Self { given: arguments, named: None },
        })
    }

    /// An argument; `None` where it is left out or none.
    fn get(&self, index: usize, name: &str) -> Result<Option<Value>, Error> {
        let value = match (self.given.get(index), &self.named) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(named)) if named.has(name) => Some(named.get::<Value>(name)?),
            (None, _) => None,
        };
        Ok(value.filter(|value| !value.is_none()))
    }

    fn text(&self, index: usize, name: &str) -> Result<Option<String>, Error> {
        let value = self.get(index, name)?;
        value.map(|value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("the argument is no text"))).transpose()
    }

    fn number(&self, index: usize, name: &str) -> Result<Option<i64>, Error> {
        self.get(index, name)?.map(i64::try_from).transpose()
    }

    fn required(&self, index: usize) -> Result<String, Error> {
        self.text(index, "")?.ok_or_else(|| Error::from(ErrorKind::MissingArgument))
    }

    fn finish(&self) -> Result<(), Error> {
        self.named.as_ref().map_or(Ok(()), Kwargs::assert_all_used)
    }
}

fn split(text: &str, separator: Option<&str>, most: usize, from_end: bool) -> Result<Value, Error> {
    let parts = most.saturating_add(1);
    match separator {
        Some("") => Err(wrong("the separator is empty")),
        Some(separator) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(parts, separator).collect();
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        Some(separator) => Ok(text.splitn(parts, separator).map(Value::from).collect()),
        None => {
            let mut found = Vec::new();
            let (mut rest, mut left) = (strip(text), most);
            while !rest.is_empty() {
                let cut = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
                let Some(at) = cut.filter(|_| left > 0) else { break };
                let after = at + rest[at..].chars().next().map_or(1, char::len_utf8);
                let (part, more) = if from_end { (&rest[after..], &rest[..at]) } else { (&rest[..at], &rest[after..]) };
                found.push(part);
                rest = if from_end { more.trim_end_matches(is_space) } else { more.trim_start_matches(is_space) };
                left -= 1;
            }
            // What is left of a limited split keeps the white space at its far end.
            if !rest.is_empty() {
                let whole = if from_end {
                    &text[..text.len() - text.trim_start_matches(is_space).len() + rest.len()]
                } else {
                    &text[split_trailing_space(text).0.len() - rest.len()..]
                };
                found.push(if left == 0 { whole } else { rest });
            }
            if from_end {
                found.reverse();
            }
            Ok(found.into_iter().map(Value::from).collect())
        }
    }
}

/// `text.splitlines(keep_ends)`.
fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_end(*c)) {
        let end = at + if rest[at..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        lines.push(&rest[..if keep_ends { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(wrong("the separator is empty"));
    }
    let found = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from).to_vec())))
}

/// `str.title`: each letter behind something that is none becomes large, all others small.
fn title(text: &str) -> String {
    let (mut titled, mut inside) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        if inside {
            titled.extend(c.to_lowercase());
        } else {
            titled.extend(c.to_uppercase());
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    titled
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
