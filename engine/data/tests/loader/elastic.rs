//! Ranks, threads and resumes change nothing.

use psann_core::tokens::{BatchStream, Cursor, Skip};
use psann_data::Split;
use psann_data::loader::TrainingText;

use crate::support::{batches, documents, loader, merged, prepare, random, ranks};

/// The same documents in memory and, as shards, read from disk.
fn texts() -> (tempfile::TempDir, [TrainingText; 2]) {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path(), &documents(150), 40);
    let on_disk = TrainingText::prepared(folder.path(), Split::Train).in_memory(0);
    (folder, [TrainingText::documents(documents(150)), on_disk])
}

#[test]
fn ranks_together_see_the_batch_that_one_rank_sees() {
    let (_folder, texts) = texts();
    for text in texts {
        let alone = batches(&mut loader(&text, |_| {}), 20);
        for count in [2, 3, 4, 8] {
            let mut of_rank: Vec<_> = ranks(&text, count, 1).iter_mut().map(|rank| batches(rank, 20)).collect();
            for (step, whole) in alone.iter().enumerate() {
                for (row, expected) in whole.tokens.chunks(whole.columns).enumerate() {
                    let batch = &mut of_rank[row % count][step];
                    assert_eq!(batch.rows, (row % count..8).step_by(count).count());
                    assert_eq!(&batch.tokens[(row / count) * batch.columns..][..batch.columns], expected);
                }
            }
        }
    }
}

#[test]
fn the_rolling_hash_is_the_same_for_any_ranks_threads_and_resumes() {
    let (_folder, texts) = texts();
    let mut state = 1;
    for text in texts {
        let mut straight = loader(&text, |o| o.threads = 4);
        batches(&mut straight, 120);
        let expected = straight.cursor();
        for _ in 0..6 {
            let mut cursor: Option<Cursor> = None;
            let mut at = 0;
            while at < 120 {
                let count = [1, 2, 3, 4, 8][random(&mut state) as usize % 5];
                let mut loaders = ranks(&text, count, [1, 4][random(&mut state) as usize % 2]);
                if let Some(cursor) = &cursor {
                    let stored = serde_json::to_string(cursor).unwrap();
                    for rank in &mut loaders {
                        rank.seek(&serde_json::from_str(&stored).unwrap()).unwrap();
                    }
                }
                let steps = (1 + random(&mut state) as usize % 40).min(120 - at);
                for rank in &mut loaders {
                    batches(rank, steps);
                }
                at += steps;
                cursor = Some(merged(&loaders));
            }
            assert_eq!(cursor.unwrap(), expected);
        }
    }
}

#[test]
fn seeds_and_windows_give_other_orders_of_the_same_text() {
    let (_folder, [text, _]) = texts();
    let first = batches(&mut loader(&text, |_| {}), 1);
    assert_ne!(first, batches(&mut loader(&text, |o| o.seed = 6), 1));
    assert_eq!(first, batches(&mut loader(&text, |_| {}), 1));
}

#[test]
fn batches_that_are_left_out_are_drawn_and_thrown_away() {
    let (_folder, [_, text]) = texts();
    let all = batches(&mut loader(&text, |_| {}), 12);
    let mut skipping = loader(&text, |o| o.skip = vec![Skip(3, 5), Skip(8, 8)]);
    let left = batches(&mut skipping, 8);
    let expected: Vec<_> = [1, 2, 6, 7, 9, 10, 11, 12].map(|draw: usize| all[draw - 1].clone()).into();
    assert_eq!(left, expected);
    let cursor = skipping.cursor();
    assert_eq!((cursor.batches, cursor.drawn), (8, 12));
    // A guard goes back and leaves out what it found; whoever resumes later leaves it out too.
    let mut guarded = loader(&text, |_| {});
    batches(&mut guarded, 1);
    let before = guarded.cursor();
    batches(&mut guarded, 4);
    guarded.seek(&before).unwrap();
    guarded.skip(Skip(3, 5)).unwrap();
    assert_eq!(batches(&mut guarded, 2), [all[1].clone(), all[5].clone()]);
    let mut resumed = loader(&text, |_| {});
    resumed.seek(&before).unwrap();
    resumed.skip(Skip(3, 5)).unwrap();
    let cursor = resumed.cursor();
    let mut again = loader(&text, |_| {});
    again.seek(&cursor).unwrap();
    assert_eq!(batches(&mut again, 2), [all[1].clone(), all[5].clone()]);
    assert_eq!(again.cursor(), guarded.cursor());
}

#[test]
fn documents_are_numbered_within_a_row() {
    let (_folder, texts) = texts();
    for text in texts {
        let mut loader = loader(&text, |o| o.separate_documents = true);
        for batch in batches(&mut loader, 10) {
            let documents = batch.documents.unwrap();
            for (tokens, documents) in batch.tokens.chunks(batch.columns).zip(documents.chunks(batch.columns)) {
                assert_eq!(documents[0], 0);
                for pair in 1..tokens.len() {
                    let step = documents[pair] - documents[pair - 1];
                    assert!(step <= 1);
                    let begins = tokens[pair] == crate::support::BOS || tokens[pair - 1] == crate::support::EOS;
                    assert!(!begins || step == 1, "a document begins with a new number");
                }
            }
        }
    }
}

#[test]
fn the_sources_of_a_row_tell_its_text() {
    let (_folder, texts) = texts();
    let documents = documents(150);
    for text in texts {
        let mut loader = loader(&text, |o| (o.rank, o.ranks) = (1, 3));
        for _ in 0..15 {
            let batch = loader.next_batch().unwrap();
            let sources = loader.sources();
            assert_eq!(sources.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 4, 7]);
            for (row, tokens) in sources.iter().zip(batch.tokens.chunks(batch.columns)) {
                let mut told = Vec::new();
                for span in &row.spans {
                    let number: usize = span.id.as_ref().unwrap()[3..].parse().unwrap();
                    let text = documents[number].text.as_bytes();
                    let (start, end) = (span.bytes.0 as usize, span.bytes.1 as usize);
                    let mut piece: Vec<u32> = text[start..end].iter().map(|byte| u32::from(*byte)).collect();
                    if start == 0 {
                        piece.insert(0, crate::support::BOS);
                    }
                    if end == text.len() {
                        piece.push(crate::support::EOS);
                    }
                    told.extend_from_slice(&piece[span.offset as usize..][..span.tokens as usize]);
                }
                assert_eq!(told, tokens);
            }
        }
    }
}
