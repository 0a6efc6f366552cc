//! Activation checkpointing as recipes write it.

use std::borrow::Cow;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::executor::Recompute;

/// A [`Recompute`] as recipes write it: `"none"`, `"full"`, or a number k for every k-th segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationCheckpointing(pub Recompute);

impl Serialize for ActivationCheckpointing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Recompute::None => serializer.serialize_str("none"),
            Recompute::Full => serializer.serialize_str("full"),
            Recompute::Every(k) => serializer.serialize_u64(k as u64),
        }
    }
}

impl<'de> Deserialize<'de> for ActivationCheckpointing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckpointingVisitor)
    }
}

struct CheckpointingVisitor;

impl Visitor<'_> for CheckpointingVisitor {
    type Value = ActivationCheckpointing;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"none\", \"full\" or a positive number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "none" => Ok(ActivationCheckpointing(Recompute::None)),
            "full" => Ok(ActivationCheckpointing(Recompute::Full)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, k: u64) -> Result<Self::Value, E> {
        match k {
            0 => Err(E::invalid_value(de::Unexpected::Unsigned(0), &self)),
            k => Ok(ActivationCheckpointing(Recompute::Every(k as usize))),
        }
    }
}

impl JsonSchema for ActivationCheckpointing {
    fn schema_name() -> Cow<'static, str> {
        "activation_checkpointing".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({ "anyOf": [{ "enum": ["none", "full"] }, { "type": "integer", "minimum": 1 }] })
    }
}
