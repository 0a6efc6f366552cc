//! Which of several copies stays: an option that `exact` and `minhash` share.

use psann_core::{Batch, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which of several copies stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The first one in the order of the source.
    #[default]
    First,
    /// The one with the longest text.
    Longest,
    /// The one with the highest number under `score` in its `meta`.
    Best,
    /// The one whose `source` stands first in `sources`.
    Source,
    /// None of them.
    None,
}

/// How copies are ranked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranking {
    /// The rule.
    pub keep: Keep,
    /// Key of the number for [`Keep::Best`].
    pub score: String,
    /// Names of sources for [`Keep::Source`], the best first.
    pub sources: Vec<String>,
}

impl Ranking {
    /// Checks that the rule has what it needs.
    ///
    /// # Errors
    /// When `sources` or `score` is missing.
    pub fn new(keep: Keep, score: &str, sources: &[String]) -> Result<Self> {
        match keep {
            Keep::Best if score.is_empty() => Err(Error::usage("`keep: \"best\"` needs to know by which number")
                .hint("give `score`, a key of the documents' `meta`")),
            Keep::Source if sources.is_empty() => {
                Err(Error::usage("`keep: \"source\"` needs to know which source is best")
                    .hint("give `sources`, a list of their names, the best first"))
            }
            _ => Ok(Self { keep, score: score.to_owned(), sources: sources.to_vec() }),
        }
    }

    /// The rank of every document, the lowest stays; empty when the first one stays.
    pub fn ranks(&self, batch: &Batch) -> Vec<u64> {
        let rows = 0..batch.len();
        match self.keep {
            Keep::First | Keep::None => Vec::new(),
            Keep::Longest => batch.texts().map(|text| u64::MAX - text.len() as u64).collect(),
            Keep::Best => rows.map(|row| self.by_score(batch.optional("meta", row))).collect(),
            Keep::Source => rows.map(|row| self.by_source(batch.optional("source", row))).collect(),
        }
    }

    /// Higher scores have lower ranks; a document without one comes last.
    fn by_score(&self, meta: Option<&str>) -> u64 {
        let meta: Option<Value> = meta.and_then(|meta| serde_json::from_str(meta).ok());
        match meta.and_then(|meta| meta.get(&self.score)?.as_f64()) {
            Some(score) => u64::MAX - ordered(score),
            None => u64::MAX,
        }
    }

    fn by_source(&self, source: Option<&str>) -> u64 {
        let place = self.sources.iter().position(|name| Some(name.as_str()) == source);
        place.unwrap_or(self.sources.len()) as u64
    }
}

/// An integer that is larger when the number is.
fn ordered(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use psann_core::{BatchBuilder, Document};

    use super::*;

    fn batch() -> Batch {
        let mut builder = BatchBuilder::default();
        for (text, source, meta) in
            [("a", "web", "{\"q\": 0.5}"), ("abc", "books", "{\"q\": -2}"), ("ab", "news", "{}")]
        {
            let (source, meta) = (Some(source.to_owned()), Some(meta.to_owned()));
            builder.push(Document { text: text.into(), source, meta, ..Document::default() });
        }
        builder.finish().unwrap()
    }

    fn order(keep: Keep) -> Vec<usize> {
        let ranking = Ranking::new(keep, "q", &["books".into(), "web".into()]).unwrap();
        let ranks = ranking.ranks(&batch());
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by_key(|row| ranks[*row]);
        order
    }

    #[test]
    fn the_best_document_has_the_lowest_rank() {
        assert_eq!(order(Keep::Longest), [1, 2, 0]);
        assert_eq!(order(Keep::Best), [0, 1, 2]);
        assert_eq!(order(Keep::Source), [1, 0, 2]);
        assert!(order(Keep::First).is_empty());
    }

    #[test]
    fn a_rule_without_what_it_needs_is_an_error() {
        assert!(Ranking::new(Keep::Best, "", &[]).is_err());
        assert!(Ranking::new(Keep::Source, "", &[]).is_err());
    }
}
