//! Plugins of others, for the verbs that read recipes and plans: looks for them, puts those that are trusted into the
//! registry, and asks about the others where somebody can answer.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::plan::Plan;
use psann_core::registry::{self, Kind};
use psann_core::{Error, Event, Observer, Result};
use psann_plugins_dynamic::discover::{self, Opening, State};
use psann_plugins_dynamic::lock::Trusted;
use psann_plugins_dynamic::surroundings::{self, Surroundings};
use psann_plugins_dynamic::{Discovered, Settings};
use psann_sdk::call::Level;

use crate::cli::PluginFlags;

/// Where they are looked for.
///
/// # Errors
/// When a folder that the user names is not there, or the system does not tell what program this is.
pub fn settings(flags: &PluginFlags) -> Result<Settings> {
    if let Some(folder) = flags.plugin_dirs.iter().find(|folder| !folder.is_dir()) {
        return Err(
            Error::usage(format!("there is no folder `{}`", folder.display())).hint("it was given by `--plugin-dir`")
        );
    }
    let program = std::env::current_exe().map_err(|e| Error::new("cannot tell what program this is").because(e))?;
    Ok(Settings {
        project: PathBuf::from("."),
        folders: flags.plugin_dirs.clone(),
        off: flags.no_plugins,
        scan: vec![program.into(), "plugin".into(), "inspect".into()],
    })
}

/// Puts what is trusted into the registry, if it is not there already.
///
/// # Errors
/// When a folder or `psann.lock` cannot be read.
pub fn register(flags: &PluginFlags) -> Result<Discovered> {
    let settings = settings(flags)?;
    let discovered = discover::discover(&settings, Opening::Trusted)?;
    discovered.register(settings.off)?;
    Ok(discovered)
}

/// Lets plugins speak to the user and hear the wish to stop.
pub fn surround<O: Observer + 'static>(observer: &Arc<O>) {
    let (speaker, stopper) = (Arc::clone(observer), Arc::clone(observer));
    surroundings::set(Surroundings {
        log: Arc::new(move |level, line| {
            let line = line.to_owned();
            speaker.event(if level == Level::Info { Event::Note(line) } else { Event::Warning(line) });
        }),
        cancelled: Arc::new(move || stopper.stop_requested()),
    });
}

/// Of the plugins that a recipe asked for in vain, trusts those that the user says yes to; whether there is a new one.
/// Nobody is asked without a terminal: the recipe's error says what to do.
///
/// # Errors
/// When `psann.lock` cannot be written.
pub fn ask(flags: &PluginFlags, discovered: &Discovered, wanted: &[String], yes: bool) -> Result<bool> {
    if flags.no_plugins || !(yes || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal())) {
        return Ok(false);
    }
    let settings = settings(flags)?;
    let mut is_new = false;
    for name in wanted {
        let id = name.split('/').next().unwrap_or(name);
        // A library that changed is not opened to see who it is now, so it may only be known that it is missing.
        let missing = discovered.missing.iter().any(|trusted| trusted.id == id);
        let (file, changed) = match discovered.named(id) {
            Ok(found) if found.state == State::Untrusted => (found.path.display().to_string(), false),
            Ok(found) if found.state == State::Changed => (found.path.display().to_string(), true),
            Err(_) if missing => ("a file that is new".to_owned(), true),
            _ => continue,
        };
        if !(yes || confirm(id, &file, changed)) {
            continue;
        }
        discover::allow(&settings, id)?;
        is_new = true;
    }
    Ok(is_new)
}

fn confirm(id: &str, file: &str, changed: bool) -> bool {
    let changed = if changed { " It is not the file that was trusted before." } else { "" };
    let question = format!(
        "the recipe uses the plugin `{id}` ({file}), which gets all rights that you have.{changed} Trust it? [y/N] "
    );
    let mut terminal = std::io::stderr().lock();
    // Without a question there is no answer.
    if terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// The plugins of others that a plan names: id, version and hash, for the run's records.
///
/// # Errors
/// When `psann.lock` cannot be read.
pub fn used(plan: &Plan) -> Result<Vec<Trusted>> {
    let named = plan.stages.iter().flat_map(Plan::plugins).filter_map(|(label, _)| {
        let (kind, name) = label.split_once('/')?;
        let plugin = registry::find(Kind::from_word(kind)?, name).ok()?;
        plugin.origin.map(|_| name.to_owned())
    });
    let names: BTreeSet<String> = named.collect();
    discover::used(Path::new("."), &names.into_iter().collect::<Vec<_>>())
}
