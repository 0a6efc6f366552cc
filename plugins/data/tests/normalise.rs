//! Golden data: normal texts and addresses, and the keys that exact copies share.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use psann_golden::rows;
use psann_plugins_data::address;
use psann_plugins_data::filters::exact::{text_key, url_key};
use psann_plugins_data::filters::normalize::{Normalize, NormalizeOptions};
use psann_plugins_data::utf8::repair;
use serde_json::Value;

fn key(value: &Value) -> Option<u128> {
    value.as_str().map(|text| u128::from_str_radix(text, 16).unwrap())
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn golden_data_normal_texts() {
    let normalize = Normalize::new(NormalizeOptions::default()).unwrap();
    for row in rows::lines("data", "normalise/text.jsonl") {
        let (text, replaced) = match row["input_hex"].as_str() {
            Some(hex) => repair(&bytes(hex)),
            None => (row["input"].as_str().unwrap().to_owned(), 0),
        };
        let normal = normalize.text(&text);
        assert_eq!(normal, row["text"].as_str().unwrap(), "{row}");
        assert_eq!(replaced, row["replaced"].as_u64().unwrap_or(0), "{row}");
        assert_eq!(normalize.text(&normal), normal, "{row}");
        assert_eq!(Some(text_key(&normal)), key(&row["key"]), "{row}");
    }
}

#[test]
fn golden_data_normal_addresses() {
    for row in rows::lines("data", "normalise/url.jsonl") {
        let url = row["url"].as_str().unwrap();
        assert_eq!(address::normal(url).as_deref(), row["normal"].as_str(), "{url}");
        assert_eq!(url_key(url), key(&row["key"]), "{url}");
    }
}

#[test]
fn golden_data_equal_keys() {
    let normalize = Normalize::new(NormalizeOptions::default()).unwrap();
    for row in rows::lines("data", "normalise/same_key.jsonl") {
        let [a, b] = ["a", "b"].map(|side| text_key(&normalize.text(row[side].as_str().unwrap())));
        assert_eq!(a == b, row["same_key"].as_bool().unwrap(), "{row}");
    }
}
