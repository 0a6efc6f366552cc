//! Corpora and a tokenizer for tests.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use psann_core::tokenizer::SpecialTokens;
use psann_core::tokens::{BatchStream, Cursor, TokenBatch};
use psann_core::{Batch, BatchBuilder, Document, Result, Tokenizer};
use psann_data::documents::{Manifest, ShardFile, ShardWriter, Split};
use psann_data::loader::{Loader, LoaderOptions, TrainingText};
use psann_data::prepare::rows::Rows;

/// A byte is a token; 256 begins a document and 257 ends it.
pub struct Bytes;

pub const BOS: u32 = 256;
pub const EOS: u32 = 257;

impl Tokenizer for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    fn encode_markup(&self, text: &str, _: bool) -> Result<Vec<u32>> {
        self.encode(text)
    }

    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let of_char =
            |(at, c): (usize, char)| c.to_string().into_bytes().into_iter().map(move |b| (b.into(), at..at + 1));
        Ok(text.chars().enumerate().flat_map(of_char).collect())
    }

    fn spelling(&self, id: u32) -> Option<String> {
        self.decode(&[id]).ok()
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let bytes = ids.iter().filter_map(|id| u8::try_from(*id).ok()).collect();
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn vocabulary(&self) -> usize {
        258
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens { bos: Some(BOS), eos: Some(EOS), ..SpecialTokens::default() }
    }

    fn identity(&self) -> String {
        "bytes".into()
    }
}

/// `count` documents of 20 to 1500 bytes and every 13th one of some 20 kB.
pub fn documents(count: usize) -> Vec<Document> {
    let words = |number: usize| match number % 13 {
        7 => 1700,
        rest => 2 + rest * 11 + number % 5,
    };
    let text = |number: usize| (0..words(number)).map(|word| format!("d{number}w{word} ")).collect::<String>();
    (0..count)
        .map(|number| Document { text: text(number), id: Some(format!("id-{number}")), ..Document::default() })
        .collect()
}

pub fn batch(documents: &[Document]) -> Batch {
    let mut builder = BatchBuilder::default();
    documents.iter().cloned().for_each(|document| builder.push(document));
    builder.finish().unwrap()
}

/// A prepared corpus of the documents, `of_shard` in each shard.
pub fn prepare(folder: &Path, documents: &[Document], of_shard: usize) {
    fs::create_dir_all(Split::Train.folder(folder)).unwrap();
    let shards: Vec<ShardFile> = documents
        .chunks(of_shard)
        .enumerate()
        .map(|(number, part)| {
            let mut writer = ShardWriter::create(&Split::Train.shard(folder, number), number).unwrap();
            writer.push(&Rows::number(&batch(part), 0, (number * of_shard) as u64).unwrap()).unwrap();
            writer.publish().unwrap()
        })
        .collect();
    Manifest::new("test", shards, Vec::new()).write(folder).unwrap();
}

pub fn options() -> LoaderOptions {
    LoaderOptions { seq_len: 64, rows: 8, seed: 5, threads: 2, ..LoaderOptions::default() }
}

pub fn loader(text: &TrainingText, change: impl FnOnce(&mut LoaderOptions)) -> Loader {
    let mut options = options();
    change(&mut options);
    Loader::new(text, Arc::new(Bytes), options).unwrap()
}

/// One loader for each rank.
pub fn ranks(text: &TrainingText, ranks: usize, threads: usize) -> Vec<Loader> {
    (0..ranks).map(|rank| loader(text, |o| (o.rank, o.ranks, o.threads) = (rank, ranks, threads))).collect()
}

pub fn batches(loader: &mut Loader, count: usize) -> Vec<TokenBatch> {
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

pub fn merged(loaders: &[Loader]) -> Cursor {
    Cursor::merge(loaders.iter().map(BatchStream::cursor)).unwrap()
}

/// Numbers that look random.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
