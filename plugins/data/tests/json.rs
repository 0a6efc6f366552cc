//! The JSON scanner against `serde_json`: what it accepts is valid, and reads the same.

use proptest::prelude::*;
use psann_plugins_data::sources::json::{Found, Members, scan, unescape};
use serde_json::{Map, Value};

const KEYS: [&str; 4] = ["text", "id", "url", "source"];

/// Where the scanner says yes, `serde_json` must say the same; returns whether it said yes.
fn agrees(line: &str) -> bool {
    let mut members = Members::default();
    if scan(line, KEYS, &mut members).is_none() {
        return false;
    }
    let mut object: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    for (key, found) in KEYS.into_iter().zip(&members.wanted) {
        let expected = object.remove(key);
        match found {
            None => assert_eq!(expected, None, "{line}"),
            Some(Found::String(range, escaped)) => {
                let mut text = String::new();
                unescape(&line[range.clone()], &mut text);
                assert_eq!(expected.expect("a value"), Value::String(text), "{line}");
                assert_eq!(*escaped, line[range.clone()].contains('\\'));
            }
            Some(Found::Scalar(range)) => {
                assert_eq!(
                    expected.expect("a value"),
                    serde_json::from_str::<Value>(&line[range.clone()]).expect("a value")
                );
            }
            Some(Found::Null) => assert_eq!(expected, Some(Value::Null)),
            Some(Found::Nested) => assert!(expected.is_some_and(|value| value.is_array() || value.is_object())),
        }
    }
    let mut rest = String::new();
    members.write_rest(line, &mut rest);
    assert_eq!(serde_json::from_str::<Value>(&rest).expect("a value"), Value::Object(object), "{line}");
    true
}

#[test]
fn common_lines_are_scanned() {
    for line in [
        "{}",
        r#" { "text" : "a" , "id" : 7 } "#,
        r#"{"text":"a\n\t\"\\\/\b\f\r\u00e9\ud83d\ude00","url":null,"n":-0.5,"x":[1,{"text":[]}],"t":true}"#,
        r#"{"x" :  {"y": [ 1 , 2 ]} ,"text":"0123456789abcdef0123456789abcdef0123456789\\"}"#,
    ] {
        assert!(agrees(line), "{line}");
    }
}

#[test]
fn the_rest_is_left_to_the_full_parser() {
    for line in [
        "",
        "[]",
        r#"{"text":"a"}}"#,
        r#"{"text":"a",}"#,
        r#"{"text":"a" "id":1}"#,
        r#"{"text":"a","text":"b"}"#,
        r#"{"x":1,"x":2}"#,
        r#"{"t\u0065xt":"a"}"#,
        r#"{"text":"\ud83d"}"#,
        r#"{"text":"\ude00"}"#,
        r#"{"text":"\ud83d\u0041"}"#,
        r#"{"text":"\x"}"#,
        r#"{"text":"\u12"}"#,
        r#"{"text":"a"#,
        "{\"text\":\"a\u{1}\"}",
        r#"{"n":01}"#,
        r#"{"n":1.}"#,
        r#"{"n":1e5}"#,
        r#"{"n":-}"#,
        r#"{"n":NaN}"#,
        r#"{"n":tru}"#,
        r#"{"n":[1,]}"#,
        r#"{"n":[}"#,
        "\u{feff}{}",
    ] {
        assert!(!agrees(line), "{line}");
    }
    assert!(!agrees(&format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000))));
}

fn value() -> impl Strategy<Value = String> {
    let string =
        "(\\\\[\"\\\\/bfnrtx]|\\\\u[0-9a-fA-F]{4}|\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}|[ -~é😀\u{1}]){0,40}";
    let scalar = prop_oneof![
        string.prop_map(|text| format!("\"{text}\"")),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("NaN".to_owned())
    ];
    scalar.prop_recursive(3, 12, 4, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..4);
        let members = prop::collection::vec(("[a-c]", inner), 0..4);
        prop_oneof![
            items.prop_map(|items| format!("[{}]", items.join(" ,"))),
            members.prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                format!("{{{}}}", members.join(", "))
            })
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_scanner_accepts_serde_json_reads_the_same(
        members in prop::collection::vec(("(text|id|url|source|[a-d]|\\\\u0061)", value()), 0..6),
        damage in prop::option::of((any::<prop::sample::Index>(), "[\\x00-\\x7f]")),
    ) {
        let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let mut line = format!("{{{}}}", members.join(","));
        if let Some((index, byte)) = damage {
            let at = index.index(line.len());
            if line.is_char_boundary(at) && line.is_char_boundary(at + 1) {
                line.replace_range(at..=at, &byte);
            }
        }
        agrees(&line);
    }
}
