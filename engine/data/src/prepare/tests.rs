use std::fs;

use psann_core::observer::Silent;
use psann_core::plan::{Component, FilterComponent};
use psann_core::registry::Kind;
use psann_plugins_data as _;
use serde_json::json;

use super::*;
use crate::documents::{read_documents, read_texts};

struct Setup {
    folder: tempfile::TempDir,
    options: PrepareOptions,
}

fn setup(lines: &str) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    fs::write(&path, lines).unwrap();
    let mut source = Component::new(Kind::Source, "jsonl");
    source.options = json!({ "path": path.display().to_string() });
    let filters = vec![FilterComponent(Component::new(Kind::Filter, "normalize"))];
    let options =
        PrepareOptions { data: Some(Flow { source, filters }), validation: Share(0.1), ..PrepareOptions::default() };
    Setup { folder, options }
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| json!({ "text": format!("document {n}\r\n"), "id": n.to_string() }).to_string() + "\n").collect()
}

fn run(setup: &Setup, name: &str) -> Result<PrepareReport> {
    let directory = setup.folder.path().join(name);
    fs::create_dir_all(&directory).unwrap();
    prepare(&setup.options, &directory, &Silent)
}

#[test]
fn every_document_is_in_one_split_normalised_and_in_order() {
    let setup = setup(&numbered(3000));
    let report = run(&setup, "out").unwrap();
    assert_eq!((report.read.documents, report.train.documents + report.validation.documents), (3000, 3000));
    assert!((200..400).contains(&report.validation.documents), "{report:?}");
    assert_eq!(report.filters[0].counts["documents changed"], 3000);
    let directory = setup.folder.path().join("out");
    let mut ids: Vec<u64> = Vec::new();
    for split in [Split::Train, Split::Validation] {
        let of_split: Vec<u64> =
            read_documents(&directory, split).unwrap().map(|d| d.unwrap().id.unwrap().parse().unwrap()).collect();
        assert!(of_split.is_sorted());
        ids.extend(of_split);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..3000).collect::<Vec<_>>());
    assert!(read_texts(&directory, Split::Train).unwrap().iter().all(|text| !text.contains('\r')));
}

#[test]
fn the_files_are_the_same_for_any_number_of_workers() {
    let setup = setup(&numbered(5000));
    let files = |threads: usize| {
        let name = format!("out{threads}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&setup, &name)).unwrap();
        [Split::Train, Split::Validation].map(|split| fs::read(split.path(&setup.folder.path().join(&name))).unwrap())
    };
    let one = files(1);
    assert_eq!(one, files(2));
    assert_eq!(one, files(4));
}

#[test]
fn a_limit_reads_no_more() {
    let mut setup = setup(&numbered(3000));
    setup.options.limit = Some(Count(1500));
    assert_eq!(run(&setup, "out").unwrap().read.documents, 1500);
}

#[test]
fn a_tiny_corpus_still_has_both_splits() {
    for count in [2, 3] {
        let mut setup = setup(&numbered(count));
        for share in [0.0001, 0.9999] {
            setup.options.validation = Share(share);
            let report = run(&setup, "out").unwrap();
            assert!(report.validation.documents >= 1 && report.train.documents >= 1, "{share}: {report:?}");
            assert_eq!(report.train.documents + report.validation.documents, count as u64);
        }
    }
}

#[test]
fn an_empty_corpus_says_why_and_publishes_nothing() {
    let message = |lines: &str| {
        let setup = setup(lines);
        let error = run(&setup, "out").unwrap_err();
        assert_eq!(fs::read_dir(setup.folder.path().join("out")).unwrap().count(), 0);
        error.to_string()
    };
    assert_eq!(message(""), "no document was read");
    assert_eq!(message("{\"text\": \" \"}\n"), "no document is left of 1: `normalize` dropped 1 for `empty`");
}
