//! A reader that was opened behind any batch goes on exactly there, whatever the source, the packing and the unit, also
//! among records that are left out.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use psann_core::registry;
use psann_core::source::{DAMAGED_FILE, ResumeToken};
use psann_plugins_data as _;
use serde_json::{Value, json};

/// The texts, batch by batch, and the token behind each batch.
fn batches(source: &str, options: &Value, resume: Option<&ResumeToken>) -> Vec<(Vec<String>, ResumeToken)> {
    let source = registry::source(source, options).expect("a source");
    let partitions = source.partitions().expect("partitions");
    assert_eq!(partitions.len(), 1);
    let mut reader = source.open(&partitions[0], resume).expect("a reader");
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().expect("a batch") {
        found.push((batch.texts().map(str::to_owned).collect(), reader.position()));
    }
    found
}

fn check(source: &str, mut options: Value, path: &Path, documents: usize) {
    options["path"] = json!(path);
    options["on_error"] = json!("skip");
    let all = batches(source, &options, None);
    assert!(all.len() > 2, "{source} {options}: {} batches test nothing", all.len());
    assert_eq!(all.iter().map(|(texts, _)| texts.len()).sum::<usize>(), documents, "{source} {options}");
    for (index, (_, token)) in all.iter().enumerate() {
        assert!(batches(source, &options, Some(token)) == all[index + 1..], "{source} {options} behind batch {index}");
    }
}

/// 4000 records, every seventh broken, blank lines between some.
fn lines() -> String {
    let record = |n: usize| match n % 7 {
        0 => format!("{{\"id\":{n}}}\n"),
        1 => format!("\n{{\"text\":\"text {n}\"}}\r\n\n"),
        2 => format!("{{\"text\":\"{}\"}}\n", "too long ".repeat(40)),
        _ => format!("{{\"id\":\"{n}\",\"text\":\"t\\u00e9xt {n}\"}}\n"),
    };
    (0..4000).map(record).collect()
}

#[test]
fn lines_resume_behind_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    let usable = (0..4000).filter(|n| !matches!(n % 7, 0 | 2)).count();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines().as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(lines().as_bytes(), 1).unwrap();
    for (name, bytes) in [("a.jsonl", lines().into_bytes()), ("a.jsonl.gz", gzip), ("a.jsonl.zst", zstd)] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        check("jsonl", json!({ "max_document": 300 }), &path, usable);
        check(
            "text",
            json!({ "documents": "line", "max_document": 300 }),
            &path,
            (0..4000).filter(|n| n % 7 != 2).count(),
        );
    }
    let path = folder.path().join("paragraphs.txt");
    fs::write(&path, (0..3000).map(|n| format!("one {n}\ntwo\n{}", "\n".repeat(1 + n % 3))).collect::<String>())
        .unwrap();
    check("text", json!({ "documents": "paragraph" }), &path, 3000);
}

#[test]
fn documents_before_the_damage_are_kept_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..5000u64).map(|n| format!("{{\"text\":\"text {n} {}\"}}\n", n * n * 7919 % 10007)).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut bytes = gzip.finish().unwrap();
    bytes.truncate(bytes.len() * 9 / 10);
    let path = folder.path().join("a.jsonl.gz");
    fs::write(&path, bytes).unwrap();
    let options = json!({ "path": path, "on_error": "skip" });
    let kept: usize = batches("jsonl", &options, None).iter().map(|(texts, _)| texts.len()).sum();
    assert!((4000..5000).contains(&kept), "{kept}");
    check("jsonl", json!({}), &path, kept);
    let source = registry::source("jsonl", &options).unwrap();
    let mut reader = source.open(&source.partitions().unwrap()[0], None).unwrap();
    while reader.next_batch().unwrap().is_some() {}
    assert_eq!(reader.skipped()[DAMAGED_FILE], 1);
    assert!(reader.next_batch().unwrap().is_none());
    assert_eq!(reader.skipped()[DAMAGED_FILE], 1);
}

#[test]
fn rows_resume_behind_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    let usable = (0..4000).filter(|n| n % 7 != 0).count();
    let records = |from: usize, to: usize| {
        let texts = (from..to).map(|n| (n % 7 != 0).then(|| format!("text {n}"))).collect::<StringArray>();
        RecordBatch::try_from_iter_with_nullable([("text", Arc::new(texts) as ArrayRef, true)]).unwrap()
    };
    let all = records(0, 4000);
    let path = folder.path().join("a.parquet");
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(900)).build();
    let file = File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, all.schema(), Some(properties)).unwrap();
    writer.write(&all).unwrap();
    writer.close().unwrap();
    check("parquet", json!({}), &path, usable);
    let path = folder.path().join("a.arrows");
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(File::create(&path).unwrap(), &all.schema()).unwrap();
    for start in (0..4000).step_by(500) {
        writer.write(&records(start, start + 500)).unwrap();
    }
    writer.finish().unwrap();
    check("arrow", json!({}), &path, usable);
}
