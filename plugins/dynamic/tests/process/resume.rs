//! Going on in the middle of JSON lines.

use psann_core::source::ResumeToken;

use super::support::Plugin;

fn numbers(count: usize) -> Vec<String> {
    (1..=count).map(|n| n.to_string()).collect()
}

#[test]
fn counting_resumes_from_every_place() {
    // Blank lines are no documents.
    let plugin = Plugin::new("seq 3000 | sed 's/.*/{\"text\":\"&\"}/; s/5\"}$/&\\n/'", "");
    assert_eq!(plugin.source().check_resume(&numbers(3000)), ["0", "1024", "2048", "3000"]);
}

#[test]
fn counting_resumes_between_documents_that_fill_a_batch_each() {
    let script = "long=$(head -c 1100000 /dev/zero | tr '\\0' x); for n in 1 2 3 4 5; do echo \"{\\\"text\\\":\\\"$n$long\\\"}\"; done";
    let expected: Vec<_> = numbers(5).into_iter().map(|n| n + &"x".repeat(1_100_000)).collect();
    assert_eq!(Plugin::new(script, "").source().check_resume(&expected), ["0", "1", "2", "3", "4", "5"]);
}

/// Writes the numbers behind the place it is told, up to `count`, with a place behind those that `names` holds for.
fn named(count: usize, names: &str) -> Plugin {
    let script = format!(
        r#"
echo "from ${{PSANN_RESUME:-the start}}" >&2
awk -v n="${{PSANN_RESUME:-0}}" 'BEGIN {{
    while (n++ < {count})
        if ({names}) printf "{{\"text\":\"%d\",\"resume\":\"%d\"}}\n", n, n
        else printf "{{\"text\":\"%d\"}}\n", n
}}'"#
    );
    Plugin::new(&script, "resume = \"token\"")
}

#[test]
fn tokens_resume_from_every_place() {
    let source = named(5000, "n % 300 == 0").source();
    // Batches end at places; behind the last one documents are counted.
    assert_eq!(source.check_resume(&numbers(5000)), ["0:", "0:1200", "0:2400", "0:3600", "0:4800", "200:4800"]);
    let said = source.said.lock().unwrap();
    let from: Vec<_> = said.iter().map(|line| line.strip_prefix("org.test: from ").unwrap()).collect();
    assert_eq!(from, ["the start", "the start", "1200", "2400", "3600", "4800", "4800"]);
    assert_eq!(named(2500, "1").source().check_resume(&numbers(2500)), ["0:", "0:1024", "0:2048", "0:2500"]);
}

#[test]
fn documents_are_counted_where_places_are_rare() {
    let places = named(40_000, "n == 10").source().check_resume(&numbers(40_000));
    assert_eq!(places, ["0:", "16374:10", "32758:10", "39990:10"]);
}

#[test]
fn a_token_is_no_metadata() {
    let source = Plugin::new("echo '{\"text\":\"a\",\"resume\":\"x:y\",\"n\":1}'", "resume = \"token\"").source();
    let mut reader = source.open(None).unwrap();
    let batch = reader.next_batch().unwrap().unwrap();
    assert_eq!(batch.optional("meta", 0), Some("{\"n\":1}"));
    assert_eq!(reader.position(), ResumeToken("0:x:y".into()));
    // Without tokens the key is like any other.
    let source = Plugin::new("echo '{\"text\":\"a\",\"resume\":7}'", "").source();
    let batch = source.open(None).unwrap().next_batch().unwrap().unwrap();
    assert_eq!(batch.optional("meta", 0), Some("{\"resume\":7}"));
}

#[test]
fn a_program_that_writes_less_than_before_is_told_of() {
    let plugin = Plugin::new("echo '{\"text\":\"a\"}'", "");
    let failure = |token: &str| plugin.shown(&plugin.source().open(Some(&ResumeToken(token.into()))).err().unwrap());
    insta::assert_snapshot!(failure("2"), @r"
    plugin `org.test`: it wrote only 1 of the 2 documents that were read before
    hint: it has to write the same documents each time; start over with `--fresh`
    ");
    insta::assert_snapshot!(failure("2:x"), @r"
    plugin `org.test`: `2:x` is no place in its documents
    hint: the manifest's `resume` changed since the run began; start over with `--fresh`
    ");
    assert!(plugin.source().open(Some(&ResumeToken("1".into()))).unwrap().next_batch().unwrap().is_none());
}
