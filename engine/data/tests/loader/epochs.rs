//! Within an epoch no document is lost or doubled, whatever the text is read from.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use psann_core::observer::Silent;
use psann_core::plan::Component;
use psann_core::registry::Kind;
use psann_core::tokens::BatchStream;
use psann_core::{Document, Tokenizer};
use psann_data::Split;
use psann_data::loader::{HeldOutOptions, TrainingText, count_tokens, validation_batches};
use psann_plugins_data as _;
use serde_json::{Value, json};

use crate::support::{Bytes, batches, documents, loader, prepare};

/// Tokens of each document that were targets or inputs in epoch 1, which every row begins and ends in the middle of a run.
fn tokens_of_an_epoch(
    text: &TrainingText,
    id_of: impl Fn(&psann_core::tokens::Span) -> String,
) -> BTreeMap<String, u64> {
    let mut loader = loader(text, |_| {});
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let mut last: Vec<(u64, String, u64)> = vec![(0, String::new(), 0); 8];
    while last.iter().any(|(epoch, ..)| *epoch < 2) {
        loader.next_batch().unwrap();
        for (row, last) in loader.sources().iter().zip(&mut last) {
            for span in &row.spans {
                let here = (span.epoch, format!("{} {:?} {}", id_of(span), span.bytes, span.epoch), span.offset);
                // The first token of a row is the last of the one before.
                let again = u64::from(*last == here);
                if span.epoch == 1 {
                    *found.entry(id_of(span)).or_default() += span.tokens - again;
                }
                *last = (here.0, here.1, here.2 + span.tokens - 1);
            }
        }
    }
    found
}

fn id(span: &psann_core::tokens::Span) -> String {
    span.id.clone().unwrap()
}

fn expected(documents: &[Document]) -> BTreeMap<String, u64> {
    let of = |document: &Document| (document.id.clone().unwrap(), document.text.len() as u64 + 2);
    documents.iter().map(of).collect()
}

fn source(name: &str, options: Value) -> TrainingText {
    TrainingText::source(&Component { options, ..Component::new(Kind::Source, name) }).unwrap()
}

fn lines(path: &Path, documents: &[Document]) {
    let mut text = String::new();
    for document in documents {
        writeln!(text, "{}", json!({ "text": document.text, "id": document.id })).unwrap();
    }
    fs::write(path, text).unwrap();
}

#[test]
fn an_epoch_of_a_prepared_corpus_holds_each_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let all = documents(120);
    prepare(folder.path(), &all, 50);
    let text = TrainingText::prepared(folder.path(), Split::Train);
    assert_eq!(tokens_of_an_epoch(&text, id), expected(&all));
    assert_eq!(tokens_of_an_epoch(&text.in_memory(0), id), expected(&all));
}

#[test]
fn an_epoch_of_a_source_holds_each_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let all = documents(90);
    lines(Path::new(&path("a.jsonl")), &all[..60]);
    lines(Path::new(&path("b.jsonl")), &all[60..]);
    let packed = zstd::encode_all(&*fs::read(path("a.jsonl")).unwrap(), 1).unwrap();
    fs::write(path("a.jsonl.zst"), packed).unwrap();
    let parquet = folder.path().join("prepared");
    prepare(&parquet, &all, 25);
    let shards = Split::Train.folder(&parquet).join("*.parquet").display().to_string();
    for (name, options, of) in [
        ("jsonl", json!({ "path": path("*.jsonl") }), &all[..]),
        ("jsonl", json!({ "path": path("a.jsonl.zst") }), &all[..60]),
        ("parquet", json!({ "path": shards }), &all[..]),
    ] {
        let text = source(name, options);
        assert_eq!(tokens_of_an_epoch(&text, id), expected(of), "{name} in memory");
        assert_eq!(tokens_of_an_epoch(&text.in_memory(0), id), expected(of), "{name} on disk");
    }
    let part = |name: &str, path: &str| json!({ "source": { "plugin": format!("source/{name}"), "options": { "path": path } } });
    let mixed = json!({ "parts": [part("jsonl", &path("a.jsonl.zst")), part("jsonl", &path("b.jsonl"))] });
    assert_eq!(tokens_of_an_epoch(&source("mix", mixed).in_memory(0), id), expected(&all), "mix");
    fs::create_dir(path("files")).unwrap();
    for (number, document) in all.iter().enumerate().step_by(9) {
        fs::write(folder.path().join(format!("files/{number}.txt")), &document.text).unwrap();
    }
    let files = source("text", json!({ "path": path("files/*.txt"), "documents": "file" })).in_memory(0);
    let found = tokens_of_an_epoch(&files, |span| span.file.clone());
    assert_eq!(found.len(), 10);
    assert_eq!(found[&path("files/27.txt")], all[27].text.len() as u64 + 2);
    let plain: String = all.iter().map(|document| format!("{}\n", document.text)).collect();
    fs::write(path("plain.txt"), plain).unwrap();
    let text = source("text", json!({ "path": path("plain.txt"), "documents": "line" })).in_memory(0);
    let sum: u64 = tokens_of_an_epoch(&text, |span| span.file.clone()).values().sum();
    assert_eq!(sum, expected(&all).values().sum::<u64>());
}

#[test]
fn a_source_on_disk_gives_the_same_batches_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    lines(&path, &documents(90));
    let packed = folder.path().join("a.jsonl.zst");
    fs::write(&packed, zstd::encode_all(&*fs::read(&path).unwrap(), 1).unwrap()).unwrap();
    for path in [path, packed] {
        let text = source("jsonl", json!({ "path": path.display().to_string() })).in_memory(0);
        let mut straight = loader(&text, |_| {});
        let expected = batches(&mut straight, 60);
        for at in [1, 17, 44] {
            let mut first = loader(&text, |_| {});
            batches(&mut first, at);
            let mut resumed = loader(&text, |o| o.threads = 1);
            resumed.seek(&first.cursor()).unwrap();
            assert_eq!(batches(&mut resumed, 60 - at), expected[at..]);
            assert_eq!(resumed.cursor(), straight.cursor());
        }
    }
}

#[test]
fn one_short_document_fills_any_batch_and_begins_and_ends_each_time() {
    let text = TrainingText::documents([Document { text: "ab".into(), ..Document::default() }]);
    let tokens = loader(&text, |_| {}).next_batch().unwrap().tokens;
    assert_eq!(tokens[..9], [256, 97, 98, 257, 256, 97, 98, 257, 256]);
}

#[test]
fn a_book_is_shared_by_all_rows() {
    let book: String = (0..40_000).map(|word| format!("w{word} ")).collect();
    let folder = tempfile::tempdir().unwrap();
    let book = [Document { text: book, ..Document::default() }];
    prepare(folder.path(), &book, 1);
    let text = TrainingText::prepared(folder.path(), Split::Train);
    for text in [text.clone(), text.in_memory(0)] {
        let mut loader = loader(&text, |_| {});
        loader.next_batch().unwrap();
        let mut starts: Vec<u64> = loader.sources().iter().map(|row| row.spans[0].bytes.0).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), 8, "each row reads another part");
    }
}

#[test]
fn tokens_are_counted_once_and_the_counts_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let all = documents(60);
    prepare(folder.path(), &all, 50);
    let tokenizer: Arc<dyn Tokenizer> = Arc::new(Bytes);
    let text = TrainingText::prepared(folder.path(), Split::Train);
    let count = |text: &TrainingText| count_tokens(text, &tokenizer, 64, folder.path(), &Silent).unwrap();
    let counts = count(&text);
    assert_eq!(counts.tokens, expected(&all).values().sum::<u64>());
    assert_eq!((counts.documents, counts.counts[257], counts.counts[256]), (60, 60, 60));
    assert_eq!(counts.counts.iter().sum::<u64>(), counts.tokens);
    // Only the kept file can know this text now.
    let shard = Split::Train.shard(folder.path(), 0);
    let bytes = fs::read(&shard).unwrap();
    fs::remove_file(&shard).unwrap();
    assert_eq!(count(&text), counts);
    fs::write(&shard, bytes).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(count_tokens(&text.in_memory(0), &tokenizer, 64, fresh.path(), &Silent).unwrap(), counts);
}

#[test]
fn held_out_text_is_read_in_order_and_only_as_far_as_it_is_used() {
    let options = HeldOutOptions { seq_len: 4, rows: 2, batches: 2, rank: 0, ranks: 1, separate_documents: true };
    let mut read = 0;
    let documents = std::iter::repeat_with(|| {
        read += 1;
        Ok(Document { text: "abc".into(), ..Document::default() })
    });
    let batches = validation_batches(documents.take(1000), &Bytes, options).unwrap();
    let tokens: Vec<Vec<u32>> = batches.iter().map(|batch| batch.tokens.clone()).collect();
    assert_eq!(
        tokens,
        [[256, 97, 98, 99, 257, 257, 256, 97, 98, 99], [99, 257, 256, 97, 98, 98, 99, 257, 256, 97]],
        "every target once"
    );
    assert_eq!(batches[0].documents.as_ref().unwrap()[..10], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(read, 4);
    let of_rank = |rank| {
        let text = std::iter::repeat_n("abc", 4).map(|text| Ok(Document { text: text.into(), ..Document::default() }));
        validation_batches(text, &Bytes, HeldOutOptions { rank, ranks: 2, ..options }).unwrap()
    };
    assert_eq!(of_rank(1)[0].tokens, tokens[0][5..]);
    assert_eq!(of_rank(0)[1].tokens, tokens[1][..5]);
    let short = [Ok(Document { text: "a".into(), ..Document::default() })];
    assert_eq!(validation_batches(short, &Bytes, options).unwrap()[0].tokens, [256, 97, 257]);
    assert!(validation_batches(Vec::new(), &Bytes, options).unwrap().is_empty());
}
