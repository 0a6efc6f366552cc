//! [`Tokenizer`]: text to token ids and back. Data preparation, training and evaluation meet in this trait;
//! the implementation stands in the data room.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Result;

/// Ids with a meaning of their own; `None` where the tokenizer has no such token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Begins a document.
    pub bos: Option<u32>,
    /// Ends a document; training needs it to keep documents apart.
    pub eos: Option<u32>,
    /// Fills rows that are too short.
    pub pad: Option<u32>,
    /// Stands for what the vocabulary cannot say.
    pub unknown: Option<u32>,
}

/// Text to token ids and back. Used from many threads at once.
pub trait Tokenizer: Send + Sync {
    /// Ids of `text`, without special tokens around it.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// Ids of each text, in order; implementations use all cores.
    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>>;

    /// Ids of `text` as prompts mean it: a special token that is spelled out is that token. With `around`, the tokens that
    /// the tokenizer's own rule puts around a text are added (for many a begin-of-text token, for many nothing).
    fn encode_markup(&self, text: &str, around: bool) -> Result<Vec<u32>>;

    /// The ids of `encode_markup(text, false)`, each with the characters (not bytes) of `text` that it stands for.
    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>>;

    /// How a token is written, special ones too; `None` where there is no such id.
    fn spelling(&self, id: u32) -> Option<String>;

    /// The text of `ids`; special tokens are left out.
    fn decode(&self, ids: &[u32]) -> Result<String>;

    /// Number of ids, special ones included: the least vocabulary a model needs.
    fn vocabulary(&self) -> usize;

    /// The special ids.
    fn special(&self) -> SpecialTokens;

    /// A text that changes when the tokenizer changes.
    fn identity(&self) -> String;
}
