use std::collections::BTreeMap;

use super::*;

/// Documents of growing length; every token occurs once in the corpus.
fn corpus() -> Corpus {
    let mut next = 0;
    Corpus::new((0..23).map(|n| {
        let length = 3 + n * 2;
        next += length;
        (next - length..next).collect::<Vec<u32>>()
    }))
}

fn options() -> LoaderOptions {
    LoaderOptions { seq_len: 7, rows: 4, seed: 5, rank: 0, ranks: 1, separate_documents: false }
}

fn loader(change: impl FnOnce(&mut LoaderOptions)) -> Loader {
    let mut options = options();
    change(&mut options);
    Loader::new(corpus(), options).unwrap()
}

fn batches(loader: &mut Loader, count: usize) -> Vec<TokenBatch> {
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn ranks_together_see_the_batch_that_one_rank_sees() {
    let alone = batches(&mut loader(|_| {}), 20);
    for ranks in [2, 4] {
        let mut of_rank: Vec<_> =
            (0..ranks).map(|rank| batches(&mut loader(|o| (o.rank, o.ranks) = (rank, ranks)), 20)).collect();
        for (step, whole) in alone.iter().enumerate() {
            for (row, expected) in whole.tokens.chunks(whole.columns).enumerate() {
                let batch = &mut of_rank[row % ranks][step];
                let columns = batch.columns;
                assert_eq!(&batch.tokens[(row / ranks) * columns..][..columns], expected);
            }
        }
    }
}

#[test]
fn a_row_goes_on_where_it_stopped_and_each_target_is_served_once_an_epoch() {
    let total = corpus().tokens() as usize;
    let mut loader = loader(|_| {});
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    let mut last = [None; 4];
    for batch in batches(&mut loader, total * 3 / 28) {
        for (row, tokens) in batch.tokens.chunks(batch.columns).enumerate() {
            if let Some(last) = last[row] {
                assert_eq!(tokens[0], last, "windows share one token");
            }
            last[row] = tokens.last().copied();
            tokens[1..].iter().for_each(|token| *seen.entry(*token).or_default() += 1);
        }
    }
    // Three epochs' worth of targets; rows are not at the same place of an epoch, so counts may be off by one or two.
    assert!(seen.len() > total * 95 / 100, "{} of {total}", seen.len());
    assert!(seen.values().all(|count| (1..=5).contains(count)), "{seen:?}");
}

#[test]
fn resuming_anywhere_gives_the_same_batches_and_hash() {
    let mut straight = loader(|_| {});
    let expected = batches(&mut straight, 30);
    for at in [0, 1, 13, 29] {
        let mut first = loader(|_| {});
        batches(&mut first, at);
        let text = serde_json::to_string(&first.cursor()).unwrap();
        let mut resumed = loader(|_| {});
        resumed.seek(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(batches(&mut resumed, 30 - at), expected[at..]);
        assert_eq!(resumed.cursor(), straight.cursor());
    }
}

#[test]
fn a_cursor_of_other_text_is_refused() {
    let mut before = loader(|_| {});
    batches(&mut before, 3);
    let cursor = before.cursor();
    let mut other = Loader::new(Corpus::new([(0..600).rev().collect::<Vec<u32>>()]), options()).unwrap();
    let error = other.seek(&cursor).unwrap_err();
    assert!(error.to_string().contains("not the one the checkpoint was made with"), "{error}");
    assert!(loader(|o| o.rows = 8).seek(&cursor).is_err());
    assert!(loader(|o| o.seed = 6).seek(&cursor).is_err());
}

#[test]
fn documents_are_numbered_within_a_row() {
    let batch = loader(|o| o.separate_documents = true).next_batch().unwrap();
    let documents = batch.documents.unwrap();
    for (tokens, documents) in batch.tokens.chunks(batch.columns).zip(documents.chunks(batch.columns)) {
        assert_eq!(documents[0], 0);
        for pair in 1..tokens.len() {
            let same_document = tokens[pair] == tokens[pair - 1] + 1;
            assert_eq!(documents[pair], documents[pair - 1] + u32::from(!same_document), "{tokens:?} {documents:?}");
        }
    }
}

#[test]
fn one_short_document_fills_any_batch() {
    let mut loader = Loader::new(Corpus::new([vec![1, 2, 3]]), options()).unwrap();
    assert_eq!(loader.next_batch().unwrap().tokens[..8], [1, 2, 3, 1, 2, 3, 1, 2]);
    assert!(Loader::new(Corpus::default(), options()).is_err());
    assert!(Loader::new(corpus(), LoaderOptions { ranks: 3, ..options() }).is_err());
}
