//! What corpus filters find within a sample.
//!
//! Of a document's copies in the corpus, a sample of one percent holds one percent: what is found here is the least that
//! a run would find, and says nothing of the most.

use std::collections::{HashMap, HashSet};

use psann_core::filter::{Copies, Evidence, Rule};
use serde::Serialize;

use super::super::passes::Filters;
use super::super::report::Amount;
use super::sample::{Cluster, Noted};

/// What a corpus filter dropped within the sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Name of the filter.
    pub filter: String,
    /// What reached it.
    pub seen: Amount,
    /// What it dropped.
    pub dropped: Amount,
    /// Whether a run drops no smaller share: so with filters that look for copies, not with those that discount keys
    /// that are frequent in the corpus.
    pub at_least: bool,
}

/// Applies the corpus filters to the sample alone, in order: what one dropped, the next does not see.
pub fn within(filters: &Filters, clusters: &[Cluster]) -> Vec<Found> {
    let mut gone: HashSet<u64> = HashSet::new();
    let mut all = Vec::new();
    for &index in filters.passes.iter().flat_map(|pass| &pass.corpus) {
        let named = &filters.all[index];
        let Some(corpus) = named.filter.corpus() else { continue };
        let noted = || clusters.iter().filter_map(|cluster| cluster.noted.get(&index)).flatten();
        let left: Vec<&Noted> = noted().filter(|noted| !gone.contains(&noted.place)).collect();
        let rule = corpus.rule();
        let dropped = match &rule {
            Rule::Copies(copies) => copied(*copies, &left),
            Rule::Evidence(evidence) => judged(*evidence, &left),
        };
        let mut found = Found {
            filter: named.name.clone(),
            seen: Amount::default(),
            dropped: Amount::default(),
            at_least: matches!(rule, Rule::Copies(_)),
        };
        for (noted, dropped) in left.iter().zip(dropped) {
            found.seen.count(noted.bytes);
            if dropped {
                found.dropped.count(noted.bytes);
                gone.insert(noted.place);
            }
        }
        all.push(found);
    }
    all
}

fn copied(copies: &dyn Copies, documents: &[&Noted]) -> Vec<bool> {
    let mut dropped = vec![false; documents.len()];
    let mut leaders: HashMap<u64, usize> = HashMap::new();
    for (number, document) in documents.iter().enumerate() {
        for key in &document.keys {
            let leader = *leaders.entry(*key).or_insert(number);
            let same = leader != number
                && !dropped[number]
                && (!copies.verifies() || copies.same(&documents[leader].note, &document.note));
            if same {
                dropped[number] = true;
                dropped[leader] |= copies.drops_all();
            }
        }
    }
    dropped
}

fn judged(evidence: &dyn Evidence, documents: &[&Noted]) -> Vec<bool> {
    let mut holders: HashMap<u64, u64> = HashMap::new();
    for key in documents.iter().flat_map(|document| &document.keys) {
        *holders.entry(*key).or_default() += 1;
    }
    let frequent = |key: u64| holders.get(&key).is_some_and(|holders| *holders > evidence.most());
    let drops = |document: &&Noted| {
        !document.note.is_empty()
            && evidence.judge(&document.note, &frequent).is_some_and(|judgement| judgement.dropped.is_some())
    };
    documents.iter().map(drops).collect()
}
