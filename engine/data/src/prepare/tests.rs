use std::fs;

use psann_core::observer::Silent;
use psann_core::plan::{Component, FilterComponent};
use psann_core::registry::Kind;
use psann_plugins_data as _;
use serde_json::{Value, json};

use super::*;
use crate::documents::{Split, read_documents, read_texts};

struct Setup {
    folder: tempfile::TempDir,
    options: PrepareOptions,
}

fn component(kind: Kind, name: &str, options: Value) -> Component {
    Component { kind, name: name.into(), options }
}

fn setup(lines: &str) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    fs::write(&path, lines).unwrap();
    let source = component(Kind::Source, "jsonl", json!({ "path": path.display().to_string() }));
    let filters = vec![FilterComponent(Component::new(Kind::Filter, "normalize"))];
    let options =
        PrepareOptions { data: Some(Flow { source, filters }), validation: Share(0.1), ..PrepareOptions::default() };
    Setup { folder, options }
}

impl Setup {
    fn filter(&mut self, name: &str, options: Value) {
        let filter = FilterComponent(component(Kind::Filter, name, options));
        self.options.data.as_mut().unwrap().filters.push(filter);
    }

    fn directory(&self, name: &str) -> std::path::PathBuf {
        let directory = self.folder.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    }
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| json!({ "text": format!("document {n}\r\n"), "id": n.to_string() }).to_string() + "\n").collect()
}

fn run(setup: &Setup, name: &str) -> Result<PrepareReport> {
    let directory = setup.directory(name);
    prepare(&PrepareJob { options: &setup.options, fingerprint: "f", directory: &directory, observer: &Silent })
}

/// Every file of a corpus with its content.
fn content(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => pending.push(path),
                false => {
                    let name = path.strip_prefix(directory).unwrap().display().to_string();
                    files.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_document_is_in_one_split_normalised_and_in_order() {
    let setup = setup(&numbered(3000));
    let report = run(&setup, "out").unwrap();
    assert_eq!((report.read.documents, report.train.documents + report.validation.documents), (3000, 3000));
    assert!((200..400).contains(&report.validation.documents), "{:?}", report.validation);
    assert_eq!(report.filters[0].counts["documents changed"], 3000);
    let directory = setup.directory("out");
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
fn a_finished_corpus_is_not_made_again_and_another_one_is_not_written_over_it() {
    let mut setup = setup(&numbered(30));
    let report = run(&setup, "out").unwrap();
    fs::remove_file(setup.folder.path().join("in.jsonl")).unwrap();
    assert_eq!(run(&setup, "out").unwrap(), report);
    setup.options.seed = 1;
    let directory = setup.directory("out");
    let job = PrepareJob { options: &setup.options, fingerprint: "g", directory: &directory, observer: &Silent };
    assert!(prepare(&job).unwrap_err().to_string().contains("holds another corpus"));
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
            let report = run(&setup, &format!("out{share}")).unwrap();
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
        assert!(!setup.directory("out").join(Manifest::FILE).exists());
        error.to_string()
    };
    assert!(message("").starts_with("no document was read"));
    assert_eq!(message("{\"text\": \" \"}\n"), "no document is left of 1: `normalize` dropped 1 for `empty`");
}
