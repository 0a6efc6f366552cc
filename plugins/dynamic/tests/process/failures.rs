//! What users read when a program fails.

use super::support::{Plugin, texts};

fn failure(script: &str) -> String {
    Plugin::new(script, "").failure()
}

#[test]
fn a_failed_program_shows_how_it_ended_and_its_last_messages() {
    let script = "echo '{\"text\":\"a\"}'; for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3";
    insta::assert_snapshot!(failure(script), @r"
    plugin `org.test`: its program failed with exit status: 3; it said:
      line 3
      line 4
      line 5
      line 6
      line 7
    hint: what it writes counts only when it ends with status 0; try it on its own, with the same `PSANN_OPTIONS`
    ");
    insta::assert_snapshot!(failure("echo '{\"text\":\"a\"}'; kill -9 $$"), @r"
    plugin `org.test`: its program was killed (signal 9)
    hint: most often the system does that, when memory runs out
    ");
}

#[test]
fn documents_before_the_failure_are_given_once_they_fill_a_batch() {
    let source = Plugin::new("seq 1500 | sed 's/.*/{\"text\":\"&\"}/'; exit 3", "").source();
    let mut reader = source.open(None).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().len(), 1024);
    assert!(reader.next_batch().is_err());
    // Nothing comes behind an error.
    assert!(texts(reader.as_mut()).unwrap().is_empty());
}

#[test]
fn a_line_that_is_no_document_is_named() {
    let third = |line: &str| failure(&format!("echo '{{\"text\":\"a\"}}'; echo; printf '%b\\n' '{line}'; echo '{{}}'"));
    insta::assert_snapshot!(third("oops"), @r"
    plugin `org.test`: line 3: not a JSON object: expected value at column 1
    hint: each line is a JSON object with a string `text`; what is meant for people goes to standard error
    ");
    insta::assert_snapshot!(third("[1]"), @r"
    plugin `org.test`: line 3: not a JSON object: invalid type: sequence, expected a map
    hint: each line is a JSON object with a string `text`; what is meant for people goes to standard error
    ");
    insta::assert_snapshot!(third("{\"body\":\"a\"}"), @r"
    plugin `org.test`: line 3: there is no `text`
    hint: each line is a JSON object with a string `text`; what is meant for people goes to standard error
    ");
    insta::assert_snapshot!(third("{\"text\":7}"), @r"
    plugin `org.test`: line 3: `text` is a number, not a string
    hint: each line is a JSON object with a string `text`; what is meant for people goes to standard error
    ");
    insta::assert_snapshot!(third("{\"text\":\"\\0377\"}"), @r#"
    plugin `org.test`: line 3: byte 0xff in column 10 is not valid UTF-8
    hint: write UTF-8; in Python, begin with `sys.stdout.reconfigure(encoding="utf-8")`
    "#);
}

#[test]
fn a_token_that_is_none_is_named() {
    let script = "echo '{\"text\":\"a\"}'; echo '{\"text\":\"a\",\"resume\":7}'";
    insta::assert_snapshot!(Plugin::new(script, "resume = \"token\"").failure(), @r"
    plugin `org.test`: line 2: `resume` is no string
    hint: `resume` is a text for the place behind the document; leave it out (null in Arrow) where there is none
    ");
}

#[test]
fn a_failed_program_counts_for_more_than_its_last_half_line() {
    let error = failure("printf '{\"text\":'; exit 3");
    assert!(error.contains("failed with exit status: 3"), "{error}");
    insta::assert_snapshot!(failure("printf '{\"text\":'"), @r"
    plugin `org.test`: line 1: not a JSON object: EOF while parsing a value at column 8
    hint: each line is a JSON object with a string `text`; what is meant for people goes to standard error
    ");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let plugin = Plugin::new("", "");
    let command = |words: &str, files: &str| {
        plugin.write(
            "test.toml",
            &format!(
                "manifest_version = 1\nid = \"org.test\"\nversion = \"1\"\n[process]\ncommand = {words}\nfiles = {files}\n\
                 format = \"jsonl\""
            ),
        );
        plugin.failure()
    };
    insta::assert_snapshot!(command("[\"no-such-program\", \"x\"]", "[]"), @r"
    plugin `org.test`: its program `no-such-program` cannot be started: No such file or directory (os error 2)
    hint: install `no-such-program`, or put it into the `PATH`
    ");
    insta::assert_snapshot!(command("[\"./run.sh\"]", "[\"run.sh\"]"), @r"
    plugin `org.test`: its program `FOLDER/run.sh` cannot be started: Permission denied (os error 13)
    hint: make `FOLDER/run.sh` executable, or name its interpreter first in the manifest's `command`
    ");
}
