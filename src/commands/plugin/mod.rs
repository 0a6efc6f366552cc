//! `psann plugin`: what recipes can use, and plugins of others.

mod check;
mod new;
mod registry;

use std::path::Path;

use psann_core::{Event, Observer};
use psann_plugins_dynamic::discover::{self, Found, Opening};
use psann_plugins_dynamic::{Lock, scan};
use serde_json::{Value, json};

use crate::cli::{PluginArgs, PluginCommand};
use crate::display::{self, Failure};
use crate::plugins;
use crate::progress::Progress;
use crate::stop::Stop;

/// Does what the verb says.
pub fn execute(args: &PluginArgs) -> Result<(), Failure> {
    let flags = &args.flags;
    match &args.command {
        PluginCommand::List { json } => {
            let discovered = plugins::register(flags)?;
            display::result(&if *json { registry::list_json() } else { registry::list(&discovered) });
        }
        PluginCommand::Info { name, json } => {
            plugins::register(flags)?;
            for plugin in registry::named(name)? {
                display::result(&if *json {
                    format!("{:#}", (plugin.schema)().json())
                } else {
                    registry::info(plugin)
                });
            }
        }
        PluginCommand::New { name, kind, lang, id, sdk } => {
            let written = new::execute(name, *kind, *lang, id.as_deref(), sdk.as_deref())?;
            display::result(&written);
        }
        PluginCommand::Check { library, options, here } => return check::execute(library, options, *here),
        PluginCommand::Scan { json } => {
            let settings = plugins::settings(flags)?;
            let discovered = discover::discover(&settings, Opening::All)?;
            if *json {
                let found: Vec<Value> = discovered.plugins.iter().map(found_json).collect();
                display::result(&format!("{:#}", json!(found)));
            } else if discovered.plugins.is_empty() {
                display::result("no plugins were found; `docs/plugins.md` says where they belong");
            } else {
                display::result(&registry::others(&discovered));
            }
        }
        PluginCommand::Allow { name } => {
            let settings = plugins::settings(flags)?;
            let trusted = discover::allow(&settings, name)?;
            let observer = Progress::new(Stop::listen()?);
            let note = format!("`{}` {} is trusted by its hash; `psann.lock` says so", trusted.id, trusted.version);
            observer.event(Event::Note(note));
        }
        PluginCommand::Forget { id } => {
            let observer = Progress::new(Stop::listen()?);
            let had = Lock::read(Path::new("."))?.forget(id)?;
            let note = if had { "is trusted no more" } else { "was not trusted" };
            observer.event(Event::Note(format!("`{id}` {note}")));
        }
        PluginCommand::Inspect { library } => display::result(&scan::report(library)),
    }
    Ok(())
}

fn found_json(found: &Found) -> Value {
    json!({
        "file": found.path,
        "blake3": found.hash,
        "state": found.state.word(),
        "why": found.state.why(),
        "manifest": found.manifest,
    })
}
