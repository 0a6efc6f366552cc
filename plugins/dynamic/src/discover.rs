//! From files to entries of the registry.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::options::Schema;
use psann_core::registry::{self, Factory, Kind, Plugin};
use psann_core::{DataSource, Error, Filter, Result};
use psann_sdk::call::{Component, FILTER, Level, Manifest, SOURCE};
use serde_json::Value;

use crate::filter::PluginFilter;
use crate::lock::{Lock, Trusted};
use crate::process::{ProcessManifest, ProcessSource};
use crate::scan::{Outcome, Scans};
use crate::search::{self, Candidate};
use crate::source::PluginSource;
use crate::{error, library, surroundings};

/// Where plugins are looked for, and how they are opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's folder: its `psann.lock`, its `.psann/plugins`.
    pub project: PathBuf,
    /// Further folders, which come first.
    pub folders: Vec<PathBuf>,
    /// Whether plugins may not be used at all.
    pub off: bool,
    /// The program, and what stands before a library's path, that prints [`crate::scan::report`].
    pub scan: Vec<OsString>,
}

/// Which libraries may be opened to see who they are, each in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening<'a> {
    /// Those that the project trusts.
    Trusted,
    /// Also those that go by this name.
    Named(&'a str),
    /// All.
    All,
}

/// Whether a plugin may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The project trusts it.
    Trusted,
    /// Nobody said so.
    Untrusted,
    /// The project trusts another file of that id.
    Changed,
    /// It crashed, or it is none; why.
    Unusable(String),
    /// One of the same id came before.
    Hidden(PathBuf),
}

impl State {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
            Self::Changed => "changed",
            Self::Unusable(_) => "unusable",
            Self::Hidden(_) => "hidden",
        }
    }

    /// What is in the way, where the word does not say it.
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Unusable(why) => Some(why.clone()),
            Self::Hidden(first) => Some(format!("`{}` has the same id", first.display())),
            _ => None,
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the user may call it.
    pub names: Vec<String>,
    /// Its file.
    pub path: PathBuf,
    /// BLAKE3 of its files, in hex; empty if they cannot be read.
    pub hash: String,
    /// Who it is, where that is known.
    pub manifest: Option<Manifest>,
    /// What is behind it, where it is a program.
    process: Option<Arc<ProcessManifest>>,
    /// Whether it may be used.
    pub state: State,
}

/// All that was found, in the order of the search.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// The plugins.
    pub plugins: Vec<Found>,
    /// What the project trusts and what is not among them: the file changed, or it is gone.
    pub missing: Vec<Trusted>,
}

/// Looks for plugins and says of each whether it may be used.
///
/// # Errors
/// When a folder or the lock cannot be read.
pub fn discover(settings: &Settings, opening: Opening<'_>) -> Result<Discovered> {
    let lock = Lock::read(&settings.project)?;
    let mut scans = Scans::read(&settings.project, settings.scan.clone());
    let mut discovered = Discovered::default();
    let mut ids: BTreeMap<String, PathBuf> = BTreeMap::new();
    for candidate in search::candidates(&search::folders(&settings.folders, &settings.project))? {
        let mut found = look(&candidate, &lock, &mut scans, opening);
        if let Some(manifest) = &found.manifest {
            match ids.get(&manifest.id) {
                Some(first) => found.state = State::Hidden(first.clone()),
                None => drop(ids.insert(manifest.id.clone(), found.path.clone())),
            }
        }
        discovered.plugins.push(found);
    }
    let is_there = |trusted: &&Trusted| {
        let mut plugins = discovered.plugins.iter();
        plugins.any(|found| found.hash == trusted.blake3 || found.id() == Some(trusted.id.as_str()))
    };
    discovered.missing = lock.all().iter().filter(|trusted| !is_there(trusted)).cloned().collect();
    // Nothing but time is lost when it cannot be written.
    if let Err(error) = scans.save() {
        surroundings::log(Level::Warning, &error.to_string());
    }
    Ok(discovered)
}

fn look(candidate: &Candidate, lock: &Lock, scans: &mut Scans, opening: Opening<'_>) -> Found {
    let mut found = Found {
        names: candidate.names(),
        path: candidate.path().to_owned(),
        hash: String::new(),
        manifest: None,
        process: None,
        state: State::Untrusted,
    };
    let looked = match candidate {
        Candidate::Broken { message, .. } => Err(Error::new(message.clone())),
        Candidate::Process { manifest, .. } => manifest.hash().map(|hash| {
            found.hash = hash;
            found.manifest = Some(of_process(manifest));
            found.process = Some(Arc::clone(manifest));
        }),
        Candidate::Library { path, declared } => scans.known(path).and_then(|scan| {
            found.hash.clone_from(&scan.hash);
            let declared_hash = declared.as_ref().and_then(|declared| declared.hash.as_ref());
            if declared_hash.is_some_and(|hash| *hash != scan.hash) {
                return Err(Error::new("it is not the file whose hash its manifest says"));
            }
            let may_open = lock.by_hash(&scan.hash).is_some()
                || match opening {
                    Opening::Trusted => false,
                    Opening::Named(name) => found.names.iter().any(|other| other == name),
                    Opening::All => true,
                };
            let scan = if may_open { scans.opened(path)? } else { scan };
            match scan.outcome {
                Some(Outcome::Manifest(manifest)) => {
                    if let Some(declared) = declared.as_ref().filter(|declared| declared.id != manifest.id) {
                        let what =
                            format!("its manifest calls it `{}`, it calls itself `{}`", declared.id, manifest.id);
                        return Err(Error::new(what));
                    }
                    found.manifest = Some(manifest);
                    Ok(())
                }
                Some(Outcome::Refused(why)) => Err(Error::new(why)),
                Some(Outcome::Quarantined(how)) => Err(Error::new(format!("in quarantine: {how}"))),
                None => Ok(()),
            }
        }),
    };
    if let Err(error) = looked {
        found.state = State::Unusable(error.to_string());
    } else if let Some(taken) = found.manifest.as_ref().and_then(taken) {
        found.state = State::Unusable(taken);
    } else if let Some(manifest) = &found.manifest {
        found.names.insert(0, manifest.id.clone());
        found.names.dedup();
        found.state = match lock.get(&manifest.id) {
            Some(trusted) if trusted.blake3 == found.hash => State::Trusted,
            Some(_) => State::Changed,
            None => State::Untrusted,
        };
    }
    found
}

/// What is in the way if a component would be called like one that is part of psann.
fn taken(manifest: &Manifest) -> Option<String> {
    known(manifest).find_map(|(component, kind)| {
        let name = name(manifest, component);
        let built_in = registry::find(kind, &name).is_ok_and(|plugin| plugin.origin.is_none());
        built_in.then(|| {
            format!("its id is the name of a {kind} that is part of psann; it needs another one, as in `org.{name}`")
        })
    })
}

fn of_process(process: &ProcessManifest) -> Manifest {
    let component = Component {
        interface: SOURCE.to_owned(),
        name: process.id.rsplit('.').next().unwrap_or_default().to_owned(),
        version: 1,
        primary: process.primary().map(str::to_owned),
        options: process.schema(),
    };
    Manifest {
        id: process.id.clone(),
        version: process.version.clone(),
        licence: process.licence.clone(),
        description: process.description.clone(),
        sdk: "a program".to_owned(),
        components: vec![component],
    }
}

impl Discovered {
    /// The plugin that a user calls so: by its id, or by its file's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&self, name: &str) -> Result<&Found> {
        let usable = self.plugins.iter().filter(|found| !matches!(found.state, State::Hidden(_)));
        let by = |exact: bool| {
            usable
                .clone()
                .find(|found| if exact { found.id() == Some(name) } else { found.names.iter().any(|n| n == name) })
        };
        by(true).or_else(|| by(false)).ok_or_else(|| {
            let all: Vec<&str> = usable.filter_map(|found| found.names.first()).map(String::as_str).collect();
            let hint = match psann_core::suggest::nearest(name, all.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!(
                    "put its library or its manifest into `{}`, or give its folder: `--plugin-dir DIR`",
                    search::PROJECT
                ),
            };
            Error::usage(format!("no plugin is called `{name}`")).hint(hint)
        })
    }

    /// Puts what is trusted into the registry, and explains the rest to whoever asks for it.
    ///
    /// # Errors
    /// When two plugins would have one name.
    pub fn register(&self, off: bool) -> Result<()> {
        let unknown = self.plugins.iter().filter(|found| found.manifest.is_none() && found.state == State::Untrusted);
        let files: Vec<String> = unknown.map(|found| format!("`{}`", found.path.display())).collect();
        for Trusted { id, .. } in &self.missing {
            let message = format!("the plugin `{id}` is trusted, and no file is the one that `psann.lock` trusts");
            let hint = if files.is_empty() {
                format!("put it back into `{}`, or give its folder: `--plugin-dir DIR`", search::PROJECT)
            } else {
                let files = files.join(", ");
                format!("new or changed: {files}; if that is it, `psann plugin allow {id}` trusts it anew")
            };
            for kind in [Kind::Source, Kind::Filter] {
                registry::explain(kind, id, message.clone(), hint.clone());
            }
        }
        for found in &self.plugins {
            let Some(manifest) = found.manifest.as_ref().filter(|_| !matches!(found.state, State::Hidden(_))) else {
                for (name, kind) in found.names.iter().flat_map(|name| [(name, Kind::Source), (name, Kind::Filter)]) {
                    let (message, hint) = found.refusal(name, off);
                    registry::explain(kind, name, message, hint);
                }
                continue;
            };
            for (component, kind) in known(manifest) {
                let name = name(manifest, component);
                if found.state == State::Trusted && !off {
                    if registry::find(kind, &name).is_ok_and(|there| there.origin.is_some()) {
                        // Registered at an earlier look.
                        continue;
                    }
                    registry::add(found.plugin(manifest, component, kind, &name))?;
                } else {
                    let (message, hint) = found.refusal(&manifest.id, off);
                    registry::explain(kind, &name, message, hint);
                }
            }
        }
        Ok(())
    }
}

/// The components that this psann knows the interfaces of.
fn known(manifest: &Manifest) -> impl Iterator<Item = (&Component, Kind)> {
    manifest.components.iter().filter_map(|component| match component.interface.as_str() {
        SOURCE => Some((component, Kind::Source)),
        FILTER => Some((component, Kind::Filter)),
        _ => None,
    })
}

/// How recipes call a component: by the plugin's id, and its own name where the plugin has several of that kind.
fn name(manifest: &Manifest, component: &Component) -> String {
    let of_kind = manifest.components.iter().filter(|other| other.interface == component.interface).count();
    if of_kind == 1 { manifest.id.clone() } else { format!("{}/{}", manifest.id, component.name) }
}

impl Found {
    /// Its id, where that is known.
    pub fn id(&self) -> Option<&str> {
        self.manifest.as_ref().map(|manifest| manifest.id.as_str())
    }

    /// What there is to say to someone who wants it and may not have it.
    fn refusal(&self, name: &str, off: bool) -> (String, String) {
        let file = self.path.display();
        if off {
            return (
                format!("the plugin `{name}` is not used: plugins are off"),
                "leave out `--no-plugins`".to_owned(),
            );
        }
        let allow = format!("`psann plugin allow {name}` trusts it");
        match &self.state {
            State::Unusable(why) => (
                format!("the plugin `{name}` (`{file}`) cannot be used: {why}"),
                "`psann plugin list` shows what was found".to_owned(),
            ),
            State::Changed => (
                format!("the plugin `{name}` (`{file}`) is not the file that `psann.lock` trusts"),
                format!("if you know why it changed, {allow} anew"),
            ),
            _ => (
                format!("the plugin `{name}` (`{file}`) is not trusted yet"),
                format!("it gets all rights that you have; {allow}"),
            ),
        }
    }

    fn plugin(&self, manifest: &Manifest, component: &Component, kind: Kind, name: &str) -> Plugin {
        let leaked = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let schema = Schema::from_json(component.options.clone());
        let (of_kind, own, hash, path) =
            (name.to_owned(), component.name.clone(), self.hash.clone(), self.path.clone());
        let plugin = manifest.to_string();
        let factory = match (&self.process, kind) {
            (Some(process), _) => {
                let process = Arc::clone(process);
                Factory::Source(Box::leak(Box::new(move |options: &Value| run(&process, options))))
            }
            (None, Kind::Filter) => Factory::Filter(Box::leak(Box::new(move |options: &Value| {
                let call = library::trusted(&path, &hash)?.filter(&own, options).map_err(error)?;
                Ok(Box::new(PluginFilter::new(hash.clone(), call)) as Box<dyn Filter>)
            }))),
            (None, _) => Factory::Source(Box::leak(Box::new(move |options: &Value| {
                let call = library::trusted(&path, &hash)?.source(&own, options).map_err(error)?;
                let (name, plugin) = (of_kind.clone(), plugin.clone());
                let source = PluginSource { name, plugin, hash: hash.clone(), call };
                Ok(Box::new(source) as Box<dyn DataSource>)
            }))),
        };
        Plugin {
            kind,
            name: leaked(name),
            version: component.version,
            primary: component.primary.as_deref().map(leaked),
            schema: Box::leak(Box::new(move || schema.clone())),
            factory,
            origin: Some(leaked(&manifest.to_string())),
        }
    }
}

fn run(process: &Arc<ProcessManifest>, options: &Value) -> Result<Box<dyn DataSource>> {
    let log = Arc::new(|line: &str| surroundings::log(Level::Info, line));
    let source = ProcessSource::new(Arc::clone(process), options.clone(), log, Arc::new(surroundings::is_cancelled))?;
    Ok(Box::new(source))
}

/// Trusts a plugin from now on: looks at it in a process of its own, and writes its hash into the project's `psann.lock`.
///
/// # Errors
/// When there is none of that name, or it cannot be used.
pub fn allow(settings: &Settings, name: &str) -> Result<Trusted> {
    let mut discovered = discover(settings, Opening::Named(name))?;
    if discovered.named(name).is_err() {
        // It may be the id of a library whose file has another name: only the library itself knows.
        discovered = discover(settings, Opening::All)?;
    }
    let found = discovered.named(name)?;
    let usable = !matches!(found.state, State::Unusable(_));
    let Some(manifest) = found.manifest.as_ref().filter(|_| usable) else {
        let (message, hint) = found.refusal(name, false);
        return Err(Error::usage(message).hint(hint));
    };
    let trusted = Trusted { id: manifest.id.clone(), version: manifest.version.clone(), blake3: found.hash.clone() };
    Lock::read(&settings.project)?.allow(trusted.clone())?;
    Ok(trusted)
}

/// The plugins that a run uses, for its records: id, version and hash.
///
/// # Errors
/// When the lock cannot be read.
pub fn used(project: &Path, names: &[String]) -> Result<Vec<Trusted>> {
    let lock = Lock::read(project)?;
    let id = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
    Ok(names.iter().filter_map(|name| lock.get(&id(name)).cloned()).collect())
}
