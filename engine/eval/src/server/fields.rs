//! [`Fields`]: a request's fields by name and type. Clients send many fields that a server does not know, so unknown ones
//! are none of its business; a known one of the wrong type is an error that names it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// The fields of an object; null counts as absent.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of a request's body.
    pub fn of(body: &'a Value) -> Result<Self, ApiError> {
        match body {
            Value::Object(object) => Ok(Self { object }),
            other => Err(ApiError::invalid(format!("the body must be a JSON object, found {}", describe(other)))),
        }
    }

    /// A field of any type.
    pub fn any(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// True or false.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A list.
    pub fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, ApiError> {
        self.typed(name, "a list", Value::as_array)
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        self.typed(name, "an object", Value::as_object)
    }

    /// A whole number in `range`.
    pub fn whole(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let expected = if *range.end() == u64::MAX {
            format!("a whole number of at least {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.typed(name, expected, |value| whole(value).filter(|number| range.contains(number)))
    }

    /// A number in `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.typed(name, expected, |value| value.as_f64().filter(|number| range.contains(number)))
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: impl Display,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.any(name) else { return Ok(None) };
        read(value)
            .map(Some)
            .ok_or_else(|| ApiError::field(name, format!("`{name}` must be {expected}, found {}", describe(value))))
    }
}

/// A number without a fraction: some languages write every number with a point.
pub fn whole(value: &Value) -> Option<u64> {
    let of_float = |number: f64| (number.fract() == 0.0 && (0.0..=9e15).contains(&number)).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(of_float))
}

/// What a value is, in words; numbers as they are.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message<T: std::fmt::Debug>(outcome: Result<Option<T>, ApiError>) -> String {
        outcome.unwrap_err().json()["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn wrong_types_and_ranges_name_the_field_and_what_was_found() {
        let body = json!({ "n": "two", "temperature": -1, "stream": 1, "model": 5, "seed": null, "whole": 3.0 });
        let fields = Fields::of(&body).unwrap();
        insta::assert_snapshot!(message(fields.whole("n", 1..=8)), @"`n` must be a whole number from 1 to 8, found a string");
        insta::assert_snapshot!(message(fields.number("temperature", 0.0..=100.0)), @"`temperature` must be a number from 0 to 100, found -1");
        insta::assert_snapshot!(message(fields.flag("stream")), @"`stream` must be true or false, found 1");
        insta::assert_snapshot!(message(fields.text("model")), @"`model` must be a string, found 5");
        insta::assert_snapshot!(message(fields.whole("temperature", 0..=u64::MAX)), @"`temperature` must be a whole number of at least 0, found -1");
        assert_eq!(fields.whole("seed", 0..=9).unwrap(), None);
        assert_eq!(fields.whole("whole", 0..=9).unwrap(), Some(3));
        assert_eq!(fields.any("unknown"), None);
        let error = Fields::of(&json!([1])).unwrap_err().json();
        assert_eq!(error["error"]["message"], "the body must be a JSON object, found a list");
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
}
