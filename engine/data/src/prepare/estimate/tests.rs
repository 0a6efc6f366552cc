use std::fs;
use std::path::PathBuf;

use psann_core::observer::Silent;
use psann_core::plan::{Component, Flow};
use psann_core::quantity::Count;
use psann_core::registry::Kind;
use psann_plugins_data as _;
use serde_json::{Value, json};

use super::*;
use crate::prepare::{BASE_BYTES, PrepareJob, WORKER_BYTES, prepare};

/// A small generator of numbers below `below`.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % below
    }
}

/// Files of documents, of which a share that differs from file to file has no text left after `normalize`.
struct Synthetic {
    folder: tempfile::TempDir,
    documents: u64,
    text: u64,
    kept: u64,
}

fn synthetic(files: usize, documents: u64, seed: u64) -> Synthetic {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance(seed);
    let mut all = Synthetic { folder, documents: 0, text: 0, kept: 0 };
    for file in 0..files {
        let (blank, mut lines) = (20 + chance.next(40), String::new());
        for _ in 0..documents / 2 + chance.next(documents) {
            let length = 100 + chance.next(900) as usize;
            let text = if chance.next(100) < blank {
                " ".repeat(length)
            } else {
                all.kept += length as u64;
                // Words of four letters, ended by one that is no blank, so that nothing is rewritten.
                let mut text: String = (0..length - 1)
                    .map(|at| if at % 5 == 4 { ' ' } else { (b'a' + chance.next(26) as u8) as char })
                    .collect();
                text.push('.');
                text
            };
            all.text += text.len() as u64;
            all.documents += 1;
            lines.push_str(&json!({ "text": text }).to_string());
            lines.push('\n');
        }
        fs::write(all.folder.path().join(format!("{file:03}.jsonl")), lines).unwrap();
    }
    all
}

fn component(kind: Kind, name: &str, options: Value) -> Component {
    Component { kind, name: name.into(), options }
}

fn options(path: &Value, filters: &[&str]) -> PrepareOptions {
    let source = component(Kind::Source, "jsonl", json!({ "path": path }));
    let filters =
        filters.iter().map(|name| psann_core::plan::FilterComponent(Component::new(Kind::Filter, name))).collect();
    PrepareOptions { data: Some(Flow { source, filters }), workers: 2, ..PrepareOptions::default() }
}

impl Synthetic {
    fn options(&self) -> PrepareOptions {
        options(&json!(self.folder.path().join("*.jsonl")), &["normalize"])
    }

    fn out(&self) -> PathBuf {
        let out = self.folder.path().join("out");
        fs::create_dir_all(&out).unwrap();
        out
    }
}

fn budget(partitions: usize, bytes: u64) -> SampleBudget {
    // A slow machine must not change what is read.
    SampleBudget { partitions, bytes: Bytes(bytes), time: Seconds(1000.0), ..SampleBudget::default() }
}

fn sampled(options: &PrepareOptions, partitions: usize, bytes: u64) -> Estimate {
    estimate(options, budget(partitions, bytes), &Silent).unwrap()
}

#[test]
fn the_truth_lies_within_the_bars() {
    let (mut inside, mut all) = (0, 0);
    for corpus in 0..3 {
        let truth = synthetic(60, 150, corpus);
        for seed in 0..10 {
            let found = sampled(&PrepareOptions { seed, ..truth.options() }, 12, 1 << 30);
            assert_eq!((found.sampled_partitions, found.partitions, found.whole), (12, 60, false));
            let covers = [
                found.text.covers(truth.text as f64),
                found.documents.covers(truth.documents as f64),
                found.kept.covers(truth.kept as f64),
                found.kept_share.covers(truth.kept as f64 / truth.text as f64),
                found.filters[0].dropped.covers(1.0 - truth.kept as f64 / truth.text as f64),
            ];
            inside += covers.iter().filter(|covers| **covers).count();
            all += covers.len();
            // The bars are no excuse for anything: a few percent of what is kept.
            let error = found.kept.error.unwrap() / found.kept.value;
            assert!((0.001..0.25).contains(&error), "{error}");
        }
    }
    assert!(inside * 100 >= all * 92, "{inside} of {all}");
}

#[test]
fn what_is_read_whole_is_known() {
    let truth = synthetic(5, 300, 7);
    let found = sampled(&truth.options(), 24, 64_000_000);
    assert!(found.whole);
    for (found, truth) in [(found.text, truth.text), (found.documents, truth.documents), (found.kept, truth.kept)] {
        assert!(found.covers(truth as f64) && found.error == Some(0.0), "{found:?} {truth}");
    }
    assert_eq!(found.sampled.bytes, truth.text);
}

#[test]
fn the_beginning_of_each_partition_stands_for_it() {
    // Batches of a thousand documents, files of several.
    let truth = synthetic(6, 6000, 11);
    let found = sampled(&truth.options(), 6, 6_000_000);
    assert!(!found.whole && found.sampled.bytes < truth.text / 2, "{:?}", found.sampled);
    // Reading went on to the end, so the amount of text is known; what is kept is not.
    assert!((found.text.value / truth.text as f64 - 1.0).abs() < 1e-9);
    assert!(found.kept.covers(truth.kept as f64) && found.kept.error.unwrap() > 0.0, "{:?}", found.kept);
}

#[test]
fn one_partition_does_not_know_its_error() {
    let truth = synthetic(1, 6000, 3);
    let found = sampled(&truth.options(), 24, 100_000);
    assert_eq!((found.kept.error, found.time.error), (None, None));
    assert!((found.kept.value / truth.kept as f64 - 1.0).abs() < 0.1);
    let text = found.to_string();
    assert!(text.contains("error      unknown") && !text.contains('±'), "{text}");
    let whole = sampled(&truth.options(), 24, 64_000_000);
    assert!(whole.whole && whole.kept.error == Some(0.0));
}

#[test]
fn an_empty_source_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jsonl"), "").unwrap();
    let found = sampled(&options(&json!(folder.path().join("*.jsonl")), &["normalize", "exact"]), 24, 1000);
    assert_eq!(
        (found.kept, found.text, found.sampled),
        (Measured::exactly(0.0), Measured::exactly(0.0), Amount::default())
    );
    assert!(found.whole && found.to_string().contains("kept       0 B of 0 B"), "{found}");
}

#[test]
fn what_has_no_size_is_not_touched() {
    let stdin = options(&json!("-"), &[]);
    let error = estimate(&stdin, SampleBudget::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("the size of standard input is unknown"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = options(&json!(null), &[]);
    let touch = ["touch".to_owned(), trace.display().to_string()];
    command.data.as_mut().unwrap().source.options = json!({ "command": touch });
    assert!(estimate(&command, SampleBudget::default(), &Silent).is_err());
    assert!(!trace.exists());
    // Beside files, it is told of and left alone.
    let truth = synthetic(2, 100, 1);
    let mixed = options(&json!([truth.folder.path().join("*.jsonl"), "-"]), &["normalize"]);
    let found = sampled(&mixed, 24, 64_000_000);
    assert!(found.kept.covers(truth.kept as f64));
    assert!(found.notes[0].starts_with("standard input is not in these numbers"), "{:?}", found.notes);
}

#[test]
fn a_limit_caps() {
    let truth = synthetic(8, 400, 5);
    let mut options = truth.options();
    options.limit = Some(Count(700));
    let short = sampled(&options, 24, 64_000_000);
    let report = run(&truth, &options);
    assert!(short.whole);
    assert_eq!((short.sampled, short.documents.value), (report.read, 700.0));
    assert!(short.kept.covers((report.train.bytes + report.validation.bytes) as f64));
    // Too many for the budget: a sample of all, scaled.
    let long = sampled(&options, 4, 200_000);
    assert!((long.documents.value - 700.0).abs() < 1e-6 && !long.whole);
    assert!(long.notes.iter().any(|note| note.contains("`limit`")), "{:?}", long.notes);
    options.limit = Some(Count(1_000_000));
    assert!(sampled(&options, 24, 64_000_000).documents.covers(truth.documents as f64));
}

fn run(truth: &Synthetic, options: &PrepareOptions) -> crate::prepare::PrepareReport {
    let directory = truth.out();
    prepare(&PrepareJob { options, fingerprint: "f", directory: &directory, observer: &Silent }).unwrap()
}

#[test]
fn a_real_run_keeps_and_takes_what_was_said() {
    let truth = synthetic(80, 180, 21);
    let options = truth.options();
    assert!(truth.text > 5_000_000);
    let found = sampled(&options, 16, 1 << 30);
    let report = run(&truth, &options);
    assert_eq!(report.read.bytes, truth.text);
    let kept = report.train.bytes + report.validation.bytes;
    assert!(found.kept.covers(kept as f64), "{:?} {kept}", found.kept);
    let manifest = crate::Manifest::read(&truth.out()).unwrap();
    let shards: u64 = manifest.train.iter().chain(&manifest.validation).map(|shard| shard.sum.size).sum();
    let record: u64 =
        fs::read_dir(truth.out().join("dropped")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    let disk = (shards + record) as f64;
    // Small row groups pack a little worse than large ones.
    assert!((found.disk.value / disk - 1.0).abs() < 0.15, "{:?} {disk}", found.disk);
    assert!(found.working_disk.value > found.disk.value);
}

#[test]
fn copies_are_told_apart_from_what_is_estimated() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..4 {
        // Half of the documents stand in every file.
        let line = |n: usize| {
            let name = if n.is_multiple_of(2) { format!("shared {n}") } else { format!("own {n} of {file}") };
            json!({ "text": format!("A document, {name}, of some length that does not matter here.") }).to_string()
                + "\n"
        };
        fs::write(folder.path().join(format!("{file}.jsonl")), (0..200).map(line).collect::<String>()).unwrap();
    }
    let found = sampled(&options(&json!(folder.path().join("*.jsonl")), &["exact", "minhash"]), 24, 64_000_000);
    assert!(found.kept_documents.covers(800.0));
    let exact = &found.within_sample[0];
    assert_eq!((exact.filter.as_str(), exact.seen.documents, exact.dropped.documents), ("exact", 800, 300));
    assert!(exact.at_least);
    assert_eq!(found.within_sample[1].seen.documents, 500);
    assert!(found.to_string().contains("duplicates are not in these numbers"), "{found}");
}

#[test]
fn memory_says_when_it_does_not_suffice() {
    let truth = synthetic(4, 50, 2);
    let roomy = sampled(&truth.options(), 24, 64_000_000);
    assert_eq!(roomy.memory.value as u64, BASE_BYTES + roomy.workers as u64 * WORKER_BYTES);
    assert!(roomy.memory.value <= roomy.memory_limit as f64 && roomy.notes.is_empty(), "{:?}", roomy.notes);
    let tight = PrepareOptions { memory: Bytes(50 << 20), ..truth.options() };
    let tight = sampled(&tight, 24, 64_000_000);
    assert!(
        tight.notes[0].starts_with("`memory` is 50.0 MiB, but the least that this takes is 168 MiB"),
        "{:?}",
        tight.notes
    );
}

#[test]
fn the_text_is_aligned_and_complete() {
    let with = |value, error| Measured { value, error: Some(error) };
    let share = |filter: &str, value, error| FilterShare { filter: filter.into(), dropped: with(value, error) };
    let found = Estimate {
        partitions: 310,
        sampled_partitions: 24,
        sampled: Amount { documents: 20_000, bytes: 61_000_000 },
        whole: false,
        documents: with(7e7, 1e6),
        text: with(225e9, 5e9),
        kept_documents: with(1e7, 3e5),
        kept: with(41.2e9, 1.3e9),
        kept_share: with(0.183, 0.006),
        tokens: with(9.2e9, 0.3e9),
        filters: vec![share("normalize", 0.0001, 0.0), share("gopher", 0.21, 0.01), share("english", 0.44, 0.02)],
        time: with(7800.0, 720.0),
        workers: 8,
        working_disk: with(96e9, 3e9),
        disk: with(17e9, 0.6e9),
        memory: with(1.1e9, 0.0),
        memory_limit: 2 << 30,
        within_sample: vec![Found {
            filter: "minhash".into(),
            seen: Amount { documents: 100, bytes: 1000 },
            dropped: Amount { documents: 3, bytes: 31 },
            at_least: true,
        }],
        notes: vec!["something else".into()],
    };
    assert_eq!(
        found.lines(),
        [
            "sampled    24 of 310 partitions (61.0 MB of text)",
            "kept       41.2 GB ± 1.3 of 225 GB (18 % ± 0.6), about 9.20B ± 0.30 tokens",
            "dropped    english 44 % ± 2, gopher 21 % ± 1",
            "time       2 h 10 m ± 12 m with 8 workers",
            "disk       96.0 GB ± 3.0 while it runs, 17.0 GB ± 0.6 when done",
            "memory     1.02 GiB of 2.00 GiB",
            "error      ± is the 95 % interval, as far as the parts sampled are like the others",
            "duplicates are not in these numbers: a sample cannot show them",
            "  copies within the sample, of the text: at least minhash 3.1 %",
            "note       something else",
        ]
    );
    assert_eq!(serde_json::to_value(&found).unwrap()["kept"], json!({ "value": 41.2e9, "error": 1.3e9 }));
}

#[test]
fn a_partition_that_was_not_read_to_its_end_goes_by_packed_bytes() {
    let truth = synthetic(3, 10, 1);
    let options = truth.options();
    let flow = options.data.as_ref().unwrap();
    let source = registry::source(&flow.source.name, &flow.source.options).unwrap();
    let filters = Filters::new(&flow.filters).unwrap();
    let sampler = Sampler { options: &options, source: source.as_ref(), filters: &filters, observer: &Silent };
    let mut partitions = source.partitions().unwrap();
    for partition in &mut partitions {
        partition.bytes = 1000;
    }
    let task = Task { sampler, partitions: &partitions, budget: &budget(3, 1) };
    let cluster = |partition, text, packed, pace| Cluster { partition, text, pace, packed, ..Cluster::default() };
    let texts = |clusters: &[Cluster]| task.texts(clusters).map(|texts| (texts.bytes, texts.guessed));
    // Three times as much text as packed bytes.
    assert_eq!(texts(&[cluster(0, None, Some(100), (300, 100))]).unwrap(), (vec![3000.0], false));
    // The source reads a half of the bytes only, as the first partition shows.
    let half = [cluster(0, Some(2000), Some(500), (0, 0)), cluster(1, None, Some(90), (360, 90))];
    assert_eq!(texts(&half).unwrap(), (vec![2000.0, 2000.0], false));
    // Of the second, nothing is known but the first.
    let guessed = [cluster(0, Some(2000), None, (0, 0)), cluster(1, None, None, (0, 0))];
    assert_eq!(texts(&guessed).unwrap(), (vec![2000.0, 2000.0], true));
    assert!(texts(&guessed[1..]).unwrap_err().hint_text().unwrap().contains("more time"));
}

#[test]
fn a_stop_is_heard() {
    struct Stop;
    impl Observer for Stop {
        fn event(&self, _: Event) {}

        fn stop_requested(&self) -> bool {
            true
        }
    }
    let truth = synthetic(3, 10, 1);
    let error = estimate(&truth.options(), SampleBudget::default(), &Stop).unwrap_err();
    assert_eq!(error.fault(), psann_core::error::Fault::Interrupted);
}
