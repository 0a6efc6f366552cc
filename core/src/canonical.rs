//! Canonical JSON: one text for one value, whatever the order of its keys, so that it can be hashed.

use std::fmt::Write;

use serde_json::Value;

/// The text of `value` with sorted keys and no spaces.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Hexadecimal BLAKE3 of [`text`].
pub fn hash(value: &Value) -> String {
    blake3::hash(text(value).as_bytes()).to_hex().to_string()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(&Value::String(key.clone()), out);
                out.push(':');
                write(&object[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        // Writing to a string cannot fail.
        scalar => drop(write!(out, "{scalar}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let text = super::text(&json!({ "b": [1, { "z": null, "a": "x\"" }], "a": 0.5 }));
        assert_eq!(text, r#"{"a":0.5,"b":[1,{"a":"x\"","z":null}]}"#);
    }
}
