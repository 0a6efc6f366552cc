//! A rule's threshold: the preset's, the user's own, or `false` for no such rule.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The value of an option that switches one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Threshold<T> {
    /// What the preset says; not given, or null.
    #[default]
    Preset,
    /// No such rule: `false`.
    Off,
    /// This value.
    At(T),
}

impl<T> Threshold<T> {
    /// The threshold, given the preset's; `None` switches the rule off.
    pub fn or(self, preset: Option<T>) -> Option<T> {
        match self {
            Self::Preset => preset,
            Self::Off => None,
            Self::At(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Threshold<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Preset => serializer.serialize_none(),
            Self::Off => serializer.serialize_bool(false),
            Self::At(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Threshold<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::Preset),
            Value::Bool(false) => Ok(Self::Off),
            Value::Bool(true) => Err(D::Error::custom("a rule takes a threshold, or `false` to switch it off")),
            value => serde_json::from_value(value).map(Self::At).map_err(D::Error::custom),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Threshold<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Threshold_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::json_schema(generator), { "const": false }, { "type": "null" }] })
    }
}

#[cfg(test)]
mod tests {
    use psann_core::options::parse;
    use serde_json::json;

    use super::*;
    use crate::filters::gopher_quality::GopherQualityOptions;

    #[test]
    fn a_threshold_is_a_number_or_false_or_left_to_the_preset() {
        let read = |value| serde_json::from_value::<Threshold<f64>>(value);
        assert_eq!(read(json!(0.5)).unwrap().or(Some(0.1)), Some(0.5));
        assert_eq!(read(json!(false)).unwrap().or(Some(0.1)), None);
        assert_eq!(read(json!(null)).unwrap().or(Some(0.1)), Some(0.1));
        assert!(read(json!(true)).unwrap_err().to_string().contains("`false`"));
        assert!(serde_json::from_value::<Threshold<u32>>(json!(0.5)).is_err());
        for one in [Threshold::Preset, Threshold::Off, Threshold::At(2.0)] {
            assert_eq!(read(serde_json::to_value(one).unwrap()).unwrap(), one);
        }
    }

    #[test]
    fn options_say_what_a_rule_takes() {
        let read = |min_words| parse::<GopherQualityOptions>(&json!({ "min_words": min_words }));
        assert_eq!(read(json!(20)).unwrap().min_words, Threshold::At(20));
        assert_eq!(read(json!(false)).unwrap().min_words, Threshold::Off);
        assert_eq!(read(json!(null)).unwrap(), GopherQualityOptions::default());
        let message = read(json!("many")).unwrap_err().to_string();
        assert_eq!(message, "option `min_words` takes an integer | false, found the string `\"many\"`");
    }
}
