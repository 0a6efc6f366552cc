//! [`Vocabulary`]: the option `vocab` of every model.

use std::borrow::Cow;

use psann_core::plan::Component;
use psann_core::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Where the size of the vocabulary comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Vocabulary {
    /// Given as a number.
    Size(i64),
    /// `"tokenizer"`: that of the pipeline's tokenizer stage.
    Stage(String),
    /// That of this tokenizer.
    Tokenizer(Component),
}

impl Vocabulary {
    /// The size, which is known when a model is built.
    ///
    /// # Errors
    /// When it is a tokenizer that has not been asked.
    pub fn size(&self) -> Result<i64> {
        match self {
            Self::Size(size) => Ok(*size),
            Self::Stage(_) | Self::Tokenizer(_) => Err(Error::usage("the size of the vocabulary is not known yet")
                .hint("give `vocab` a number, or a tokenizer, whose stage then runs first")),
        }
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::Stage("tokenizer".into())
    }
}

impl JsonSchema for Vocabulary {
    fn schema_name() -> Cow<'static, str> {
        "vocabulary".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "const": "tokenizer" },
                { "type": "object", "x-plugin": "tokenizer" },
            ]
        })
    }
}
