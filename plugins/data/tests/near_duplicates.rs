//! Golden data: pairs of known similarity. Which documents meet, and which of them the comparison calls copies.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};

use psann_core::filter::{CorpusFilter, Rule};
use psann_core::{BatchBuilder, Document};
use psann_golden::rows;
use psann_plugins_data::filters::minhash::{Minhash, MinhashOptions, Preset};

/// Numbers of two documents, the smaller first.
type Pairs = BTreeSet<(u32, u32)>;

/// Pairs that share a key, those of them that the filter calls the same, and the ids of the documents.
fn pairs(corpus: &str, preset: Preset) -> (Pairs, Pairs, Vec<String>) {
    let documents = rows::lines("data", &format!("near_duplicates/{corpus}/docs.jsonl.gz"));
    let mut batch = BatchBuilder::default();
    let mut ids = Vec::new();
    for document in &documents {
        batch.push(Document { text: document["text"].as_str().unwrap().to_owned(), ..Document::default() });
        ids.push(document["id"].as_str().unwrap().to_owned());
    }
    let filter = Minhash::new(MinhashOptions { preset, ..MinhashOptions::default() }).unwrap();
    let mut keys = filter.keys(&batch.finish().unwrap()).unwrap();
    let Rule::Copies(copies) = filter.rule() else { panic!("minhash looks for copies") };
    keys.entries.sort_unstable();
    let mut met = BTreeSet::new();
    for run in keys.entries.chunk_by(|a, b| a.0 == b.0) {
        for (position, (_, a)) in run.iter().enumerate() {
            met.extend(run[position + 1..].iter().map(|(_, b)| (*a, *b)));
        }
    }
    let same = |(a, b): &(u32, u32)| copies.same(&keys.notes[*a as usize], &keys.notes[*b as usize]);
    let called = if copies.verifies() { met.iter().copied().filter(same).collect() } else { met.clone() };
    (met, called, ids)
}

fn truth(corpus: &str, ids: &[String]) -> BTreeMap<(u32, u32), f64> {
    let number: BTreeMap<&str, u32> = ids.iter().zip(0..).map(|(id, number)| (id.as_str(), number)).collect();
    let pair = |row: serde_json::Value| {
        let [a, b] = ["a", "b"].map(|side| number[row[side].as_str().unwrap()]);
        ((a.min(b), a.max(b)), row["jaccard"].as_f64().unwrap())
    };
    rows::lines("data", &format!("near_duplicates/{corpus}/pairs.jsonl.gz")).into_iter().map(pair).collect()
}

#[test]
fn golden_data_graded_pairs_are_told_apart_at_the_threshold() {
    let (_, called, ids) = pairs("graded", Preset::Verified);
    let truth = truth("graded", &ids);
    let similar: Pairs = truth.iter().filter(|(_, j)| **j >= 0.75).map(|(pair, _)| *pair).collect();
    let right = called.intersection(&similar).count() as f64;
    let (precision, recall) = (right / called.len() as f64, right / similar.len() as f64);
    assert!(precision >= 0.99 && recall >= 0.95, "precision {precision}, recall {recall} of {} pairs", similar.len());
}

#[test]
fn golden_data_graded_pairs_meet_as_often_as_theory_says() {
    let (met, _, ids) = pairs("graded", Preset::Fineweb);
    // Pairs of one group share most of their shingles and meet together or not at all, so the bound is wide.
    let (mut expected, mut variance, mut found) = (0.0, 0.0, 0.0);
    for (pair, jaccard) in truth("graded", &ids).into_iter().filter(|(_, j)| *j < 0.999) {
        let probability = 1.0 - (1.0 - jaccard.powi(8)).powi(14);
        expected += probability;
        variance += probability * (1.0 - probability);
        found += f64::from(u8::from(met.contains(&pair)));
    }
    let deviation: f64 = variance.sqrt();
    assert!((found - expected).abs() < 12.0 * deviation, "{found} met, theory {expected} ± {deviation}");
}

#[test]
fn golden_data_far_pairs_meet_exactly_when_they_are_similar() {
    for preset in [Preset::Fineweb, Preset::Strict, Preset::Verified] {
        let (_, called, ids) = pairs("far", preset);
        let truth = truth("far", &ids);
        let wrong = called.iter().filter(|pair| truth.get(pair).is_none_or(|j| *j < 0.5)).count();
        let missed = truth.iter().filter(|(pair, j)| **j >= 0.75 && !called.contains(pair)).count();
        assert_eq!((wrong, missed), (0, 0), "{preset:?}");
    }
}
