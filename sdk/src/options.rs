//! Typed options: the fields, doc comments and defaults of a struct are its validation, its help and its completion.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// A struct of options: [`options!`](crate::options!) makes one. It derives `Serialize`, `Deserialize` and `JsonSchema`, has
/// a `Default`, is marked `#[serde(deny_unknown_fields, default)]`, and has a doc comment on itself and on each field: the
/// host shows them.
///
/// Fields without a sensible default are `Option`s that `new` checks.
pub trait Options: Serialize + DeserializeOwned + JsonSchema + Default {}

impl<T: Serialize + DeserializeOwned + JsonSchema + Default> Options for T {}

/// The JSON schema of an options struct.
pub fn schema<T: Options>() -> Value {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// Reads options.
///
/// # Errors
/// When they are no JSON object of this shape. The host checks them against the schema before, with better messages.
pub fn read<T: Options>(json: &str) -> Result<T> {
    let json = if json.is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|e| Error::usage(format!("the options are wrong: {e}")))
}

/// Declares a struct of options with its defaults.
///
/// ```
/// psann_sdk::options! {
///     /// Keeps documents whose share of letters is high enough.
///     pub struct LettersOptions {
///         /// The least share of letters among all characters.
///         min: f64 = 0.6,
///         /// A file with more letters.
///         more: Option<String> = None,
///     }
/// }
/// assert_eq!(LettersOptions::default().min, 0.6);
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $($(#[$help:meta])* $field:ident: $type:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(
            Debug,
            Clone,
            PartialEq,
            $crate::serde::Serialize,
            $crate::serde::Deserialize,
            $crate::schemars::JsonSchema,
        )]
        #[serde(crate = "psann_sdk::serde", deny_unknown_fields, default)]
        #[schemars(crate = "psann_sdk::schemars")]
        $visible struct $name {
            $($(#[$help])* pub $field: $type),*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
}
