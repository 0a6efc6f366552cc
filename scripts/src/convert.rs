//! Between a recipe's values and JSON, the language of plans.
//!
//! Integers stay integers and fractions stay fractions; `()` is null. What a plan cannot store (functions, ranges,
//! pipelines) is a problem with the path to it, not a guess.

use psann_core::options::{Fault, Problem, Step};
use psann_core::plan::Component;
use rhai::{Array, Dynamic, ImmutableString, Map};
use serde_json::{Value, json};

use crate::values::{self, Item};

/// Deeper than any options are, and shallow enough to recurse.
const DEEPEST: usize = 64;

/// A value as JSON, with what did not fit.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) value: Value,
    pub(crate) problems: Vec<Problem>,
    /// The tokenizers that models among the values need.
    pub(crate) tokenizers: Vec<Component>,
}

/// The JSON of a recipe's value.
pub(crate) fn to_json(value: &Dynamic) -> Converted {
    let mut converted = Converted::default();
    converted.value = converted.convert(value, &mut Vec::new());
    converted
}

/// The value that a recipe sees for `json`.
pub(crate) fn from_json(json: &Value) -> Dynamic {
    match json {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        Value::Object(object) => {
            let map: Map = object.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect();
            map.into()
        }
    }
}

/// A component as options hold it: one filter as itself, a chain as a list.
pub(crate) fn item_to_json(item: &Item) -> Value {
    match item {
        Item::Flow(flow) if flow.filters.is_empty() => flow.source.to_value(),
        Item::Flow(flow) => {
            let filters: Vec<Value> = flow.filters.iter().map(|filter| filter.0.to_value()).collect();
            json!({ "source": flow.source.to_value(), "filters": filters })
        }
        Item::Filters(filters) => match filters.as_slice() {
            [one] => one.0.to_value(),
            many => many.iter().map(|filter| filter.0.to_value()).collect(),
        },
        Item::Model { component, .. } | Item::Other(component) => component.to_value(),
    }
}

impl Converted {
    fn convert(&mut self, value: &Dynamic, path: &mut Vec<Step>) -> Value {
        if path.len() > DEEPEST {
            return self.problem(path, "is nested too deep");
        }
        if let Some(item) = value.read_lock::<Item>() {
            if let Item::Model { tokenizer: Some(tokenizer), .. } = &*item {
                self.tokenizers.push(tokenizer.clone());
            }
            return item_to_json(&item);
        }
        if let Some(items) = value.read_lock::<Array>() {
            let mut converted = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                converted.push(self.convert(item, path));
                path.pop();
            }
            return Value::Array(converted);
        }
        if let Some(map) = value.read_lock::<Map>() {
            let mut converted = serde_json::Map::new();
            for (key, item) in map.iter() {
                path.push(Step::Key(key.to_string()));
                let item = self.convert(item, path);
                converted.insert(key.to_string(), item);
                path.pop();
            }
            return Value::Object(converted);
        }
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return Value::String(text.to_string());
        }
        if let Ok(integer) = value.as_int() {
            return integer.into();
        }
        if let Ok(number) = value.as_float() {
            return match serde_json::Number::from_f64(number) {
                Some(number) => Value::Number(number),
                None => self.problem(path, &format!("takes a finite number, found `{number}`")),
            };
        }
        if let Ok(flag) = value.as_bool() {
            return flag.into();
        }
        if let Ok(character) = value.as_char() {
            return character.to_string().into();
        }
        match value.type_name() {
            "()" => Value::Null,
            "Fn" => self.problem(path, "takes plain data, and this is a function: a plan could not store it"),
            _ => self.problem(path, &format!("takes plain data, and this is {}", values::describe(value))),
        }
    }

    fn problem(&mut self, path: &[Step], message: &str) -> Value {
        self.problems.push(Problem { path: path.to_vec(), fault: Fault::Invalid(message.to_owned()) });
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any JSON that a recipe can write.
    fn plain_data() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn plain_data_survives_the_way_there_and_back(json in plain_data()) {
            let back = to_json(&from_json(&json));
            prop_assert!(back.problems.is_empty());
            // Integers and fractions are different values to serde_json, so this also says that types are kept.
            prop_assert_eq!(back.value, json);
        }
    }

    #[test]
    fn what_a_plan_cannot_store_is_named_with_its_path() {
        let engine = rhai::Engine::new();
        let value: Dynamic = engine.eval("#{ a: [1, |x| x], b: 1.0 / 0.0 }").unwrap();
        let places: Vec<String> = to_json(&value).problems.iter().map(Problem::location).collect();
        assert_eq!(places, ["a[1]", "b"]);
    }
}
