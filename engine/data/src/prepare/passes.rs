//! A recipe's filters as passes over the corpus.
//!
//! A pass applies row filters and, behind them, collects the keys of corpus filters; the grouping of those keys decides
//! what the next pass still sees. A recipe whose corpus filters all stand at its end needs one pass and the final write.

use std::collections::BTreeMap;

use psann_core::plan::FilterComponent;
use psann_core::{Filter, Result, registry};

/// A filter with the name that reports use.
pub struct Named {
    /// Its name; `c4-2` when the recipe uses it again, or what the recipe calls it.
    pub name: String,
    /// The filter.
    pub filter: Box<dyn Filter>,
}

/// The filters of a recipe, in its order.
pub struct Filters {
    /// All of them.
    pub all: Vec<Named>,
    /// How they fall into passes; at least one.
    pub passes: Vec<Pass>,
}

/// Indices into [`Filters::all`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// Filters that look at one document, in order.
    pub rows: Vec<usize>,
    /// Filters that look at the corpus, in order, behind all of `rows`.
    pub corpus: Vec<usize>,
}

impl Filters {
    /// Makes the filters.
    ///
    /// # Errors
    /// Whatever a filter finds wrong with its options or files.
    pub fn new(components: &[FilterComponent]) -> Result<Self> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        let mut all = Vec::new();
        for component in components {
            // A closure is told from others by the name that the recipe gives it.
            let own = component.0.options.get("name").and_then(serde_json::Value::as_str);
            let name = own.unwrap_or(&component.0.name);
            let count = uses.entry(name).or_default();
            *count += 1;
            let label = if *count == 1 { name.to_owned() } else { format!("{name}-{count}") };
            let filter = registry::filter(&component.0.name, &component.0.options)?;
            all.push(Named { name: label, filter });
        }
        let passes = passes(all.iter().map(|named| named.filter.corpus().is_some()));
        Ok(Self { all, passes })
    }
}

/// Cuts a list of filters, told whether each looks at the corpus.
fn passes(corpus: impl Iterator<Item = bool>) -> Vec<Pass> {
    let mut passes = vec![Pass::default()];
    for (index, corpus) in corpus.enumerate() {
        let last = passes.len() - 1;
        match corpus {
            true => passes[last].corpus.push(index),
            false if passes[last].corpus.is_empty() => passes[last].rows.push(index),
            false => passes.push(Pass { rows: vec![index], corpus: Vec::new() }),
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_filter_behind_a_corpus_filter_starts_a_pass() {
        let pass = |rows: &[usize], corpus: &[usize]| Pass { rows: rows.to_vec(), corpus: corpus.to_vec() };
        let of = |kinds: &str| passes(kinds.chars().map(|kind| kind == 'c'));
        assert_eq!(of(""), [pass(&[], &[])]);
        assert_eq!(of("rrcc"), [pass(&[0, 1], &[2, 3])]);
        assert_eq!(of("crrc"), [pass(&[], &[0]), pass(&[1, 2], &[3])]);
    }
}
