//! How long a program lives: as long as somebody reads it, and no longer.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use psann_core::DataSource;
use psann_core::error::Fault;
use serde_json::json;

use super::support::{Plugin, Subject, end_of, in_time, is_alive, named_pipe, texts};
use psann_plugins_dynamic::process::ProcessManifest;

/// A program and a child of its own that never end and hold a pipe called `alive`; behind `start` of its script.
fn endless(start: &str) -> Plugin {
    let script = format!(
        "exec 3>\"${{0%/*}}/alive\"\nsleep 1000 >/dev/null &\necho '{{\"text\":\"a\"}}'\n{start}\necho \"ready $$\" >&2\nwait"
    );
    let plugin = Plugin::new(&script, "");
    named_pipe(&plugin.path("alive"));
    plugin
}

/// Watches a pipe from now on; what waits until no process holds it any more.
fn watch(pipe: &Path) -> impl FnOnce() + use<> {
    let pipe = pipe.to_owned();
    let watcher = std::thread::spawn(move || end_of(&pipe));
    move || drop(watcher.join().unwrap())
}

#[test]
fn a_program_that_nobody_reads_any_more_is_killed_and_its_children_too() {
    let plugin = endless("");
    let ended = watch(&plugin.path("alive"));
    let source = plugin.source();
    let reader = source.open(None).unwrap();
    let number = source.wait_for("ready ");
    assert!(is_alive(&number));
    in_time(move || drop(reader));
    assert!(!is_alive(&number));
    ended();
}

#[test]
fn a_program_that_writes_without_end_is_killed_in_the_middle() {
    let plugin = endless("echo \"ready $$\" >&2; yes '{\"text\":\"a\"}'");
    let ended = watch(&plugin.path("alive"));
    let source = plugin.source();
    let mut reader = source.open(None).unwrap();
    let number = source.wait_for("ready ");
    assert_eq!(reader.next_batch().unwrap().unwrap().len(), 1024);
    in_time(move || drop(reader));
    assert!(!is_alive(&number));
    ended();
}

#[test]
fn reading_ends_when_the_user_asks_to_stop() {
    let plugin = endless("");
    let ended = watch(&plugin.path("alive"));
    let source = plugin.source();
    let mut reader = source.open(None).unwrap();
    let number = source.wait_for("ready ");
    // More often than it is asked before there is nothing to read.
    source.stop_after(20);
    let error = in_time(move || reader.next_batch().unwrap_err());
    assert_eq!((error.fault(), error.message()), (Fault::Interrupted, "stopped while reading from plugin `org.test`"));
    assert!(!is_alive(&number));
    ended();
}

#[test]
fn a_stop_is_heard_while_documents_are_passed_over_and_while_the_end_is_waited_for() {
    // Closes its output and goes on: there is nothing to read, and no end.
    let plugin = endless("exec >&-");
    let ended = watch(&plugin.path("alive"));
    let source = plugin.source();
    let mut reader = source.open(None).unwrap();
    source.wait_for("ready ");
    // It is asked once for the document and once for the end of the output.
    source.stop_after(2);
    assert_eq!(in_time(move || reader.next_batch().unwrap_err()).fault(), Fault::Interrupted);
    ended();

    let source = Plugin::new("yes '{\"text\":\"a\"}'", "").source();
    source.stop_after(1000);
    let far = psann_core::source::ResumeToken(u64::MAX.to_string());
    let error = in_time(move || source.open(Some(&far)).err().unwrap());
    assert_eq!(error.fault(), Fault::Interrupted);
}

#[test]
fn children_that_outlive_a_program_are_killed_at_its_end() {
    let script = "exec 3>\"${0%/*}/alive\"\nsleep 1000 >/dev/null 2>&1 &\necho '{\"text\":\"a\"}'";
    let plugin = Plugin::new(script, "");
    named_pipe(&plugin.path("alive"));
    let ended = watch(&plugin.path("alive"));
    let source = plugin.source();
    let mut reader = source.open(None).unwrap();
    assert_eq!(texts(reader.as_mut()).unwrap(), ["a"]);
    ended();
}

#[test]
fn a_program_outlives_the_thread_that_opened_it() {
    let plugin = Plugin::new("echo '{\"text\":\"a\"}'; read -r go <\"${0%/*}/go\"; echo '{\"text\":\"b\"}'", "");
    named_pipe(&plugin.path("go"));
    let source = plugin.source();
    let partition = source.source.partitions().unwrap().remove(0);
    let (mut reader, source) =
        std::thread::spawn(move || (source.source.open(&partition, None).unwrap(), source)).join().unwrap();
    let go = plugin.path("go");
    in_time(move || OpenOptions::new().write(true).open(go).unwrap().write_all(b"go\n").unwrap());
    assert_eq!(texts(reader.as_mut()).unwrap(), ["a", "b"]);
    drop(source);
}

/// Names the manifest for [`a_psann_that_reads`].
const MANIFEST: &str = "PSANN_TEST_MANIFEST";

/// No test: the psann that [`a_program_dies_with_psann`] kills.
#[test]
fn a_psann_that_reads() {
    let Some(manifest) = std::env::var_os(MANIFEST) else { return };
    let source = Subject::new(ProcessManifest::read(Path::new(&manifest)).unwrap(), json!({})).unwrap();
    let _ = source.texts();
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "elsewhere it ends at its next write")]
fn a_program_dies_with_psann() {
    let plugin = Plugin::new("exec 3>\"${0%/*}/alive\"; echo $$ >&3; exec sleep 1000", "");
    named_pipe(&plugin.path("alive"));
    let mut psann = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::life::a_psann_that_reads"])
        .env(MANIFEST, plugin.path("test.toml"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pipe = plugin.path("alive");
    let (number, mut pipe) = in_time(move || {
        let (mut number, mut pipe) = (String::new(), BufReader::new(File::open(pipe).unwrap()));
        pipe.read_line(&mut number).unwrap();
        (number, pipe)
    });
    assert!(is_alive(number.trim()));
    psann.kill().unwrap();
    psann.wait().unwrap();
    assert_eq!(in_time(move || pipe.read_to_end(&mut Vec::new()).unwrap()), 0);
}
