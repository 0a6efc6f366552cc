//! [`Recipe`]: a script whose last expression is a pipeline.

use std::path::{Path, PathBuf};

use psann_core::plan::{Parameter, Plan};
use psann_core::{Error, Result};

use crate::diagnostics::Diagnostics;
use crate::evaluator::Evaluator;
use crate::{finish, library};

/// The text of a recipe and where it lies.
#[derive(Debug, Clone)]
pub struct Recipe {
    name: String,
    text: String,
    folder: PathBuf,
}

/// What a recipe evaluates to.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// What is to be run.
    pub plan: Plan,
    /// What the recipe printed, in order.
    pub notes: Vec<String>,
}

impl Recipe {
    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// A usage error when there is no such file, when it is not UTF-8, or when it is far too large to be a recipe.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display();
        let cannot = |e: std::io::Error| Error::usage(format!("cannot read the recipe `{shown}`")).because(e);
        let metadata =
            path.metadata().map_err(|e| cannot(e).hint("name a `.rhai` file, such as `recipes/quickstart.rhai`"))?;
        if metadata.is_dir() {
            return Err(Error::usage(format!("`{shown}` is a folder")).hint("name a recipe in it"));
        }
        if metadata.len() > library::LARGEST {
            return Err(Error::usage(format!("`{shown}` has {} bytes and is no recipe", metadata.len()))
                .hint("a recipe is a text of at most 1 MiB"));
        }
        let bytes = std::fs::read(path).map_err(cannot)?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::usage(format!("the recipe `{shown}` is not UTF-8 text")).because(e.utf8_error()))?;
        Ok(Self { name: shown.to_string(), text, folder: folder_of(path) })
    }

    /// A recipe that lies in no file; relative inputs start at the working directory. `name` is for messages.
    pub fn from_source(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), folder: PathBuf::new() }
    }

    /// What messages call it: its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The folder that relative inputs start at; empty for the working directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The parameters it declares, with their defaults.
    ///
    /// # Errors
    /// When the recipe does not evaluate.
    pub fn parameters(&self) -> Result<Vec<Parameter>, Diagnostics> {
        Ok(self.evaluate(&[])?.plan.parameters)
    }

    /// Evaluates it to a plan. Nothing is done and nothing read but the recipe and its imports.
    ///
    /// `sets` are names and values in order: parameters of the recipe, or options of the finished plan by their path
    /// (`pretrain.optimizer.lr`). Later ones win.
    ///
    /// # Errors
    /// Everything that is wrong with the recipe and with `sets`, as far as evaluation could go on.
    pub fn evaluate(&self, sets: &[(String, String)]) -> Result<Evaluated, Diagnostics> {
        let mut evaluator = Evaluator::new(self.folder.clone(), sets);
        let outcome = evaluator.evaluate(&self.name, &self.text)?;
        let pipeline = evaluator.pipeline(&outcome)?;
        let plan = finish::plan(&evaluator.host, &pipeline);
        let findings = evaluator.host.take_findings();
        if findings.is_empty() {
            Ok(Evaluated { plan, notes: evaluator.host.take_printed() })
        } else {
            Err(Diagnostics::new(findings))
        }
    }
}

/// The folder of a recipe, seen from the working directory if it lies below: a plan, and with it the identity of
/// finished work, must not depend on whether the recipe was named by a relative or an absolute path.
fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let below = std::env::current_dir().ok().and_then(|current| Some(folder.strip_prefix(current).ok()?.to_owned()));
    let folder = below.unwrap_or_else(|| folder.to_owned());
    folder.components().filter(|part| *part != std::path::Component::CurDir).collect()
}
