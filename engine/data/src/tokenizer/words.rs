//! A cache of words in front of a byte-level BPE. Most of a text is made of words that were met before; their ids are
//! looked up instead of found again by regular expression and merges.
//!
//! GPT-2's expression (`'s|'t|… | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`) looks ahead by one character and
//! never behind, and what is merged lies within a match. A text can therefore be cut, and its parts encoded by themselves,
//! wherever a match is sure to end: before a blank that stands in front of a word, which it is matched with; around a line
//! break in front of a word, which is a match of its own; and before a line break behind a word. The ids are those of the
//! whole text.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use memchr::memchr2_iter;
use psann_core::Result;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Slots of a table; half of them are used at most. Enough for nearly all words of a large corpus by frequency.
const SLOTS: usize = 1 << 17;
/// Parts that are longer are seldom met twice.
const LONGEST: usize = 64;

/// Caches that threads take while they encode a text, one each.
pub struct WordCaches(Mutex<Vec<Words>>);

impl WordCaches {
    /// Caches for a tokenizer with this `tokenizer.json`; `None` where words cannot be encoded by themselves.
    pub fn of(json: &str) -> Option<Self> {
        let tokenizer: Value = serde_json::from_str(json).ok()?;
        let pre = &tokenizer["pre_tokenizer"];
        let model = &tokenizer["model"];
        let is_nothing = |value: &Value| value.is_null();
        let is_gpt2 = pre["type"] == "ByteLevel"
            && pre["add_prefix_space"] == false
            && pre.get("use_regex").is_none_or(|regex| *regex == true);
        let is_bpe = model["type"] == "BPE" && is_nothing(&model["dropout"]);
        // A token that was added to the vocabulary may be found anywhere in the text, unless it is special.
        let added = tokenizer["added_tokens"].as_array();
        let all_special = added.is_none_or(|tokens| tokens.iter().all(|token| token["special"] == true));
        let plain = ["normalizer", "truncation", "padding"].iter().all(|part| is_nothing(&tokenizer[*part]));
        (is_gpt2 && is_bpe && all_special && plain).then(|| Self(Mutex::new(Vec::new())))
    }

    /// The ids of `text`; `encode` gives those of a part.
    pub fn encode(&self, text: &str, encode: impl Fn(&str) -> Result<Vec<u32>>) -> Result<Vec<u32>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = lock().pop().unwrap_or_else(Words::new);
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut start = 0;
        let mut part = |end: usize| -> Result<()> {
            let word = &text[start..end];
            start = end;
            if word.len() > LONGEST {
                ids.extend(encode(word)?);
                return Ok(());
            }
            let hash = xxh3_64(word.as_bytes());
            if let Some(known) = words.get(hash, word.as_bytes()) {
                ids.extend_from_slice(known);
                return Ok(());
            }
            let found = encode(word)?;
            words.insert(hash, word.as_bytes(), &found);
            ids.extend(found);
            Ok(())
        };
        for_each_cut(text, &mut part)?;
        if !text.is_empty() {
            part(text.len())?;
        }
        lock().push(words);
        Ok(ids)
    }
}

impl fmt::Debug for WordCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WordCaches")
    }
}

/// Calls `part` for the end of each part that `text` can be cut into but the last.
fn for_each_cut(text: &str, mut part: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let bytes = text.as_bytes();
    for at in memchr2_iter(b' ', b'\n', bytes).filter(|at| *at > 0) {
        let word_follows = begins_word(text, at + 1);
        let is_break = bytes[at] == b'\n';
        if word_follows || is_break && bytes[at - 1].is_ascii_graphic() {
            part(at)?;
        }
        if word_follows && is_break {
            part(at + 1)?;
        }
    }
    Ok(())
}

/// Whether a character stands at `at` that is surely no white space, in whatever version of Unicode.
fn begins_word(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at) {
        None => false,
        Some(byte) if byte.is_ascii() => byte.is_ascii_graphic(),
        Some(_) => {
            let next = text.get(at..).and_then(|rest| rest.chars().next());
            next.is_some_and(|next| next.is_alphabetic() || ('\u{2010}'..='\u{2027}').contains(&next))
        }
    }
}

/// Words and their ids, by hash; emptied when it is full.
struct Words {
    slots: Vec<Slot>,
    used: usize,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

/// An entry: where its word and its ids begin, and how long they are. An empty one has no length.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    hash: u64,
    word: u32,
    ids: u32,
    word_len: u8,
    ids_len: u8,
}

impl Words {
    fn new() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], used: 0, bytes: Vec::new(), ids: Vec::new() }
    }

    fn get(&self, hash: u64, word: &[u8]) -> Option<&[u32]> {
        let mut at = hash as usize % SLOTS;
        loop {
            let slot = self.slots[at];
            if slot.word_len == 0 {
                return None;
            }
            let start = slot.word as usize;
            if slot.hash == hash && self.bytes[start..start + slot.word_len as usize] == *word {
                let start = slot.ids as usize;
                return Some(&self.ids[start..start + slot.ids_len as usize]);
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// Adds a word of 1 to [`LONGEST`] bytes that is not there.
    fn insert(&mut self, hash: u64, word: &[u8], ids: &[u32]) {
        let (Ok(word_len), Ok(ids_len)) = (u8::try_from(word.len()), u8::try_from(ids.len())) else { return };
        if self.used >= SLOTS / 2 {
            self.slots.fill(Slot::default());
            self.used = 0;
            self.bytes.clear();
            self.ids.clear();
        }
        let mut at = hash as usize % SLOTS;
        while self.slots[at].word_len > 0 {
            at = (at + 1) % SLOTS;
        }
        let slot = Slot { hash, word: self.bytes.len() as u32, ids: self.ids.len() as u32, word_len, ids_len };
        self.slots[at] = slot;
        self.used += 1;
        self.bytes.extend_from_slice(word);
        self.ids.extend_from_slice(ids);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::{TextTokenizer, TrainBpeOptions, train_bpe};
    use psann_core::Tokenizer;
    use psann_core::quantity::Count;

    fn trained(texts: &[String]) -> TextTokenizer {
        train_bpe(&TrainBpeOptions { vocab: Count(1000), ..TrainBpeOptions::default() }, texts).unwrap()
    }

    fn classics() -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/corpus/classics.jsonl.zst");
        let lines = String::from_utf8(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap()).unwrap();
        let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
        lines.lines().map(text).collect()
    }

    #[test]
    fn real_text_has_the_ids_that_it_has_without_the_cache() {
        let texts = classics();
        let tokenizer = trained(&texts[..40]);
        for text in texts.iter().step_by(4) {
            assert_eq!(tokenizer.encode(text).unwrap(), tokenizer.encode_without_cache(text).unwrap());
        }
    }

    #[test]
    fn a_full_cache_starts_over() {
        let mut words = Words::new();
        let word = |n: usize| format!("w{n}").into_bytes();
        for n in 0..SLOTS {
            let hash = xxh3_64(&word(n));
            assert_eq!(words.get(hash, &word(n)), None);
            words.insert(hash, &word(n), &[n as u32, 1]);
            assert_eq!(words.get(hash, &word(n)), Some(&[n as u32, 1][..]));
        }
        assert!(words.used <= SLOTS / 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_text_has_the_ids_that_it_has_without_the_cache(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[ \n\t\r\u{a0}\u{85}\u{2003}\u{3000}\u{200b}\u{feff}\u{1c}]{1,3}", "[a-z]{1,4}", "'(s|ll|t|RE|x)",
                    "[0-9\u{b2}\u{0665}]{1,3}", "[.,!?\"\u{2014}\u{201c}\u{2019}-]{1,2}", "\\PC{1,2}", "[é字\u{301}]",
                    Just(" the".to_owned()), Just("<|eos|>".to_owned()),
                ],
                0..24,
            )
        ) {
            let tokenizer = TOKENIZER.get_or_init(|| trained(&["the theme of the thesis, the rest 's 'll\n\n the ".repeat(9)]));
            let text = parts.concat();
            prop_assert_eq!(tokenizer.encode(&text).unwrap(), tokenizer.encode_without_cache(&text).unwrap());
        }
    }

    static TOKENIZER: std::sync::OnceLock<TextTokenizer> = std::sync::OnceLock::new();
}
