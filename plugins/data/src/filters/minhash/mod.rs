//! `minhash`: one of several nearly equal documents.
//!
//! A text is cut into shingles of words; documents with many shingles in common have equal parts of their signatures
//! with a known probability. Bands of such parts are the keys that the engine brings together. Documents that meet can
//! be compared for real before they count as copies.

pub mod sketch;
mod verify;
pub mod words;

use psann_core::filter::{Copies, CorpusFilter, Keys, Rule};
use psann_core::quantity::Share;
use psann_core::{Batch, Error, Filter, Result, Verdicts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keep::{Keep, Ranking};
use words::{Simplifier, hash_words, mix};

psann_core::register!(Filter, "minhash", MinhashOptions, Minhash::new, primary = "preset");

/// Keeps one of several documents with nearly the same text. Case, punctuation, accents and numbers make no difference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MinhashOptions {
    /// Where the other options start from.
    pub preset: Preset,
    /// Words of a shingle; 5 in all presets.
    pub shingle: Option<usize>,
    /// Bands of a signature: more of them find more pairs.
    pub bands: Option<usize>,
    /// Rows of a band: more of them find fewer pairs.
    pub rows: Option<usize>,
    /// Compare documents that meet, and call them copies from this Jaccard similarity of their shingles on; 0 calls all
    /// that meet copies.
    pub verify: Option<Share>,
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

/// How pairs are found. Given is the probability that documents of similarity 0.6, 0.75 and 0.9 meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// As FineWeb did: 14 bands of 8 rows (0.21, 0.77, 1.00), no comparison.
    #[default]
    Fineweb,
    /// A steep curve: 93 bands of 15 rows (0.04, 0.71, 1.00), no comparison.
    Strict,
    /// 20 bands of 6 rows (0.62, 0.98, 1.00), then comparison at 0.75.
    Verified,
}

impl Preset {
    /// Bands, rows and the similarity to verify.
    fn defaults(self) -> (usize, usize, f64) {
        match self {
            Self::Fineweb => (14, 8, 0.0),
            Self::Strict => (93, 15, 0.0),
            Self::Verified => (20, 6, 0.75),
        }
    }
}

const REASONS: [&str; 2] = ["near copy", "near copy of the index"];

/// The filter.
#[derive(Debug)]
pub struct Minhash {
    shingle: usize,
    bands: usize,
    rows: usize,
    verify: f64,
    against: Option<String>,
    ranking: Ranking,
}

impl Minhash {
    /// Fills in the preset.
    pub fn new(options: MinhashOptions) -> Result<Self> {
        let (bands, rows, verify) = options.preset.defaults();
        let minhash = Self {
            shingle: options.shingle.unwrap_or(5),
            bands: options.bands.unwrap_or(bands),
            rows: options.rows.unwrap_or(rows),
            verify: options.verify.map_or(verify, |share| share.0),
            against: options.against,
            ranking: Ranking::new(options.keep, &options.score, &options.sources)?,
        };
        if minhash.shingle == 0 || minhash.shingle > 64 {
            return Err(Error::usage(format!("`shingle` is {}, but a shingle has 1 to 64 words", minhash.shingle)));
        }
        if minhash.bands == 0 || minhash.rows == 0 || minhash.bands * minhash.rows > 16_384 {
            let (bands, rows) = (minhash.bands, minhash.rows);
            return Err(Error::usage(format!("a signature cannot have {bands} bands of {rows} rows"))
                .hint("`bands` × `rows` is 1 to 16384"));
        }
        if !(0.0..=1.0).contains(&minhash.verify) {
            return Err(Error::usage(format!("`verify` is {}, but a similarity is 0 to 1", minhash.verify)));
        }
        if minhash.ranking.keep == Keep::None && minhash.against.is_some() {
            return Err(Error::usage("`keep: \"none\"` and `against` do not go together").hint("leave one of them out"));
        }
        Ok(minhash)
    }
}

/// Multiplier of the rolling hash of a shingle.
const BASE: u64 = 0x2545_f491_4f6c_dd1d;

/// Cuts texts into shingles; its buffers are used again for the next text.
#[derive(Debug, Default)]
pub struct Shingler {
    simplifier: Simplifier,
    words: Vec<u64>,
}

impl Shingler {
    /// Collects the hashes of the shingles of `size` words, in order, repeats included; none when the text has fewer
    /// words.
    pub fn shingles(&mut self, text: &str, size: usize, into: &mut Vec<u64>) {
        hash_words(self.simplifier.simplify(text), &mut self.words);
        into.clear();
        if self.words.len() < size {
            return;
        }
        // A polynomial in the words of the window: the word that leaves is the one of the highest power.
        let leaving = (0..size).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        let first = self.words[..size].iter().fold(0_u64, |hash, word| hash.wrapping_mul(BASE).wrapping_add(*word));
        into.reserve(self.words.len() + 1 - size);
        into.push(mix(first));
        let mut hash = first;
        for (gone, word) in self.words.iter().zip(&self.words[size..]) {
            hash = hash.wrapping_mul(BASE).wrapping_add(*word).wrapping_sub(gone.wrapping_mul(leaving));
            into.push(mix(hash));
        }
    }
}

impl Filter for Minhash {
    fn reasons(&self) -> &[&'static str] {
        &REASONS
    }

    /// A text alone is nobody's copy.
    fn apply(&self, batch: &Batch) -> Result<Verdicts> {
        Ok(Verdicts::keep_all(batch.len()))
    }

    fn corpus(&self) -> Option<&dyn CorpusFilter> {
        Some(self)
    }
}

impl CorpusFilter for Minhash {
    fn keys(&self, batch: &Batch) -> Result<Keys> {
        let mut keys = Keys { ranks: self.ranking.ranks(batch), ..Keys::default() };
        keys.entries.reserve(batch.len() * self.bands);
        let (mut shingler, mut found) = (Shingler::default(), Vec::new());
        let mut slots = vec![0; self.bands * self.rows];
        for (row, text) in batch.texts().enumerate() {
            shingler.shingles(text, self.shingle, &mut found);
            if !found.is_empty() {
                sketch::sketch(&found, &mut slots);
                for (band, rows) in slots.chunks_exact(self.rows).enumerate() {
                    let key = rows.iter().fold(mix(band as u64 + 1), |key, slot| mix(key ^ slot));
                    keys.entries.push((key, row as u32));
                }
            }
            if self.verifies() {
                keys.notes.push(verify::note(&found));
            }
        }
        Ok(keys)
    }

    fn rule(&self) -> Rule<'_> {
        Rule::Copies(self)
    }
}

impl Copies for Minhash {
    fn same(&self, one: &[u8], other: &[u8]) -> bool {
        one == other || verify::similarity(one, other) >= self.verify
    }

    fn verifies(&self) -> bool {
        self.verify > 0.0
    }

    fn reasons(&self) -> (u16, u16) {
        (0, 1)
    }

    fn drops_all(&self) -> bool {
        self.ranking.keep == Keep::None
    }

    fn against(&self) -> Option<&str> {
        self.against.as_deref()
    }

    fn parameters(&self) -> String {
        let notes = if self.verifies() { "with" } else { "without" };
        format!(
            "minhash 1, shingles of {} words, {} bands of {} rows, {notes} notes",
            self.shingle, self.bands, self.rows
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, size: usize) -> Vec<u64> {
        let mut found = Vec::new();
        Shingler::default().shingles(text, size, &mut found);
        found
    }

    #[test]
    fn shingles_are_windows_of_words() {
        let text = "the quick brown fox jumps over the lazy dog";
        assert_eq!(of(text, 5).len(), 5);
        assert!(of("only four words here", 5).is_empty());
        // A window is the same wherever it stands, and differs when its words change places.
        assert_eq!(of("x y quick brown fox jumps over", 5)[2], of(text, 5)[1]);
        assert_ne!(of("a b c d e", 5), of("a b c e d", 5));
        assert_eq!(of("A, b. C! (d) e", 5), of("a b c d e", 5));
    }

    #[test]
    fn options_that_make_no_signature_are_errors() {
        let options =
            |bands, rows| MinhashOptions { bands: Some(bands), rows: Some(rows), ..MinhashOptions::default() };
        assert!(Minhash::new(options(0, 8)).is_err());
        assert!(Minhash::new(options(1000, 1000)).is_err());
        assert!(Minhash::new(MinhashOptions { shingle: Some(0), ..MinhashOptions::default() }).is_err());
    }
}
