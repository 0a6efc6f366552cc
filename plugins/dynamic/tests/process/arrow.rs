//! Documents as an Arrow IPC stream.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow_ipc::writer::{FileWriter, StreamWriter};

use super::support::Plugin;

const ARROW: &str = "format = \"arrow\"";
const TOKENS: &str = "format = \"arrow\"\nresume = \"token\"";

fn write(path: &Path, batches: &[RecordBatch]) {
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn strings(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn some(numbers: impl IntoIterator<Item = usize>) -> ArrayRef {
    strings(numbers.into_iter().map(|n| Some(n.to_string())))
}

/// A plugin that writes these batches.
fn stream(batches: &[RecordBatch], more: &str) -> Plugin {
    let plugin = Plugin::new("cat \"${0%/*}/data.arrows\"", more);
    write(&plugin.path("data.arrows"), batches);
    plugin
}

#[test]
fn columns_of_any_string_type_become_documents() {
    let views: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), Some("a text longer than twelve bytes")]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
    let meta = strings([None, Some("{\"n\":1}".to_owned())]);
    let source = stream(&[batch(vec![("meta", meta), ("id", ids), ("text", views)])], ARROW).source();
    let documents = source.documents(&psann_core::DataSource::partitions(&source.source).unwrap()[0]);
    let seen: Vec<_> = documents.iter().map(|d| (d.text.as_str(), d.id.as_deref(), d.meta.as_deref())).collect();
    assert_eq!(seen, [("a", Some("7"), None), ("a text longer than twelve bytes", None, Some("{\"n\":1}"))]);
}

#[test]
fn counting_resumes_from_every_place() {
    let batches: Vec<_> = (0..5).map(|part| batch(vec![("text", some(700 * part..700 * (part + 1)))])).collect();
    let expected: Vec<_> = (0..3500).map(|n| n.to_string()).collect();
    let places = stream(&batches, ARROW).source().check_resume(&expected);
    assert_eq!(places, ["0", "1024", "2048", "3072", "3500"]);
    // Documents so large that each is a batch.
    let long = |n: usize| n.to_string().repeat(1_100_000);
    let batches = [
        batch(vec![("text", strings((0..3).map(|n| Some(long(n)))))]),
        batch(vec![("text", strings([Some(long(3))]))]),
    ];
    let places = stream(&batches, ARROW).source().check_resume(&(0..4).map(long).collect::<Vec<_>>());
    assert_eq!(places, ["0", "1", "2", "3", "4"]);
}

#[test]
fn tokens_resume_from_every_place() {
    let plugin =
        Plugin::new("echo \"from ${PSANN_RESUME:-the start}\" >&2; cat \"${0%/*}/${PSANN_RESUME:-0}.arrows\"", TOKENS);
    // A place behind every 300th row, whose name is the number of rows before it.
    for start in (0..=3300).step_by(300) {
        let token = |row: usize| (row % 300 == 299).then(|| (row + 1).to_string());
        let rows = start..3500;
        write(
            &plugin.path(&format!("{start}.arrows")),
            &[batch(vec![("text", some(rows.clone())), ("resume", strings(rows.map(token)))])],
        );
    }
    let source = plugin.source();
    let places = source.check_resume(&(0..3500).map(|n| n.to_string()).collect::<Vec<_>>());
    // Batches end at places; behind the last one rows are counted.
    assert_eq!(places, ["0:", "0:1200", "0:2400", "200:3300"]);
    let said = source.said.lock().unwrap();
    let from: Vec<_> = said.iter().map(|line| line.strip_prefix("org.test: from ").unwrap()).collect();
    assert_eq!(from, ["the start", "the start", "1200", "2400", "3300"]);
}

#[test]
fn what_is_no_stream_of_documents_is_named() {
    let failure = |script: &str, more: &str| Plugin::new(script, more).failure();
    insta::assert_snapshot!(failure("echo '{\"text\":\"a\"}'", ARROW), @r#"
    plugin `org.test`: what it wrote is no Arrow stream
    hint: write an Arrow IPC stream, and what is meant for people to standard error; for JSON lines the manifest says `format = "jsonl"`
    "#);
    insta::assert_snapshot!(failure("true", ARROW), @r"
    plugin `org.test`: it wrote nothing, not even an Arrow schema
    hint: a stream without rows begins with a schema, too
    ");
    insta::assert_snapshot!(stream(&[batch(vec![("body", some(0..2))])], ARROW).failure(), @r"
    plugin `org.test`: its stream has no column `text`
    hint: the columns are `text` and, where they are there, `id`, `url`, `source` and `meta`, all of them strings
    ");
    insta::assert_snapshot!(stream(&[batch(vec![("text", some(0..2))])], TOKENS).failure(), @r#"
    plugin `org.test`: its stream has no column `resume`
    hint: a string for the place behind each document, null where there is none; `resume = "count"` needs none
    "#);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let columns = vec![("text", some(0..2)), ("resume", numbers)];
    insta::assert_snapshot!(stream(&[batch(columns)], TOKENS).failure(), @r#"
    plugin `org.test`: its stream: column `resume` is of type Int64, not strings
    hint: a string for the place behind each document, null where there is none; `resume = "count"` needs none
    "#);
    let columns = vec![("text", strings([Some("a".into()), None]))];
    insta::assert_snapshot!(stream(&[batch(columns)], ARROW).failure(), @r"
    plugin `org.test`: row 2: the text is null
    hint: write no such rows
    ");
    let columns = vec![("text", some(0..2)), ("resume", strings([Some("1".into()), Some(String::new())]))];
    insta::assert_snapshot!(stream(&[batch(columns)], TOKENS).failure(), @r"
    plugin `org.test`: row 2: `resume` is empty, which stands for the start
    hint: `resume` is a text for the place behind the document; leave it out (null in Arrow) where there is none
    ");

    let file = stream(&[batch(vec![("text", some(0..2))])], ARROW);
    let rows = batch(vec![("text", some(0..2))]);
    let mut writer = FileWriter::try_new(File::create(file.path("data.arrows")).unwrap(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    insta::assert_snapshot!(file.failure(), @r"
    plugin `org.test`: it wrote an Arrow file, which cannot be read from a pipe
    hint: write the stream format
    ");
}

#[test]
fn a_stream_that_ends_inside_a_message_is_damaged_unless_the_program_failed() {
    let plugin = stream(&[batch(vec![("text", some(0..700))]), batch(vec![("text", some(700..1400))])], ARROW);
    plugin.write("run.sh", "head -c 9000 \"${0%/*}/data.arrows\"");
    insta::assert_snapshot!(plugin.failure(), @r"
    plugin `org.test`: its Arrow stream is damaged behind row 700: Ipc error: Unexpected End of Stream
    hint: the stream has to be whole: close its writer before the program ends
    ");
    for length in [0, 3, 100, 9000] {
        let script = format!("head -c {length} \"${{0%/*}}/data.arrows\"; echo oh no >&2; exit 3");
        plugin.write("run.sh", &script);
        let error = plugin.failure();
        assert!(error.contains("failed with exit status: 3; it said:\n  oh no"), "{error}");
    }
}
