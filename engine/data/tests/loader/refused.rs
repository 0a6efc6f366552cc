//! What cannot be trained on is refused by name.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use psann_core::Document;
use psann_core::plan::Component;
use psann_core::registry::Kind;
use psann_core::tokens::{BatchStream, Skip};
use psann_data::Split;
use psann_data::loader::{Loader, LoaderOptions, TrainingText};
use serde_json::json;

use crate::support::{Bytes, batches, documents, loader, options, prepare};

fn refused(text: &TrainingText, options: LoaderOptions) -> String {
    Loader::new(text, Arc::new(Bytes), options).err().unwrap().to_string()
}

/// Documents of the same length that say something else.
fn changed() -> Vec<Document> {
    documents(60).into_iter().map(|document| Document { text: document.text.to_uppercase(), ..document }).collect()
}

#[test]
fn a_cursor_of_other_text_is_refused_with_row_file_and_document() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepare(folder.path(), &documents(60), 25);
    prepare(other.path(), &changed(), 25);
    for in_memory in [0, 1 << 20] {
        let text = TrainingText::prepared(folder.path(), Split::Train).in_memory(in_memory);
        let other = TrainingText::prepared(other.path(), Split::Train).in_memory(in_memory);
        let mut before = loader(&text, |_| {});
        batches(&mut before, 3);
        let cursor = before.cursor();
        let mut stream = loader(&other, |o| (o.rank, o.ranks) = (1, 3));
        let error = stream.seek(&cursor).unwrap_err().to_string();
        assert!(error.contains("not the one the checkpoint was made with: row 1 "), "{error}");
        assert!(error.contains(".parquet`, document "), "{error}");
        let undisturbed = batches(&mut loader(&other, |o| (o.rank, o.ranks) = (1, 3)), 2);
        assert_eq!(batches(&mut stream, 2), undisturbed, "the stream stays where it was");
        for change in [|o: &mut LoaderOptions| o.rows = 4, |o: &mut LoaderOptions| o.seed = 6] {
            assert!(loader(&text, change).seek(&cursor).is_err());
        }
    }
}

#[test]
fn a_shard_that_changed_since_the_manifest_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &documents(60), 25);
    let text = TrainingText::prepared(folder.path(), Split::Train).in_memory(0);
    let shard = Split::Train.shard(folder.path(), 1);
    let whole = fs::read(&shard).unwrap();
    let mut file = File::options().write(true).open(&shard).unwrap();
    file.seek(SeekFrom::Start(whole.len() as u64 / 2)).unwrap();
    file.write_all(b"other").unwrap();
    let error = refused(&text, options());
    assert!(error.contains("00001.parquet` is damaged: it changed"), "{error}");
    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    assert!(refused(&text, options()).contains("00001.parquet` is damaged"));
    fs::remove_file(&shard).unwrap();
    assert!(refused(&text, options()).contains("00001.parquet"));
}

#[test]
fn a_file_that_breaks_in_the_middle_of_a_run_is_told_at_its_step_and_ends_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let line = |n: usize| {
        if n == 700 { "{broken\n".to_owned() } else { format!("{}\n", json!({ "text": "word ".repeat(99) })) }
    };
    fs::write(&path, (0..2000).map(line).collect::<String>()).unwrap();
    let options = json!({ "path": path.display().to_string() });
    let text = TrainingText::source(&Component { options, ..Component::new(Kind::Source, "jsonl") }).unwrap();
    let mut stream = loader(&text.in_memory(0), |_| {});
    let error = (0..2000).find_map(|_| stream.next_batch().err()).unwrap().to_string();
    assert!(error.contains("a.jsonl"), "{error}");
    assert!(stream.next_batch().is_err());
    // Asking where it stands must not wait for what will never come.
    stream.cursor();
}

#[test]
fn what_cannot_make_a_batch_is_refused() {
    let text = TrainingText::documents(documents(5));
    let error = refused(&text, LoaderOptions { rank: 8, ranks: 9, ..options() });
    assert!(error.contains("8 sequences cannot be shared among 9"), "{error}");
    assert!(refused(&TrainingText::documents([]), options()).contains("nothing to train on"));
    assert!(refused(&text, LoaderOptions { rows: 0, ..options() }).contains("at least 1"));
    assert!(refused(&text, LoaderOptions { skip: vec![Skip(5, 4)], ..options() }).contains("[5, 4]"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), "\n\n\n").unwrap();
    let options = json!({ "path": folder.path().join("a.jsonl").display().to_string() });
    let empty = TrainingText::source(&Component { options, ..Component::new(Kind::Source, "jsonl") }).unwrap();
    assert!(refused(&empty, self::options()).contains("nothing to train on"));
    let error = loader(&empty.in_memory(0), |_| {}).next_batch().unwrap_err().to_string();
    assert!(error.contains("nothing to train on"), "{error}");
    let missing = TrainingText::prepared(folder.path(), Split::Train);
    assert!(refused(&missing, self::options()).contains("manifest.json"));
}

#[test]
fn documents_without_text_are_no_text() {
    let text = TrainingText::documents([Document::default(), Document { text: "a".into(), ..Document::default() }]);
    let tokens = loader(&text, |_| {}).next_batch().unwrap().tokens;
    assert!(tokens.contains(&97) && tokens.windows(2).any(|pair| pair == [256, 257]));
}
