//! Partitions, identities and hashes.

use psann_core::DataSource;
use serde_json::json;

use super::support::{Plugin, texts};

const PARTITIONS: &str = "partitions = true";

#[test]
fn the_program_lists_its_partitions_and_is_told_which_to_write() {
    let script = r#"
if [ "$PSANN_LIST" = 1 ]; then
    echo '{"name":"en","bytes":100}'
    echo '{"name":"de \"x\""}'
else
    printf '{"text":"%s"}' "$(printf %s "$PSANN_PARTITION" | tr -d '"')"
fi
"#;
    let source = Plugin::new(script, PARTITIONS).source();
    let partitions = source.source.partitions().unwrap();
    let seen: Vec<_> = partitions.iter().map(|p| (p.index, p.location.as_str(), p.bytes)).collect();
    assert_eq!(seen, [(0, "en", 100), (1, "de \"x\"", 0)]);
    assert_eq!(texts(source.source.open(&partitions[1], None).unwrap().as_mut()).unwrap(), ["de x"]);
}

#[test]
fn a_list_that_is_none_is_refused() {
    let refused = |script: &str| {
        let plugin = Plugin::new(script, PARTITIONS);
        plugin.shown(&plugin.source().source.partitions().unwrap_err())
    };
    insta::assert_snapshot!(refused("true"), @r"
    plugin `org.test`: it lists no partitions
    hint: its options may leave nothing; with `partitions = true` it has to list at least one
    ");
    insta::assert_snapshot!(refused("echo '{\"name\":\"a\"}'; echo; echo '{\"text\":\"a\"}'"), @r#"
    plugin `org.test`: line 3: no partition: unknown field `text`, expected `name` or `bytes` at column 7
    hint: with `PSANN_LIST=1` each line is an object `{"name": …, "bytes": …}`; `bytes` may be left out
    "#);
    insta::assert_snapshot!(refused("echo '{\"name\":\"\"}'"), @r#"
    plugin `org.test`: line 1: a partition needs a name, without zero bytes
    hint: with `PSANN_LIST=1` each line is an object `{"name": …, "bytes": …}`; `bytes` may be left out
    "#);
    insta::assert_snapshot!(refused("echo '{\"name\":\"a\"}'; echo '{\"name\":\"a\"}'"), @r#"
    plugin `org.test`: line 2: partition `a` was listed before
    hint: with `PSANN_LIST=1` each line is an object `{"name": …, "bytes": …}`; `bytes` may be left out
    "#);
    insta::assert_snapshot!(refused("echo '{\"name\":\"a\"}'; echo 'no database' >&2; exit 1"), @r"
    plugin `org.test`: its program failed with exit status: 1; it said:
      no database
    hint: what it writes counts only when it ends with status 0; try it on its own, with the same `PSANN_OPTIONS`
    ");
}

#[test]
fn an_error_names_the_partition_and_the_place() {
    let script = "if [ -n \"$PSANN_LIST\" ]; then echo '{\"name\":\"en\"}'; else echo oops; fi";
    let plugin = Plugin::new(script, "partitions = true\nresume = \"token\"");
    let (source, resume) = (plugin.source(), psann_core::source::ResumeToken("0:page 7".into()));
    let error = source.open(Some(&resume)).unwrap().next_batch().unwrap_err();
    insta::assert_snapshot!(error, @"plugin `org.test`: partition `en` behind `page 7`: line 1: not a JSON object: expected value at column 1");
}

#[test]
fn the_identity_changes_with_files_options_and_what_the_program_says() {
    let more = "[process.options.count]\ntype = \"integer\"\ndefault = 10\n";
    let plugin = Plugin::new("exit 1", more);
    let identity = |options| plugin.with(options).unwrap().source.identity().unwrap();
    // The program is not run for it, and defaults are the same whether they are given or not.
    let before = identity(json!({}));
    assert_eq!(before, identity(json!({ "count": 10 })));
    assert_ne!(before, identity(json!({ "count": 11 })));
    plugin.write("run.sh", "exit 2");
    assert_ne!(before, identity(json!({})));

    let plugin = Plugin::new("[ \"$PSANN_IDENTITY\" = 1 ] && cat \"${0%/*}/date\"", "identity = true");
    let identity = || plugin.source().source.identity();
    plugin.write("date", "2026-11-24");
    let before = identity().unwrap();
    assert_eq!(before, identity().unwrap());
    plugin.write("date", "2026-11-25");
    assert_ne!(before, identity().unwrap());
    plugin.write("date", "");
    insta::assert_snapshot!(plugin.shown(&identity().unwrap_err()), @r"
    plugin `org.test`: it says nothing of its content
    hint: with `PSANN_IDENTITY=1` it writes a hash, a date or a version
    ");
    plugin.write("date", &"x".repeat(2_000_000));
    insta::assert_snapshot!(plugin.shown(&identity().unwrap_err()), @r"
    plugin `org.test`: what it says of its content is longer than 1048576 bytes
    hint: with `PSANN_IDENTITY=1` it writes a hash, a date or a version, and no documents
    ");
    std::fs::remove_file(plugin.path("date")).unwrap();
    assert!(identity().unwrap_err().to_string().contains("failed with exit status: 1"));
}
