//! `exact`: one copy of each text, or of each address.

use std::borrow::Cow;

use psann_core::filter::{Copies, CorpusFilter, Keys, Rule};
use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use xxhash_rust::xxh3::xxh3_128;

use super::keep::{Keep, Ranking};
use crate::address;

psann_core::register!(Filter, "exact", ExactOptions, Exact::new, primary = "key");

/// Keeps one of several documents with the same text, or the same address.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExactOptions {
    /// What must be equal.
    pub key: Key,
    /// Which copy stays.
    pub keep: Keep,
    /// Key of the number in `meta`, for `keep: "best"`.
    pub score: String,
    /// Names of sources, the best first, for `keep: "source"`.
    pub sources: Vec<String>,
    /// Folder (from the working directory) of a corpus that was prepared with `index: true`: its documents count as
    /// copies that came before.
    pub against: Option<String>,
}

/// What must be equal for two documents to be copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The text, whatever its white space (NFC, runs of white space as one space).
    #[default]
    Text,
    /// The text, byte for byte.
    Raw,
    /// The address in its normal form; documents without one are kept.
    Url,
}

/// Name of a document that is a copy, and of one that an index holds.
const REASONS: [&str; 2] = ["copy", "copy of the index"];

/// The filter.
#[derive(Debug)]
pub struct Exact {
    options: ExactOptions,
    ranking: Ranking,
}

impl Exact {
    /// Checks that options fit together.
    pub fn new(options: ExactOptions) -> Result<Self> {
        if options.keep == Keep::None && options.against.is_some() {
            return Err(Error::usage("`keep: \"none\"` and `against` do not go together").hint("leave one of them out"));
        }
        let ranking = Ranking::new(options.keep, &options.score, &options.sources)?;
        Ok(Self { options, ranking })
    }

    fn hash(&self, batch: &Batch, row: usize) -> Option<u128> {
        match self.options.key {
            Key::Text => Some(text_key(batch.text(row))),
            Key::Raw => Some(xxh3_128(batch.text(row).as_bytes())),
            Key::Url => url_key(batch.optional("url", row)?),
        }
    }
}

/// XXH3-128 of the text in NFC with every run of white space as one space and none at the ends.
pub fn text_key(text: &str) -> u128 {
    let text: Cow<'_, str> = match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    };
    let mut squeezed = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !squeezed.is_empty() {
            squeezed.push(' ');
        }
        squeezed.push_str(word);
    }
    xxh3_128(squeezed.as_bytes())
}

/// XXH3-128 of the address in its normal form.
pub fn url_key(url: &str) -> Option<u128> {
    address::normal(url).map(|normal| xxh3_128(normal.as_bytes()))
}

impl Filter for Exact {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    fn column(&self) -> Option<&'static str> {
        (self.options.key == Key::Url).then_some("url")
    }

    /// A text alone is nobody's copy.
    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        Ok(Verdicts::keep_all(batch.len()))
    }

    fn corpus(&self) -> Option<&dyn CorpusFilter> {
        Some(self)
    }
}

impl CorpusFilter for Exact {
    fn keys(&self, batch: &Batch) -> Result<Keys> {
        let mut keys = Keys { ranks: self.ranking.ranks(batch), ..Keys::default() };
        for row in 0..batch.len() {
            // One half of the hash brings copies together, the other half tells them from strangers.
            let hash = self.hash(batch, row);
            keys.entries.extend(hash.map(|hash| ((hash >> 64) as u64, row as u32)));
            keys.notes.push(hash.map_or_else(Vec::new, |hash| (hash as u64).to_le_bytes().to_vec()));
        }
        Ok(keys)
    }

    fn rule(&self) -> Rule<'_> {
        Rule::Copies(self)
    }
}

impl Copies for Exact {
    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        one == other
    }

    fn verifies(&self) -> bool {
        true
    }

    fn reasons(&self) -> (u16, u16) {
        (0, 1)
    }

    fn drops_all(&self) -> bool {
        self.options.keep == Keep::None
    }

    fn against(&self) -> Option<&str> {
        self.options.against.as_deref()
    }

    fn parameters(&self) -> String {
        format!("exact 1, key {:?}", self.options.key)
    }
}
