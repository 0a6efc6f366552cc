//! The example of the SDK.

use std::path::{Path, PathBuf};
use std::process::Command;

use psann_core::options::Schema;
use psann_plugins_dynamic::process::ProcessManifest;
use serde_json::json;

use super::support::Subject;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/examples/python-process")
}

fn manifest() -> ProcessManifest {
    ProcessManifest::read(&folder().join("hello.toml")).unwrap()
}

#[expect(clippy::print_stderr, reason = "nothing is skipped silently")]
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no `python3` to run the example of the SDK with");
    }
    found
}

#[test]
fn the_example_describes_its_options() {
    let manifest = manifest();
    assert_eq!(manifest.primary(), Some("name"));
    let schema = Schema::from_json(manifest.schema());
    assert_eq!(schema.summary(), "Greetings, as many as you like");
    let fields: Vec<_> = schema.fields().into_iter().map(|f| (f.name, f.accepts, f.help, f.default)).collect();
    let field = |name: &str, accepts: &str, help: &str, default| (name.into(), accepts.into(), help.into(), default);
    assert_eq!(
        fields,
        [
            field("count", "an integer", "How many documents", json!(10)),
            field("name", "a string", "Who is greeted", json!("world")),
        ]
    );
}

#[test]
fn the_example_resumes_exactly() {
    if !has_python() {
        return;
    }
    let source = Subject::new(manifest(), json!({ "name": "reader \"é\"", "count": 2500 })).unwrap();
    let expected: Vec<_> = (1..=2500).map(|n| format!("Hello, reader \"é\", for time number {n}.")).collect();
    assert_eq!(source.check_resume(&expected), ["0:", "0:1025", "0:2049", "0:2501"]);
}

#[test]
fn the_program_runs_on_its_own_as_its_readme_says() {
    if !has_python() {
        return;
    }
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut lines = readme.lines().skip_while(|line| !line.starts_with("    $ PSANN_OPTIONS="));
    let command = lines.next().unwrap().trim_start_matches("    $ ");
    let printed = lines.map_while(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n");
    let output = Command::new("sh").args(["-c", command]).current_dir(folder()).output().unwrap();
    assert!(!printed.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), printed);
}
