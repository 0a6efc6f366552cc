//! Training of a byte-level BPE: every string can be said, and decoding gives back exactly what was encoded.

use psann_core::quantity::Count;
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::text::TextTokenizer;

psann_core::register!(Tokenizer, "train_bpe", TrainBpeOptions, primary = "vocab");

/// Trains a byte-level BPE on the prepared text. The same text gives the same tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainBpeOptions {
    /// Tokens, special ones included; at least 260: four special tokens and all bytes.
    pub vocab: Count,
    /// Pairs that occur less often are not merged.
    pub min_frequency: u64,
    /// Train on no more documents than this.
    pub sample: Option<Count>,
    /// Fills rows; id 0.
    pub pad_token: String,
    /// Begins a document; id 1.
    pub bos_token: String,
    /// Ends a document; id 2.
    pub eos_token: String,
    /// Stands for the unknown, which byte level never meets; id 3.
    pub unk_token: String,
}

impl Default for TrainBpeOptions {
    fn default() -> Self {
        Self {
            vocab: Count(4096),
            min_frequency: 2,
            sample: None,
            pad_token: "<|pad|>".into(),
            bos_token: "<|bos|>".into(),
            eos_token: "<|eos|>".into(),
            unk_token: "<|unk|>".into(),
        }
    }
}

/// Special tokens and bytes.
const LEAST: u64 = 4 + 256;

/// Trains on `texts`.
pub fn train_bpe(options: &TrainBpeOptions, texts: &[String]) -> Result<TextTokenizer> {
    if options.vocab.0 < LEAST {
        return Err(Error::usage(format!(
            "`vocab` is {}, too small for four special tokens and 256 bytes",
            options.vocab.0
        ))
        .hint(format!("give at least {LEAST}")));
    }
    let failed = |e: tokenizers::Error| Error::new("cannot train the tokenizer").because(e);
    let special = [&options.pad_token, &options.bos_token, &options.eos_token, &options.unk_token];
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(options.vocab.0 as usize)
        .min_frequency(options.min_frequency)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.into_iter().map(|token| AddedToken::from(token.clone(), true)).collect())
        .build();
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts.iter()).map_err(failed)?;
    let [pad, bos, eos, unk] = special.map(|token| Some(token.clone()));
    TextTokenizer::new(tokenizer, [bos, eos, pad, unk])
}
