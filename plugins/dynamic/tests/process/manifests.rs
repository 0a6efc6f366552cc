//! Manifests that are read, and those that are refused.

use psann_core::options::Schema;
use serde_json::json;

use super::support::Plugin;

const HEAD: &str = "manifest_version = 1\nid = \"org.test\"\nversion = \"1\"\n";
const PROCESS: &str = "[process]\ncommand = [\"sh\", \"run.sh\"]\nformat = \"jsonl\"\nfiles = [\"run.sh\"]\n";

/// What is said about a manifest.
fn refused(manifest: &str) -> String {
    let plugin = Plugin::new("", "");
    plugin.write("test.toml", manifest);
    let shown = plugin.shown(&plugin.manifest().unwrap_err());
    shown.strip_prefix("plugin manifest `FOLDER/test.toml`: ").expect("the file is named").to_owned()
}

/// The same for further lines of `[process]`.
fn refused_process(more: &str) -> String {
    refused(&format!("{HEAD}{PROCESS}{more}"))
}

#[test]
fn the_schema_is_that_of_a_plugin_of_ours() {
    let options = r#"
[process.options]
tags = { type = "array", default = ["a"], help = "Which ones", path = true }
ratio = { type = "number", help = "How much" }
"#;
    let schema = Plugin::new("", options).manifest().unwrap().schema();
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "description": "Documents that the program of `org.test` writes.",
            "properties": {
                "ratio": { "description": "How much", "type": ["number", "null"] },
                "tags": {
                    "description": "Which ones",
                    "type": "array",
                    "default": ["a"],
                    "items": { "type": "string" },
                    "x-path": true,
                },
            },
            "additionalProperties": false,
        })
    );
    let schema = Schema::from_json(schema);
    let said = |options| schema.check(&options).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(json!({ "ratio": 1, "tags": ["b"] })), [""; 0]);
    assert_eq!(said(json!({ "ratio": "x" })), ["option `ratio` takes a number, found the string `\"x\"`"]);
    assert_eq!(said(json!({ "x": 1 })), ["unknown option `x`"]);
    let none = Plugin::new("", "").manifest().unwrap().schema();
    assert_eq!(Schema::from_json(none).check(&json!({ "x": 1 })).len(), 1);
}

#[test]
fn words_that_name_files_become_absolute_paths() {
    let plugin = Plugin::new("", "");
    plugin.write(
        "test.toml",
        &format!("{HEAD}{}", PROCESS.replace("\"run.sh\"]\nformat", "\"./run.sh\", \"--x\"]\nformat")),
    );
    let command = plugin.manifest().unwrap().command();
    let script = std::path::absolute(plugin.path("run.sh")).unwrap();
    assert_eq!(command, ["sh".as_ref(), script.as_os_str(), "--x".as_ref()]);
}

#[test]
fn the_hash_changes_with_the_manifest_and_its_files() {
    let plugin = Plugin::new("echo", "");
    let hash = || plugin.manifest().unwrap().hash().unwrap();
    let before = hash();
    plugin.write("other.txt", "not of the plugin");
    assert_eq!((before.len(), hash()), (64, before.clone()));
    plugin.write("run.sh", "echo ");
    let changed = hash();
    assert_ne!(changed, before);
    plugin.write("run.sh", "echo");
    assert_eq!(hash(), before);
    let text = std::fs::read_to_string(plugin.path("test.toml")).unwrap();
    plugin.write("test.toml", &format!("{text}# more\n"));
    assert_ne!(hash(), before);
}

#[test]
fn the_hash_asks_for_the_files_that_are_there_now() {
    let plugin = Plugin::new("", "");
    let manifest = plugin.manifest().unwrap();
    plugin.write("sh", "a program that was put beside the manifest later");
    insta::assert_snapshot!(plugin.shown(&manifest.hash().unwrap_err()), @r#"
    plugin `org.test`: `sh` in `process.command` is a file beside the manifest and not in `process.files`
    hint: add it, as in `files = ["sh"]`: files that are listed ask for trust when they change
    "#);
    // It is not what would be run.
    assert_eq!(manifest.command()[0], "sh");
    std::fs::remove_file(plugin.path("sh")).unwrap();
    std::fs::remove_file(plugin.path("run.sh")).unwrap();
    insta::assert_snapshot!(plugin.shown(&manifest.hash().unwrap_err()), @r"
    plugin `org.test`: `run.sh` in `process.files` is no file beside the manifest
    hint: put it there, or take it off the list
    ");
}

#[test]
fn a_manifest_that_is_none_is_refused_with_the_line() {
    insta::assert_snapshot!(refused("manifest_version = \n"), @r"
    line 1 (`manifest_version =`): string values must be quoted, expected literal string
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    ");
    insta::assert_snapshot!(refused("id = \"org.test\""), @r"
    there is no integer `manifest_version`
    hint: begin the file with `manifest_version = 1`
    ");
    insta::assert_snapshot!(refused("manifest_version = 2\nnovelties = true"), @r"
    `manifest_version` is 2, and psann reads 1 here
    hint: update psann, or use a version of the plugin that was made for this one
    ");
    insta::assert_snapshot!(refused(HEAD), @r"
    line 1 (`manifest_version = 1`): missing field `process`
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}licens = \"MIT\"\n{PROCESS}")), @r#"
    line 4 (`licens = "MIT"`): unknown field `licens`, expected one of `manifest_version`, `id`, `version`, `licence`, `description`, `process`
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    "#);
    insta::assert_snapshot!(refused_process("partitions = 3"), @r"
    line 8 (`partitions = 3`): invalid type: integer `3`, expected a boolean
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    ");
    insta::assert_snapshot!(refused_process("resume = \"tokens\""), @r#"
    line 8 (`resume = "tokens"`): unknown variant `tokens`, expected `count` or `token`
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    "#);
    insta::assert_snapshot!(refused_process("[process.options.n]\ntype = \"int\""), @r#"
    line 9 (`type = "int"`): unknown variant `int`, expected one of `string`, `integer`, `number`, `boolean`, `array`
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    "#);
    insta::assert_snapshot!(refused_process("[process.options.n]\nhelp = \"x\""), @r"
    line 8 (`[process.options.n]`): missing field `type`
    hint: correct the line; sdk/examples/python-process says what a manifest holds
    ");
    let plugin = Plugin::new("", "");
    std::fs::remove_file(plugin.path("test.toml")).unwrap();
    insta::assert_snapshot!(plugin.shown(&plugin.manifest().unwrap_err()), @r"
    plugin manifest `FOLDER/test.toml`: cannot be read: No such file or directory (os error 2)
    hint: check its name
    ");
}

#[test]
fn values_that_make_no_sense_are_refused() {
    insta::assert_snapshot!(refused(&format!("{HEAD}{PROCESS}").replace("org.test", "org..test")), @r"
    `id`: `org..test` is no id of a plugin
    hint: letters, digits, `-` and `_`, perhaps with dots between, as in `org.letters`
    ");
    insta::assert_snapshot!(refused(&format!("{HEAD}{PROCESS}").replace("version = \"1\"", "version = \"\"")), @r#"
    `version` is empty
    hint: give one, as in `version = "0.1.0"`
    "#);
    insta::assert_snapshot!(refused(&format!("{HEAD}[process]\ncommand = []\nformat = \"arrow\"")), @r#"
    `process.command` names no program
    hint: give the program and its arguments, as in `command = ["python3", "hello.py"]`
    "#);
    insta::assert_snapshot!(refused_process("primary = \"path\""), @r"
    `process.primary` is `path`, which is no option
    hint: declare it: `[process.options.path]`
    ");
    insta::assert_snapshot!(refused_process("primary = \"path\"\noptions = { name = { type = \"string\" } }"), @r"
    `process.primary` is `path`, which is no option
    hint: name one of the options: `name`
    ");
    insta::assert_snapshot!(refused_process("[process.options.\"a b\"]\ntype = \"string\""), @r"
    `a b` in `process.options` is no name of an option
    hint: letters, digits, `-` and `_`
    ");
    insta::assert_snapshot!(refused_process("[process.options.n]\ntype = \"integer\"\ndefault = 1.5"), @r"
    `process.options.n.default`: option `n` takes an integer, found the number `1.5`
    hint: the type is `integer`; correct one of the two
    ");
    insta::assert_snapshot!(refused_process("[process.options.n]\ntype = \"array\"\ndefault = [1]"), @r"
    `process.options.n.default`: option `n[0]` takes a string, found the number `1`
    hint: the type is `array`; correct one of the two
    ");
    insta::assert_snapshot!(refused_process("[process.options.n]\ntype = \"number\"\npath = true"), @r"
    `process.options.n` is a path of type `number`
    hint: a path has the type `string`, several have the type `array`
    ");
}

#[test]
fn files_that_do_not_belong_to_the_plugin_are_refused() {
    let files = |list: &str| refused(&format!("{HEAD}{}", PROCESS.replace("[\"run.sh\"]", list)));
    insta::assert_snapshot!(files("[]"), @r#"
    `run.sh` in `process.command` is a file beside the manifest and not in `process.files`
    hint: add it, as in `files = ["run.sh"]`: files that are listed ask for trust when they change
    "#);
    insta::assert_snapshot!(files("[\"run.sh\", \"other.py\"]"), @r"
    `other.py` in `process.files` is no file beside the manifest
    hint: put it there, or take it off the list
    ");
    insta::assert_snapshot!(files("[\"run.sh\", \"../other.py\"]"), @r"
    `../other.py` in `process.files` is no path beside the manifest
    hint: give the path from the manifest's folder, without `..`
    ");
    insta::assert_snapshot!(files("[\"run.sh\", \"/bin/sh\"]"), @r"
    `/bin/sh` in `process.files` is no path beside the manifest
    hint: give the path from the manifest's folder, without `..`
    ");
    insta::assert_snapshot!(files("[\"run.sh\", \"./run.sh\"]"), @r"
    `./run.sh` is twice in `process.files`
    hint: list it once
    ");
}
