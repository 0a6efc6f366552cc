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
    let mut emptied = setup("{\"text\": \"menu\"}\n{\"text\": \"a line of text that stays as it is.\"}\n");
    emptied.options.validation = Share(0.0);
    emptied.filter("lines", json!({}));
    let report = run(&emptied, "out").unwrap();
    assert_eq!(report.filters[1].kept.documents, 1, "{:?}", report.filters[1].dropped);
    assert_eq!(message("{\"text\": \" \"}\n"), "no document is left of 1: `normalize` dropped 1 for `empty`");
}

/// Documents `a b c d e f` and so on: `groups[n]` copies of text n, in turns.
fn copies(groups: &[usize]) -> String {
    // Letters, because all numbers look alike to `minhash`.
    let letter = |n: usize| char::from(b'a' + n as u8);
    let text = |n: usize| {
        (0..60).map(|word| format!("{}{}{} ", letter(n), letter(word / 8), letter(word % 8))).collect::<String>()
    };
    let mut lines = String::new();
    for round in 0..groups.iter().max().copied().unwrap_or(0) {
        for (n, _) in groups.iter().enumerate().filter(|(_, count)| round < **count) {
            let (id, source) = (format!("{n}-{round}"), if round == 1 { "books" } else { "web" });
            let text = text(n) + &"x ".repeat(round);
            lines.push_str(
                &(json!({ "text": text, "id": id, "source": source, "score": round % 2 }).to_string() + "\n"),
            );
        }
    }
    lines
}

fn kept(directory: &Path) -> Vec<String> {
    read_documents(directory, Split::Train).unwrap().map(|document| document.unwrap().id.unwrap()).collect()
}

#[test]
fn the_policy_decides_which_copy_stays() {
    let near = |options: Value| {
        let mut setup = setup(&copies(&[3, 1, 2]));
        setup.options.validation = Share(0.0);
        let mut all = json!({ "preset": "verified" });
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        setup.filter("minhash", all);
        let report = run(&setup, "out").unwrap();
        let mut found = kept(&setup.directory("out"));
        found.sort();
        assert_eq!(report.filters[1].kept.documents, found.len() as u64);
        assert_eq!(report.filters[1].dropped["near copy"].documents, 6 - found.len() as u64);
        found
    };
    assert_eq!(near(json!({})), ["0-0", "1-0", "2-0"]);
    assert_eq!(near(json!({ "keep": "longest" })), ["0-2", "1-0", "2-1"]);
    assert_eq!(near(json!({ "keep": "best", "score": "score" })), ["0-1", "1-0", "2-1"]);
    assert_eq!(near(json!({ "keep": "source", "sources": ["books", "web"] })), ["0-1", "1-0", "2-1"]);
    assert_eq!(near(json!({ "keep": "none" })), ["1-0"]);
}

#[test]
fn copies_of_another_corpus_are_dropped_and_it_must_fit() {
    for (filter, options) in [("minhash", json!({ "preset": "verified" })), ("exact", json!({}))] {
        let mut first = setup(&copies(&[2, 1]));
        (first.options.validation, first.options.index) = (Share(0.0), true);
        first.filter(filter, options.clone());
        run(&first, "out").unwrap();
        let index = first.directory("out").display().to_string();
        let against = |more: Value| {
            let mut second = setup(&copies(&[1, 1, 2]));
            second.options.validation = Share(0.0);
            let mut all = options.clone();
            all.as_object_mut().unwrap().insert("against".into(), index.clone().into());
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            second.filter(filter, all);
            (run(&second, "out"), second)
        };
        let (report, second) = against(json!({}));
        let dropped = &report.unwrap().filters[1].dropped;
        assert_eq!(dropped.iter().filter(|(reason, _)| reason.ends_with("of the index")).count(), 1, "{dropped:?}");
        let left = kept(&second.directory("out"));
        assert!(left.iter().all(|id| id.starts_with("2-")), "{left:?}");
        if filter == "minhash" {
            let (report, _) = against(json!({ "bands": 7 }));
            assert!(report.unwrap_err().to_string().contains("cannot be compared"));
        }
    }
}

#[test]
fn filters_count_in_the_order_of_the_recipe() {
    let mut setup = setup(&copies(&[3, 1, 2]));
    setup.options.validation = Share(0.0);
    setup.filter("exact", json!({ "key": "raw" }));
    setup.filter("minhash", json!({ "preset": "verified" }));
    setup.filter("url", json!({ "missing": true }));
    let error = run(&setup, "out").unwrap_err().to_string();
    assert!(error.contains("`minhash` dropped 3 for `near copy`, `url` dropped 3 for `no address`"), "{error}");
}

#[test]
fn every_document_has_a_fate() {
    let mut setup = setup(&(copies(&[2, 1]) + "{\"text\": \" \", \"id\": \"blank\"}\n"));
    setup.options.validation = Share(0.0);
    setup.filter("minhash", json!({ "preset": "verified" }));
    run(&setup, "out").unwrap();
    let directory = setup.directory("out");
    // By the source's name; its place is the third of the first partition.
    let Fate::Dropped { filter, reason, details, document, .. } = fate(&directory, "0-1").unwrap() else {
        panic!("the first document goes by this place, the copy by this name: the record of drops is asked first")
    };
    assert_eq!((filter.as_str(), reason.as_str(), document.as_str()), ("minhash", "near copy", "0-2"));
    assert_eq!(details["copy_of"], "0-0");
    let Fate::Dropped { filter, reason, .. } = fate(&directory, "blank").unwrap() else { panic!("it was kept") };
    assert_eq!((filter.as_str(), reason.as_str()), ("normalize", "empty"));
    let Fate::Kept { split, filters, .. } = fate(&directory, "1-0").unwrap() else { panic!("it was dropped") };
    assert_eq!((split, filters.len()), ("train", 2));
    assert!(fate(&directory, "nobody").unwrap_err().to_string().contains("knows no document `nobody`"));
}

#[test]
fn damaged_work_in_progress_is_noticed_and_done_again() {
    struct Stop(std::sync::atomic::AtomicU32);
    impl Observer for Stop {
        fn event(&self, _: Event) {}
        fn stop_requested(&self) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 4
        }
    }
    let mut setup = setup(&numbered(4000));
    setup.options.checkpoint = Bytes(1 << 14);
    setup.filter("exact", json!({}));
    let directory = setup.directory("out");

    let stop = Stop(0.into());
    let run = |observer: &dyn Observer| {
        prepare(&PrepareJob { options: &setup.options, fingerprint: "f", directory: &directory, observer })
    };
    let error = run(&stop).unwrap_err();
    assert_eq!(error.fault(), psann_core::error::Fault::Interrupted);
    let rows = fs::read_dir(directory.join("work/pass-0")).unwrap().map(|entry| entry.unwrap().path());
    let rows = rows.filter(|path| path.display().to_string().ends_with("rows.parquet")).min().unwrap();
    let mut bytes = fs::read(&rows).unwrap();
    bytes[100] ^= 1;
    fs::write(&rows, bytes).unwrap();
    let error = run(&Silent).unwrap_err().to_string();
    assert!(error.contains("is damaged: it changed since it was written"), "{error}");
    let report = run(&Silent).unwrap();
    assert_eq!(report.train.documents + report.validation.documents, 4000);
}

/// A full disk, for the files of one name: `/dev/full` takes no byte.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_as_one_and_loses_nothing() {
    for file in [
        "work/pass-0/000000-00000.rows.parquet",
        "work/pass-0/000000-00000.keys-0",
        "train/00000.parquet",
        "report.html",
    ] {
        let mut setup = setup(&numbered(2000));
        setup.filter("exact", json!({}));
        let directory = setup.directory("out");
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(directory.join("work")).unwrap();
        fs::write(directory.join("work/fingerprint"), "f").unwrap();
        std::os::unix::fs::symlink("/dev/full", path.with_added_extension("tmp")).unwrap();
        let error = run(&setup, "out").unwrap_err();
        assert!(error.to_string().contains("cannot write") && error.to_string().contains(file), "{file}: {error}");
        assert_eq!(error.hint_text(), Some("the disk is full: make room and run the same command again"), "{file}");
        assert!(!directory.join(Manifest::FILE).exists());
        assert_eq!(run(&setup, "out").unwrap().read.documents, 2000, "{file}");
    }
}

#[test]
fn a_folder_that_is_not_psanns_is_left_alone() {
    let setup = setup(&numbered(30));
    let directory = setup.directory("mine");
    fs::create_dir_all(directory.join("work")).unwrap();
    fs::write(directory.join("work/thesis.txt"), "years of it").unwrap();
    let error = run(&setup, "mine").unwrap_err();
    assert!(error.to_string().contains("no work of psann's"), "{error}");
    forget(&directory).unwrap();
    assert_eq!(fs::read_to_string(directory.join("work/thesis.txt")).unwrap(), "years of it");
}

#[test]
fn two_runs_do_not_work_in_one_folder() {
    let setup = setup(&numbered(30));
    let directory = setup.directory("out");
    let lock = fs::File::create(directory.join(".lock")).unwrap();
    lock.lock().unwrap();
    assert!(run(&setup, "out").unwrap_err().to_string().contains("another process is preparing"));
    drop(lock);
    run(&setup, "out").unwrap();
}

#[test]
fn files_that_are_skipped_are_counted_and_named() {
    let mut setup = setup(&numbered(30));
    let good = setup.folder.path().join("in.jsonl").display().to_string();
    let flow = setup.options.data.as_mut().unwrap();
    flow.source.options = json!({ "path": [good, "/no/such/file.jsonl"], "on_error": "skip" });
    let report = run(&setup, "out").unwrap();
    assert_eq!(report.skipped[psann_core::source::DAMAGED_FILE], 1);
    assert!(report.files[0].contains("/no/such/file.jsonl"), "{:?}", report.files);
    assert!(report.warnings().iter().any(|warning| warning.contains("/no/such/file.jsonl")));
}

#[test]
fn a_stop_keeps_what_was_reached() {
    struct Stop(std::sync::atomic::AtomicU32);
    impl Observer for Stop {
        fn event(&self, _: Event) {}
        fn stop_requested(&self) -> bool {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 1
        }
    }
    let setup = setup(&numbered(9000));
    let directory = setup.directory("out");
    let stop = Stop(0.into());
    let job = PrepareJob { options: &setup.options, fingerprint: "f", directory: &directory, observer: &stop };
    assert_eq!(prepare(&job).unwrap_err().fault(), psann_core::error::Fault::Interrupted);
    // Far from a checkpoint's amount of text, but kept.
    assert!(directory.join("work/pass-0/000000-00000.json").exists());
    assert_eq!(run(&setup, "out").unwrap().read.documents, 9000);
}
