//! The source in C: what its README says builds it, and it does all that psann needs of a source.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compiler;
#[allow(dead_code, reason = "shared with tests of filters")]
mod loaded;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use psann_sdk::Fault;
use psann_sdk::call::Plugin;
use psann_sdk::testing::{Recorder, conformance};
use serde_json::json;

use compiler::Language;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/c-source")
}

/// The command line of the README, up to the output.
fn command() -> Command {
    let readme = fs::read_to_string(home().join("README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.strip_prefix("    cc ")).unwrap();
    let arguments = line.strip_suffix(" -o liblines.so").unwrap();
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(arguments.split_whitespace()).current_dir(home());
    command
}

#[test]
fn it_compiles_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = compiler::strict(Language::C11);
    compiler::run(command.arg("-c").arg(home().join("lines.c")).arg("-o").arg(folder.path().join("lines.o")));
}

#[test]
fn it_reads_lines_and_does_all_that_psann_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quotes \" and umläute.txt");
    let lines: Vec<String> = (0..5000).map(|number| format!("line number {number} äöü")).collect();
    // Empty lines, ends of two kinds, and none at the very end.
    fs::write(&path, format!("\n\r\n{}\n\n{}", lines[..2500].join("\r\n"), lines[2500..].join("\n"))).unwrap();
    let library = loaded::library(&mut command());
    let recorder = Recorder::default();
    // SAFETY: the library stays open for good.
    let plugin = unsafe { Plugin::load(loaded::entry(library), recorder.table()) }.unwrap();
    let plugin: &'static Plugin = Box::leak(Box::new(plugin));

    let options = json!({ "path": path });
    let mut stream = plugin.source("lines", &options).unwrap().open(0, None).unwrap();
    let mut found = Vec::new();
    while stream.next(&mut |row| found.push(row.text.to_owned())).unwrap().is_some() {}
    assert_eq!(found, lines);
    let error = plugin.source("lines", &json!({})).err().unwrap();
    assert_eq!((error.fault, error.hint.as_str()), (Fault::Usage, "name the file: `path: \"notes.txt\"`"));
    let missing = plugin.source("lines", &json!({ "path": "/nowhere/a.txt" })).unwrap();
    let error = missing.open(0, None).err().unwrap();
    assert!(error.message.contains("cannot read `/nowhere/a.txt`: No such file"), "{error}");

    let options = BTreeMap::from([("lines".to_owned(), options)]);
    let failed: Vec<String> = conformance(plugin, &recorder, &options, &mut |_| {})
        .iter()
        .filter(|check| check.failed())
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
