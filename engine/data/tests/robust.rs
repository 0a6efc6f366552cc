//! A run of `prepare` gives the same bytes for any number of workers and after any kill, and keeps to its memory.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use psann_core::observer::Silent;
use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::quantity::{Bytes, Share};
use psann_core::registry::Kind;
use psann_data::prepare::Recording;
use psann_data::{PrepareJob, PrepareOptions, prepare};
use psann_plugins_data as _;
use serde_json::{Value, json};

/// Words of made-up texts.
const WORDS: [&str; 24] = [
    "the", "river", "of", "and", "to", "that", "with", "have", "be", "was", "house", "morning", "letter", "garden",
    "remember", "quickly", "seven", "market", "cloud", "window", "paper", "stone", "again", "under",
];

/// A pseudo-random stream.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn text(&mut self, words: u64) -> String {
        let mut text = String::new();
        for word in 0..words {
            text.push_str(WORDS[self.below(24) as usize]);
            text.push_str(if word % 12 == 11 { ".\n" } else { " " });
        }
        text
    }
}

/// Writes `files` shards with about `megabytes` of text in all: new texts, copies, near copies, short ones, and texts
/// with characters to normalise.
fn corpus(folder: &Path, megabytes: u64, files: u64) {
    let mut random = Random(7);
    let mut earlier: Vec<String> = Vec::new();
    for file in 0..files {
        let mut lines = String::new();
        let mut bytes = 0;
        while bytes < megabytes * 1_000_000 / files {
            let text = match random.below(10) {
                0 if !earlier.is_empty() => earlier[random.below(earlier.len() as u64) as usize].clone(),
                1 if !earlier.is_empty() => {
                    earlier[random.below(earlier.len() as u64) as usize].replacen("river", "stream", 2) + "\r\nand more"
                }
                2 => random.text(8),
                _ => {
                    let words = 150 + random.below(500);
                    random.text(words)
                }
            };
            bytes += text.len() as u64;
            lines.push_str(
                &json!({ "text": text, "url": format!("https://a.example/{}", random.below(5000)) }).to_string(),
            );
            lines.push('\n');
            if earlier.len() < 200 {
                earlier.push(text);
            } else {
                let at = random.below(200) as usize;
                earlier[at] = text;
            }
        }
        let path = folder.join(format!("{file:03}.jsonl.zst"));
        fs::write(path, zstd::encode_all(lines.as_bytes(), 1).unwrap()).unwrap();
    }
}

fn options(input: &Path) -> PrepareOptions {
    let filter =
        |name: &str, options: Value| FilterComponent(Component { kind: Kind::Filter, name: name.into(), options });
    let path = input.join("*.jsonl.zst").display().to_string();
    let source = Component { kind: Kind::Source, name: "jsonl".into(), options: json!({ "path": path }) };
    // A row filter behind a corpus filter makes a second pass.
    let filters = vec![
        filter("normalize", json!({})),
        filter("exact", json!({ "keep": "longest" })),
        filter("url", json!({ "invalid": true })),
        filter("minhash", json!({ "preset": "verified" })),
        filter("exact", json!({ "key": "url" })),
    ];
    PrepareOptions {
        data: Some(Flow { source, filters }),
        validation: Share(0.05),
        shard: Bytes(1 << 20),
        checkpoint: Bytes(1 << 19),
        dropped: Recording::Texts,
        index: true,
        ..PrepareOptions::default()
    }
}

fn run(options: &PrepareOptions, out: &Path) {
    fs::create_dir_all(out).unwrap();
    prepare(&PrepareJob { options, fingerprint: "f", directory: out, observer: &Silent }).unwrap();
}

/// Every file below a folder with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn assert_same(expected: &BTreeMap<PathBuf, Vec<u8>>, found: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{what}");
    for (path, bytes) in expected {
        assert!(found[path] == *bytes, "{what}: {} differs", path.display());
    }
}

#[test]
fn the_bytes_are_the_same_for_any_number_of_workers_and_any_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    corpus(folder.path(), 6, 5);
    let mut expected = None;
    for (workers, checkpoint) in [(1, 1 << 19), (2, 1 << 19), (4, 1 << 19), (2, 1 << 30), (4, 1 << 16)] {
        let out = folder.path().join(format!("out-{workers}-{checkpoint}"));
        let options = PrepareOptions { workers, checkpoint: Bytes(checkpoint), index: false, ..options(folder.path()) };
        run(&options, &out);
        let found = content(&out);
        assert!(found.len() > 8, "{:?}", found.keys());
        assert_same(expected.get_or_insert_with(|| found.clone()), &found, &format!("{workers} workers, {checkpoint}"));
    }
}

/// Runs as a process of its own: see [`start`].
#[test]
#[ignore = "a child of the tests here"]
fn child() {
    if let (Some(input), Some(out)) = (std::env::var_os("PSANN_TEST_INPUT"), std::env::var_os("PSANN_TEST_OUT")) {
        let mut options = options(Path::new(&input));
        if let Ok(memory) = std::env::var("PSANN_TEST_MEMORY") {
            options.memory = Bytes(memory.parse().unwrap());
            (options.checkpoint, options.shard) = (Bytes(64 << 20), Bytes(256 << 20));
            options.dropped = Recording::Records;
        }
        run(&options, Path::new(&out));
    }
}

/// A process that prepares `input` into `out`.
fn start(input: &Path, out: &Path, limit: Option<u64>) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match limit {
        None => Command::new(&this),
        Some(bytes) => {
            // Private memory that can be written to, of any kind, counts against this limit.
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -d {} && exec \"$0\" \"$@\"", bytes / 1024)).arg(&this);
            shell.env("PSANN_TEST_MEMORY", bytes.to_string());
            shell
        }
    };
    command
        .args(["--exact", "child", "--ignored"])
        .env("PSANN_TEST_INPUT", input)
        .env("PSANN_TEST_OUT", out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_run_that_is_killed_twenty_times_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    corpus(folder.path(), 8, 3);
    let undisturbed = folder.path().join("undisturbed");
    let started = Instant::now();
    assert!(start(folder.path(), &undisturbed, None).wait().unwrap().success());
    let whole = started.elapsed();
    let expected = content(&undisturbed);
    let killed = folder.path().join("killed");
    let mut random = Random(99);
    let mut kills = 0;
    while kills < 20 {
        let mut child = start(folder.path(), &killed, None);
        // Anywhere in the run at first, later within a tenth of it, so that twenty kills fit into its work.
        let share = if kills < 5 { random.below(80) } else { random.below(12) };
        let deadline = Instant::now() + whole.mul_f64(0.03 + share as f64 / 100.0);
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_some() {
            // It came through before it could be killed: start over.
            fs::remove_dir_all(&killed).unwrap();
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(start(folder.path(), &killed, None).wait().unwrap().success());
    assert_same(&expected, &content(&killed), "after twenty kills");
}

/// Prepares `megabytes` of text under a limit of 512 MB that the system enforces.
fn under_a_limit(megabytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    corpus(folder.path(), megabytes, 4);
    let out = folder.path().join("out");
    let child = start(folder.path(), &out, Some(512_000_000));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.join("manifest.json").exists());
}

#[test]
fn a_corpus_is_prepared_under_a_limit_of_memory() {
    under_a_limit(100);
}

#[test]
#[ignore = "soak: minutes"]
fn two_gigabytes_are_prepared_under_a_limit_of_memory() {
    under_a_limit(2000);
}
