//! Golden data: the groups of near copies that a whole run of `prepare` finds.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use psann_core::observer::Silent;
use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::quantity::Share;
use psann_core::registry::Kind;
use psann_data::prepare::{read_dropped, rows::Place};
use psann_data::{PrepareJob, PrepareOptions, PrepareReport, prepare};
use psann_golden::{rows, set_directory};
use psann_plugins_data as _;
use serde_json::{Value, json};

/// Runs one filter over a corpus and gives its report and the groups, by the ids of their documents.
fn groups(corpus: &str, filter: &str, options: Value, out: &Path) -> (PrepareReport, BTreeSet<BTreeSet<String>>) {
    let file = set_directory("data").join(format!("near_duplicates/{corpus}/docs.jsonl.gz"));
    let source = Component { kind: Kind::Source, name: "jsonl".into(), options: json!({ "path": file }) };
    let filters = vec![FilterComponent(Component { kind: Kind::Filter, name: filter.into(), options })];
    let options =
        PrepareOptions { data: Some(Flow { source, filters }), validation: Share(0.0), ..PrepareOptions::default() };
    fs::create_dir_all(out).unwrap();
    let job = PrepareJob { options: &options, fingerprint: "f", directory: out, observer: &Silent };
    let report = prepare(&job).unwrap();
    let ids: Vec<String> = rows::lines("data", &format!("near_duplicates/{corpus}/docs.jsonl.gz"))
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    let mut groups: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for dropped in read_dropped(&out.join("dropped/00000.parquet")).unwrap() {
        let dropped = dropped.unwrap();
        let keeper: Place = dropped.details["copy_of"].as_str().unwrap().parse().unwrap();
        let group = groups.entry(keeper.row()).or_default();
        group.insert(ids[keeper.row() as usize].clone());
        group.insert(ids[dropped.place.row() as usize].clone());
    }
    (report, groups.into_values().collect())
}

fn expected(corpus: &str, key: &str) -> BTreeSet<BTreeSet<String>> {
    let expected = rows::value("data", &format!("near_duplicates/{corpus}/expected.json.gz"));
    let group = |group: &Value| group.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    expected[key].as_array().unwrap().iter().map(group).collect()
}

#[test]
fn golden_data_far_groups_are_exactly_the_expected_ones() {
    let folder = tempfile::tempdir().unwrap();
    for (number, preset) in ["fineweb", "strict", "verified"].into_iter().enumerate() {
        let out = folder.path().join(number.to_string());
        let (report, groups) = groups("far", "minhash", json!({ "preset": preset }), &out);
        assert_eq!(groups, expected("far", "expected_clusters"), "{preset}");
        assert_eq!(report.filters[0].clusters.as_ref().unwrap().clusters, groups.len() as u64);
    }
}

#[test]
fn golden_data_exact_groups_are_exactly_the_expected_ones() {
    let folder = tempfile::tempdir().unwrap();
    for corpus in ["far", "graded"] {
        let (_, groups) = groups(corpus, "exact", json!({ "key": "raw" }), &folder.path().join(corpus));
        assert_eq!(groups, expected(corpus, "exact_duplicate_groups_raw_text"), "{corpus}");
    }
}

#[test]
fn golden_data_graded_pairs_end_in_one_group() {
    let folder = tempfile::tempdir().unwrap();
    let (_, groups) = groups("graded", "minhash", json!({ "preset": "verified" }), &folder.path().join("out"));
    let group_of: BTreeMap<&str, usize> = groups
        .iter()
        .enumerate()
        .flat_map(|(number, group)| group.iter().map(move |id| (id.as_str(), number)))
        .collect();
    let (mut together, mut pairs) = (0, 0);
    for row in rows::lines("data", "near_duplicates/graded/pairs.jsonl.gz") {
        if row["jaccard"].as_f64().unwrap() >= 0.75 {
            let [a, b] = ["a", "b"].map(|side| group_of.get(row[side].as_str().unwrap()));
            pairs += 1;
            together += u32::from(a.is_some() && a == b);
        }
    }
    assert!(f64::from(together) >= 0.95 * f64::from(pairs), "{together} of {pairs}");
}
