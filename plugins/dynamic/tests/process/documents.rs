//! Documents as JSON lines, and the world that the program sees.

use psann_core::DataSource;
use serde_json::{Value, json};

use super::support::Plugin;

#[test]
fn json_lines_are_read_as_the_source_jsonl_reads_them() {
    let script = r#"
echo '{"text":"a","id":7,"url":"u","source":"s","lang":"en"}'
echo
printf '{"text":"b\\n\\u00e9","meta":{"n":1}}'
"#;
    let source = Plugin::new(script, "").source();
    let partitions = source.source.partitions().unwrap();
    assert_eq!((partitions.len(), partitions[0].location.as_str()), (1, "org.test"));
    let documents = source.documents(&partitions[0]);
    let first = &documents[0];
    assert_eq!((first.id.as_deref(), first.url.as_deref(), first.source.as_deref()), (Some("7"), Some("u"), Some("s")));
    assert_eq!(first.meta.as_deref(), Some(r#"{"lang":"en"}"#));
    assert_eq!((documents[1].text.as_str(), documents[1].meta.as_deref()), ("b\né", Some(r#"{"n":1}"#)));
    assert_eq!(documents.len(), 2);
}

const OPTIONS: &str = r#"
[process.options]
count = { type = "integer", default = 10 }
ratio = { type = "number" }
tags = { type = "array", default = ["x"] }
where = { type = "string" }
"#;

#[test]
fn the_program_gets_its_options_and_nothing_to_read() {
    let script = r#"
cat
printf '{"text":"%s","meta":%s}\n' "$PSANN_PARTITION,$PSANN_RESUME,${PSANN_LIST-unset},${PSANN_IDENTITY-unset}" "$PSANN_OPTIONS"
"#;
    let plugin = Plugin::new(script, OPTIONS);
    let meta = |options| {
        let source = plugin.with(options).unwrap();
        let document = source.documents(&source.source.partitions().unwrap()[0]).remove(0);
        assert_eq!(document.text, ",,unset,unset");
        serde_json::from_str::<Value>(&document.meta.unwrap()).unwrap()
    };
    assert_eq!(meta(json!({})), json!({ "count": 10, "tags": ["x"] }));
    let all = json!({ "count": 3, "ratio": 0.5, "tags": [], "where": "it's \"here\"\n" });
    assert_eq!(meta(all.clone()), all);
    assert_eq!(meta(json!({ "ratio": null, "count": 0 })), json!({ "count": 0, "tags": ["x"] }));
    let error = plugin.with(json!({ "cout": 3, "ratio": "a", "tags": [1] })).err().unwrap();
    insta::assert_snapshot!(plugin.shown(&error), @r#"
    unknown option `cout`
    option `ratio` takes a number, found the string `"a"`
    option `tags[0]` takes a string, found the number `1`
    hint: did you mean `count`?
    "#);
}

#[test]
fn the_program_runs_where_psann_runs() {
    let texts = Plugin::new("printf '{\"text\":\"%s\"}' \"$(pwd -P)\"", "").source().texts().unwrap();
    assert_eq!(texts, [std::env::current_dir().unwrap().canonicalize().unwrap().display().to_string()]);
}

#[test]
fn messages_go_to_the_log_line_by_line() {
    let source = Plugin::new("echo one >&2; echo '{\"text\":\"a\"}'; echo >&2; printf 'two\\377' >&2", "").source();
    assert_eq!(source.texts().unwrap(), ["a"]);
    // All of them were heard when the last document was given.
    assert_eq!(*source.said.lock().unwrap(), ["org.test: one", "org.test: two\u{fffd}"]);
}

#[test]
fn a_program_may_write_nothing() {
    assert_eq!(Plugin::new("true", "").source().texts().unwrap(), [""; 0]);
}

#[test]
fn what_the_user_should_know_is_said() {
    let notes = |more| Plugin::new("true", more).source().source.notes().unwrap();
    assert_eq!(notes(""), ["plugin `org.test` is read by one worker and cannot tell when its content changes"]);
    assert_eq!(notes("partitions = true"), ["plugin `org.test` cannot tell when its content changes"]);
    assert_eq!(notes("partitions = true\nidentity = true"), [""; 0]);
}
