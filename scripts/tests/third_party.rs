//! Plugins that were found while the program runs, as recipes name them. In a program of its own: the registry belongs to
//! the process.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use psann_core::options::Schema;
use psann_core::plan::Flow;
use psann_core::registry::{self, Factory, Kind, Plugin};
use psann_core::{Error, register};
use psann_scripts::{Recipe, Session};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Reads and filters.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Prepare {
    /// Documents.
    data: Option<Flow>,
}

/// Documents of a file.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Text {
    /// The file.
    path: String,
}

register!(Stage, "prepare", Prepare, primary = "data");
register!(Source, "text", Text, primary = "path");

fn find_plugins() {
    let schema = || {
        Schema::from_json(json!({
            "type": "object",
            "description": "Rows of a table.",
            "additionalProperties": false,
            "properties": {
                "path": { "type": "string", "x-path": true, "description": "The database." },
                "rows": { "type": "integer", "default": 10, "description": "How many." },
            },
        }))
    };
    registry::add(Plugin {
        kind: Kind::Source,
        name: "org.table",
        version: 3,
        primary: Some("path"),
        schema: Box::leak(Box::new(schema)),
        factory: Factory::Source(&|_| Err(Error::new("nothing is read here"))),
        origin: Some("plugin `org.table` 0.1.0"),
    })
    .unwrap();
    registry::explain(
        Kind::Filter,
        "org.secret",
        "the plugin `org.secret` is not trusted yet".into(),
        "allow it".into(),
    );
}

fn wrong(text: &str) -> String {
    Recipe::from_source("t.rhai", text).evaluate(&[]).unwrap_err().render(false)
}

#[test]
fn recipes_name_them_by_id() {
    find_plugins();
    let text = "pipeline(\"x\").prepare(source::plugin(\"org.table\", \"a.db\", #{ rows: 5 }))";
    let plan = Recipe::from_source("t.rhai", text).evaluate(&[]).map_err(|e| e.render(false)).unwrap().plan;
    assert_eq!(
        plan.stages[0].options["data"]["source"],
        json!({ "plugin": "source/org.table", "options": { "path": "a.db", "rows": 5 } })
    );
    let mistakes = [
        "pipeline(\"x\").prepare(source::plugin(\"org.table\", #{ row: 5 }))",
        "pipeline(\"x\").prepare(source::plugin(\"org.tabel\"))",
        "pipeline(\"x\").prepare(source::plugin(#{ rows: 5 }))",
        "pipeline(\"x\").prepare(source::text(\"a\") | filter::plugin(\"org.secret\"))",
        "pipeline(\"x\").prepare(source::plugin(\"org.table\", 3, 4))",
    ];
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(mistakes.map(wrong).join("\n"));
    });

    let session = Session::new();
    let of = |before: &str| -> Vec<String> { session.completions(before).into_iter().map(|c| c.text).collect() };
    assert_eq!(of("source::"), ["plugin", "text"]);
    assert_eq!(of("let a = source::plugin(\"org."), ["org.table"]);
    assert_eq!(of("source::plugin(\"org.table\", #{ r"), ["rows"]);
    assert_eq!(of("source::plugin(\"org.table\", \"a.db\", #{ rows: 3, "), ["path", "rows"]);
    let mut session = Session::new();
    assert_eq!(
        session.evaluate("source::plugin(\"org.table\", #{ rows: 5 })").unwrap(),
        "source::plugin(\"org.table\", #{ rows: 5 })"
    );
}
