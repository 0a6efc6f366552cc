//! Which documents are held out for validation. The choice depends on a document's place in the source alone, so that it
//! is the same for any number of workers and stays when other documents are filtered away.

use super::rows::Place;

/// The choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice(Rule);

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// Each document with a probability.
    Chance { seed: u64, share: f64 },
    /// Every n-th of what is left, at least one: for corpora so small that chance left one split without documents.
    Every { every: u64, first: Vec<u64> },
}

impl Choice {
    /// Holds out each document with probability `share`.
    pub fn by_chance(seed: u64, share: f64) -> Self {
        Self(Rule::Chance { seed, share })
    }

    /// Holds out about `share` of `documents`, and at least one. `first` is the ordinal of the first document that is
    /// left of each segment.
    pub fn every(share: f64, documents: u64, first: Vec<u64>) -> Self {
        let every = ((1.0 / share.max(1e-9)).round() as u64).clamp(2, documents.max(2));
        Self(Rule::Every { every, first })
    }

    /// The ordinal among what is left of the first document of a segment.
    pub fn first_ordinal(&self, segment: usize) -> u64 {
        match &self.0 {
            Rule::Chance { .. } => 0,
            Rule::Every { first, .. } => first[segment],
        }
    }

    /// Whether the document at `place`, the `ordinal`-th of what is left, is held out.
    pub fn held_out(&self, place: Place, ordinal: u64) -> bool {
        match &self.0 {
            Rule::Every { every, .. } => ordinal % every == every - 1,
            Rule::Chance { seed, share } => {
                let mut hasher = blake3::Hasher::new();
                for part in [*seed, place.partition() as u64, place.row()] {
                    hasher.update(&part.to_le_bytes());
                }
                let mut first = [0; 8];
                first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
                // 2^-64: the hash as a fraction of one.
                (u64::from_le_bytes(first) as f64) * 5.421_010_862_427_522e-20 < *share
            }
        }
    }
}
