//! `psann plugin check`: a library against all that psann needs of plugins.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use psann_core::{Error, Result};
use psann_plugins_dynamic::{library, scan};
use psann_sdk::testing::{Outcome, Recorder, conformance};
use serde_json::Value;

use crate::display::{self, Failure};

/// Most lines of a plugin's log that are shown.
const MOST_LINES: usize = 5;

/// Checks a library, in a process of its own unless that is this one.
pub fn execute(library: &Path, options: &[(String, String)], here: bool) -> Result<(), Failure> {
    if !library.is_file() {
        let error = Error::usage(format!("there is no file `{}`", library.display()));
        return Err(error.hint("name the shared library, as in `target/release/libhello_source.so`").into());
    }
    if library.extension().is_some_and(|end| end == "toml") {
        let error = Error::usage(format!("`{}` is a manifest, and `check` is for libraries", library.display()));
        return Err(error.hint("`psann plugin scan` says whether it is as it should be").into());
    }
    let given = read(options)?;
    if here { check(library, &given) } else { apart(library, options) }
}

fn read(options: &[(String, String)]) -> Result<BTreeMap<String, Value>> {
    let one = |(name, text): &(String, String)| {
        let value: Value = serde_json::from_str(text).map_err(|e| {
            let hint = "write `--options 'sqlite={\"path\": \"a.db\"}'`";
            Error::usage(format!("the options of `{name}` are no JSON")).because(e).hint(hint)
        })?;
        Ok((name.clone(), value))
    };
    options.iter().map(one).collect()
}

/// Starts this program again to check the library there: whatever it does, this process lives to tell.
fn apart(library: &Path, options: &[(String, String)]) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|e| Error::new("cannot tell what program this is").because(e))?;
    let mut command = Command::new(program);
    command.args(["plugin", "check", "--here"]);
    for (name, json) in options {
        command.args(["--options", &format!("{name}={json}")]);
    }
    let status = command.arg(library).status().map_err(|e| Error::new("cannot start the check").because(e))?;
    if status.success() {
        return Ok(());
    }
    let file = library.display();
    let error = match status.signal() {
        Some(signal) => {
            let how = scan::signal_name(signal);
            Error::new(format!("`{file}` ended the process with {how}, in what follows the last line above"))
                .hint("run it under a debugger: `gdb --args psann plugin check --here …`")
        }
        None if status.code() == Some(2) => return Err(Failure::Reported(2)),
        None => return Err(Failure::Reported(1)),
    };
    Err(error.into())
}

fn check(path: &Path, options: &BTreeMap<String, Value>) -> Result<(), Failure> {
    let recorder = Recorder::default();
    let plugin = library::load(path, recorder.table())?;
    let manifest = plugin.manifest();
    display::result(&format!("{manifest} · {} · {}", or_dash(&manifest.licence), or_dash(&manifest.sdk)));
    let unknown = options.keys().find(|name| !manifest.components.iter().any(|one| one.name == **name));
    if let Some(name) = unknown {
        let names: Vec<String> = manifest.components.iter().map(|one| format!("`{}`", one.name)).collect();
        let error = Error::usage(format!("`--options` names `{name}`, which is not in {manifest}"));
        return Err(error.hint(format!("it has {}", names.join(", "))).into());
    }
    let checks = conformance(plugin, &recorder, options, &mut |check| display::result(&check.to_string()));
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in recorder.lines() {
        *said.entry(line).or_default() += 1;
    }
    for (line, times) in said.iter().take(MOST_LINES) {
        display::result(&format!("it said, {times} times: {line}"));
    }
    if said.len() > MOST_LINES {
        display::result(&format!("it said {} other things", said.len() - MOST_LINES));
    }
    let count = |of: fn(&Outcome) -> bool| checks.iter().filter(|check| of(&check.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    if failed > 0 {
        let what = format!("{failed} of {} checks failed", checks.len());
        return Err(Error::new(what).hint("docs/abi.md says what must hold").into());
    }
    let passed = checks.len() - skipped;
    if passed == 0 {
        return Err(Error::usage("nothing was checked")
            .hint("give the options it needs: `--options NAME=JSON`")
            .into());
    }
    let rest = if skipped > 0 { format!(", {skipped} skipped: give `--options NAME=JSON`") } else { String::new() };
    display::result(&format!("{passed} checks passed{rest}"));
    Ok(())
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
