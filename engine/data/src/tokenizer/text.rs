//! [`TextTokenizer`]: core's trait over the `tokenizers` crate.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use psann_core::tokenizer::SpecialTokens;
use psann_core::{Error, Result, Tokenizer};
use rayon::prelude::*;
use serde_json::json;

use super::folder::{Beside, NAMES, NamedTemplate};
use super::words::WordCaches;
use crate::files;

/// A tokenizer from a Hugging Face `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    inner: tokenizers::Tokenizer,
    /// The same, reading spelled special tokens as those tokens; made when first asked for.
    markup: OnceLock<Box<tokenizers::Tokenizer>>,
    special: SpecialTokens,
    /// Spelling of bos, eos, pad and unk.
    spelling: [Option<String>; 4],
    vocabulary: usize,
    /// What stood beside it.
    beside: Beside,
    words: Option<Arc<WordCaches>>,
}

impl TextTokenizer {
    /// Wraps a tokenizer; `spelling` names bos, eos, pad and unk where they exist.
    ///
    /// # Errors
    /// When a named token is not in the vocabulary.
    pub fn new(mut inner: tokenizers::Tokenizer, spelling: [Option<String>; 4]) -> Result<Self> {
        // The text of a document may spell a special token; it stays text.
        inner.set_encode_special_tokens(true);
        let id = |name: &Option<String>| match name {
            None => Ok(None),
            Some(name) => inner.token_to_id(name).map(Some).ok_or_else(|| {
                Error::new(format!("the special token `{name}` is not in the tokenizer's vocabulary"))
                    .hint("correct special_tokens_map.json")
            }),
        };
        let special = SpecialTokens {
            bos: id(&spelling[0])?,
            eos: id(&spelling[1])?,
            pad: id(&spelling[2])?,
            unknown: id(&spelling[3])?,
        };
        // Ids may have gaps; a model needs a row for the largest.
        let vocabulary = inner.get_vocab(true).values().max().map_or(0, |most| *most as usize + 1);
        let words = inner.to_string(false).ok().and_then(|json| WordCaches::of(&json)).map(Arc::new);
        let beside = Beside::default();
        Ok(Self { inner, markup: OnceLock::new(), special, spelling, vocabulary, beside, words })
    }

    /// With what stood beside it where it was loaded.
    #[must_use]
    pub(super) fn with_beside(mut self, beside: Beside) -> Self {
        self.beside = beside;
        self
    }

    /// Its chat templates, by name.
    pub fn chat_templates(&self) -> &[NamedTemplate] {
        self.beside.templates()
    }

    /// The most tokens that a model reads for which it was made, where its configuration says so.
    pub fn model_max_length(&self) -> Option<u64> {
        self.beside.model_max_length()
    }

    /// Writes it with all that Python's tools need to load it into `folder`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join(super::FILE), self.json()?.as_bytes())?;
        files::write(&folder.join(super::SPECIAL), self.special_json().as_bytes())?;
        self.beside.write(folder, &self.spelling)
    }

    /// The ids of `text` as the `tokenizers` crate finds them, word by word anew.
    pub(super) fn encode_without_cache(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(cannot_encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    fn markup(&self) -> &tokenizers::Tokenizer {
        self.markup.get_or_init(|| {
            let mut markup = self.inner.clone();
            markup.set_encode_special_tokens(false);
            Box::new(markup)
        })
    }

    /// The content of `tokenizer.json`.
    pub fn json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| Error::new("cannot write the tokenizer").because(e))
    }

    /// The content of `special_tokens_map.json`.
    pub fn special_json(&self) -> String {
        let map = NAMES
            .iter()
            .zip(&self.spelling)
            .filter_map(|(name, word)| Some(((*name).to_owned(), json!(word.as_ref()?))));
        format!("{:#}\n", serde_json::Value::Object(map.collect()))
    }
}

impl Tokenizer for TextTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &self.words {
            Some(words) => words.encode(text, |part| self.encode_without_cache(part)),
            None => self.encode_without_cache(text),
        }
    }

    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    fn encode_markup(&self, text: &str, around: bool) -> Result<Vec<u32>> {
        let encoding = self.markup().encode_fast(text, around).map_err(cannot_encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.markup().encode_char_offsets(text, false).map_err(cannot_encode)?;
        let ids = encoding.get_ids().iter().copied();
        Ok(ids.zip(encoding.get_offsets().iter().map(|(start, end)| *start..*end)).collect())
    }

    fn spelling(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)?;
        self.inner.decode(&[id], false).ok()
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| Error::new("cannot turn token ids into text").because(e))
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn special(&self) -> SpecialTokens {
        self.special
    }

    fn identity(&self) -> String {
        let text = self.inner.to_string(false).unwrap_or_default() + &self.special_json();
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

fn cannot_encode(error: tokenizers::Error) -> Error {
    Error::new("cannot tokenise a text").because(error)
}
