//! Amounts as people write them: `"4M tokens"`, `"1%"`, `"30m"`, `"256MiB"`.
//!
//! Each type accepts a plain number or such a string, prints back in the short form, and tells the option
//! checker (through the `format` of its schema) how to explain a bad value.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of things: `200`, `"4M"`, `"60B tokens"`, `"1_000 steps"`. Suffixes K, M, B and T are powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Count(pub u64);

/// A number of bytes: `1024`, `"256MiB"`, `"2GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// A span of time: `90` (seconds), `"30m"`, `"1.5h"`, `"20s"`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seconds(pub f64);

/// A part of a whole: `0.01`, `"1%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(pub f64);

/// A length of training: a number of steps (`200`, `"200 steps"`) or a share of the whole run (`"1%"`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// So many optimizer steps.
    Steps(u64),
    /// So much of the run, 0 to 1.
    Share(f64),
}

impl Span {
    /// The span in steps of a run of `total` steps.
    pub fn steps(self, total: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Share(share) => (share * total as f64).round() as u64,
        }
    }
}

impl Seconds {
    /// As a `Duration`; negative values are zero.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0.max(0.0))
    }
}

/// What the checker and the deserialisers share: a parser from text, and how to describe what is accepted.
pub trait Quantity: Sized {
    /// The `format` in the schema.
    const FORMAT: &'static str;
    /// "a count such as `200` or `\"4M tokens\"`".
    const EXPECTED: &'static str;
    /// Whether plain numbers may have a fraction.
    const FRACTIONS: bool;

    /// Reads the written form; `None` when it is not one.
    fn parse(text: &str) -> Option<Self>;
    /// Takes a plain number; `None` when out of range.
    fn from_number(number: f64) -> Option<Self>;
    /// The short written form, or a plain number.
    fn write(&self) -> Written;
}

/// How a quantity is stored in a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// As an integer.
    Integer(u64),
    /// As a fraction.
    Number(f64),
    /// As text.
    Text(String),
}

/// Splits `"4.5M tokens"` into 4.5 and `"M tokens"`.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

fn whole(number: f64) -> Option<u64> {
    // 2^53: beyond it an f64 skips integers.
    (number >= 0.0 && number.fract() == 0.0 && number <= 9_007_199_254_740_992.0).then_some(number as u64)
}

impl Quantity for Count {
    const FORMAT: &'static str = "count";
    const EXPECTED: &'static str = "a count such as `200`, `\"4M\"` or `\"4M tokens\"`";
    const FRACTIONS: bool = false;

    fn parse(text: &str) -> Option<Self> {
        let (number, rest) = split(text)?;
        let (suffix, unit) = match rest.split_once(' ') {
            Some((suffix, unit)) => (suffix, unit.trim()),
            None if rest.len() > 1 => ("", rest),
            None => (rest, ""),
        };
        let factor = match suffix {
            "" => 1.0,
            "K" | "k" => 1e3,
            "M" => 1e6,
            "B" | "G" => 1e9,
            "T" => 1e12,
            _ => return None,
        };
        if !unit.chars().all(char::is_alphabetic) {
            return None;
        }
        whole((number * factor).round()).map(Self)
    }

    fn from_number(number: f64) -> Option<Self> {
        whole(number).map(Self)
    }

    fn write(&self) -> Written {
        Written::Integer(self.0)
    }
}

impl Quantity for Bytes {
    const FORMAT: &'static str = "bytes";
    const EXPECTED: &'static str = "a number of bytes such as `1024`, `\"256MiB\"` or `\"2GB\"`";
    const FRACTIONS: bool = false;

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let factor = match unit {
            "" | "B" => 1.0,
            "KB" | "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        whole((number * factor).round()).map(Self)
    }

    fn from_number(number: f64) -> Option<Self> {
        whole(number).map(Self)
    }

    fn write(&self) -> Written {
        Written::Integer(self.0)
    }
}

impl Quantity for Seconds {
    const FORMAT: &'static str = "seconds";
    const EXPECTED: &'static str = "a time such as `\"20s\"`, `\"30m\"` or `\"1.5h\"`";
    const FRACTIONS: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let factor = match unit {
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        Some(Self(number * factor))
    }

    fn from_number(number: f64) -> Option<Self> {
        (number >= 0.0).then_some(Self(number))
    }

    fn write(&self) -> Written {
        Written::Number(self.0)
    }
}

impl Quantity for Share {
    const FORMAT: &'static str = "share";
    const EXPECTED: &'static str = "a share such as `0.01` or `\"1%\"`";
    const FRACTIONS: bool = true;

    fn parse(text: &str) -> Option<Self> {
        match split(text)? {
            (number, "%") => Self::from_number(number / 100.0),
            (number, "") => Self::from_number(number),
            _ => None,
        }
    }

    fn from_number(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    fn write(&self) -> Written {
        Written::Number(self.0)
    }
}

impl Quantity for Span {
    const FORMAT: &'static str = "span";
    const EXPECTED: &'static str = "a number of steps such as `200`, or a share of the run such as `\"1%\"`";
    const FRACTIONS: bool = false;

    fn parse(text: &str) -> Option<Self> {
        if let Some((number, "%")) = split(text) {
            return Share::from_number(number / 100.0).map(|share| Self::Share(share.0));
        }
        Count::parse(text).map(|count| Self::Steps(count.0))
    }

    fn from_number(number: f64) -> Option<Self> {
        whole(number).map(Self::Steps)
    }

    fn write(&self) -> Written {
        match self {
            Self::Steps(steps) => Written::Integer(*steps),
            Self::Share(share) => Written::Text(format!("{}%", share * 100.0)),
        }
    }
}

/// Reads a number or a string into a quantity.
struct QuantityVisitor<Q>(std::marker::PhantomData<Q>);

impl<Q: Quantity> QuantityVisitor<Q> {
    fn number<E: de::Error>(number: f64, shown: &str) -> Result<Q, E> {
        if !Q::FRACTIONS && number.fract() != 0.0 {
            return Err(E::custom(format!("expected {}, found `{shown}`", Q::EXPECTED)));
        }
        Q::from_number(number).ok_or_else(|| E::custom(format!("expected {}, found `{shown}`", Q::EXPECTED)))
    }
}

impl<Q: Quantity> Visitor<'_> for QuantityVisitor<Q> {
    type Value = Q;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Q::EXPECTED)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Q, E> {
        Self::number(value as f64, &value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Q, E> {
        Self::number(value as f64, &value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Q, E> {
        Self::number(value, &value.to_string())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Q, E> {
        Q::parse(value).ok_or_else(|| E::custom(format!("expected {}, found `\"{value}\"`", Q::EXPECTED)))
    }
}

macro_rules! impl_quantity {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(QuantityVisitor(std::marker::PhantomData))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.write() {
                    Written::Integer(value) => serializer.serialize_u64(value),
                    Written::Number(value) => serializer.serialize_f64(value),
                    Written::Text(value) => serializer.serialize_str(&value),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                <Self as Quantity>::FORMAT.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["number", "string"], "format": <Self as Quantity>::FORMAT })
            }
        }
    )*};
}

impl_quantity!(Count, Bytes, Seconds, Share, Span);

/// What the quantity with this schema `format` accepts, if `format` names a quantity and `value` is not one of it.
pub(crate) fn complaint(format: &str, value: &serde_json::Value) -> Option<&'static str> {
    fn check<Q: Quantity>(value: &serde_json::Value) -> Option<&'static str> {
        let fits = match value {
            serde_json::Value::Number(number) => {
                number.as_f64().filter(|n| Q::FRACTIONS || n.fract() == 0.0).and_then(Q::from_number).is_some()
            }
            serde_json::Value::String(text) => Q::parse(text).is_some(),
            _ => false,
        };
        (!fits).then_some(Q::EXPECTED)
    }
    match format {
        Count::FORMAT => check::<Count>(value),
        Bytes::FORMAT => check::<Bytes>(value),
        Seconds::FORMAT => check::<Seconds>(value),
        Share::FORMAT => check::<Share>(value),
        Span::FORMAT => check::<Span>(value),
        _ => None,
    }
}

/// A number with all its digits in groups of three: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn written_amounts_mean_what_people_mean() {
        assert_eq!(Count::parse("4M tokens"), Some(Count(4_000_000)));
        assert_eq!(Count::parse("60B"), Some(Count(60_000_000_000)));
        assert_eq!(Count::parse("1_000 steps"), Some(Count(1000)));
        assert_eq!(Count::parse("1000steps"), Some(Count(1000)));
        assert_eq!(Count::parse("1.5K"), Some(Count(1500)));
        assert_eq!(Bytes::parse("256MiB"), Some(Bytes(268_435_456)));
        assert_eq!(Seconds::parse("30m"), Some(Seconds(1800.0)));
        assert_eq!(Share::parse("1%"), Some(Share(0.01)));
        assert_eq!(Span::parse("1%"), Some(Span::Share(0.01)));
        assert_eq!(Span::parse("200 steps"), Some(Span::Steps(200)));
        for bad in ["", "M", "four", "-3", "1e", "4Q tokens"] {
            assert_eq!(Count::parse(bad), None, "{bad}");
        }
        assert_eq!(Share::parse("101%"), None);
    }

    #[test]
    fn quantities_survive_json() {
        let span: Span = serde_json::from_str("\"2.5%\"").unwrap();
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"2.5%\"");
        assert_eq!(serde_json::from_str::<Count>("\"4M\"").unwrap(), Count(4_000_000));
        assert!(serde_json::from_str::<Count>("1.5").is_err());
    }
}
