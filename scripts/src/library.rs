//! `import`: the recipes' standard library, and scripts beside the recipe.
//!
//! A recipe is safe to open because it can reach only what its author put beside it: paths are relative to the
//! recipe's folder and never lead out of it, symbolic links included. `lib/…` names the scripts that are built in.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, PoisonError};

use psann_core::suggest;
use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope};

use crate::explain;
use crate::host::{Host, Script, Site, stop};

/// The scripts that are built in.
const BUILT_IN: [(&str, &str); 1] = [("lib/english", include_str!("../lib/english.rhai"))];

/// Larger files are data, not scripts.
pub(crate) const LARGEST: u64 = 1 << 20;

/// Finds and evaluates imported scripts, each once.
pub(crate) struct Library {
    host: Arc<Host>,
    loaded: Mutex<BTreeMap<String, Loading>>,
}

/// How far the import of a script is.
#[derive(Clone)]
enum Loading {
    /// Its own imports are being evaluated: to meet it again is a cycle.
    Begun,
    Done(Arc<Module>),
}

impl Library {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host, loaded: Mutex::new(BTreeMap::new()) }
    }

    fn mark(&self, path: &str, loading: Option<Loading>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match loading {
            Some(loading) => loaded.insert(path.to_owned(), loading),
            None => loaded.remove(path),
        };
    }

    fn refuse(&self, message: String, help: impl Into<String>, site: Site) -> EvalAltResult {
        self.host.report(message, Some(help.into()), vec![site.label("imported here")]);
        stop()
    }
}

impl ModuleResolver for Library {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Arc<Module>, Box<EvalAltResult>> {
        let site = Site { script: source.unwrap_or_default().to_owned(), position };
        let path = path.strip_suffix(".rhai").unwrap_or(path);
        let state = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        match state {
            Some(Loading::Done(module)) => return Ok(module),
            Some(Loading::Begun) => {
                let help = "move what both need into a third script";
                return Err(self
                    .refuse(format!("`{path}` imports itself, directly or through others"), help, site)
                    .into());
            }
            None => {}
        }
        let (name, text) = match BUILT_IN.iter().find(|(name, _)| *name == path) {
            Some((name, text)) => (format!("{name}.rhai"), (*text).to_owned()),
            None => read(&self.host.folder, path).map_err(|(message, help)| self.refuse(message, help, site))?,
        };
        self.mark(path, Some(Loading::Begun));
        let module = evaluate(&self.host, engine, &name, text);
        self.mark(path, module.clone().map(Loading::Done));
        module.ok_or_else(|| stop().into())
    }
}

/// The functions and constants of a script, or nothing when a mistake was reported.
fn evaluate(host: &Host, engine: &Engine, name: &str, text: String) -> Option<Arc<Module>> {
    let script = Script { text: text.into(), asts: Vec::new() };
    let text = Arc::clone(&script.text);
    host.state().scripts.insert(name.to_owned(), script);
    let mut ast = match engine.compile(&*text) {
        Ok(ast) => ast,
        Err(error) => {
            explain::parsing(host, engine, name, &error);
            return None;
        }
    };
    ast.set_source(name);
    if let Some(script) = host.state().scripts.get_mut(name) {
        script.asts.push(ast.clone());
    }
    match Module::eval_ast_as_new(Scope::new(), &ast, engine) {
        Ok(module) => Some(module.into()),
        Err(error) => {
            explain::running(host, name, &error);
            None
        }
    }
}

/// Name and text of a script beside the recipe, or what to say about it.
fn read(folder: &Path, path: &str) -> Result<(String, String), (String, String)> {
    let inside = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        let help = "imports are relative to the recipe's folder and stay in it";
        return Err((format!("`{path}` cannot be imported: it leads out of the recipe's folder"), help.into()));
    }
    let file = folder.join(format!("{path}.rhai"));
    let missing = |error: std::io::Error| {
        let built_in = suggest::nearest(path, BUILT_IN.iter().map(|(name, _)| *name));
        let help = match built_in {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "imports are relative to the recipe's folder, without the ending `.rhai`".into(),
        };
        (format!("cannot import `{path}`: cannot read `{}`: {error}", file.display()), help)
    };
    let root = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (root, real) = (root.canonicalize().map_err(missing)?, file.canonicalize().map_err(missing)?);
    if !real.starts_with(&root) {
        let help = "imports stay in the recipe's folder, symbolic links included";
        return Err((format!("`{path}` cannot be imported: it leads out of the recipe's folder"), help.into()));
    }
    if real.metadata().map_err(missing)?.len() > LARGEST {
        let help = "a script is text of at most 1 MiB";
        return Err((format!("`{}` is too large to be a script", file.display()), help.into()));
    }
    let text = std::fs::read_to_string(&real).map_err(missing)?;
    Ok((file.to_string_lossy().into_owned(), text))
}
