//! `psann plugin new`: the beginnings of a plugin.

use std::path::Path;

use psann_core::{Error, Result};
use psann_plugins_dynamic::template::{self, Names, Template};

use crate::cli::{Language, PluginKind};

/// Writes the files into a folder of that name, and says what comes next.
pub fn execute(name: &str, kind: PluginKind, lang: Language, id: Option<&str>, sdk: Option<&Path>) -> Result<String> {
    let template = match (lang, kind) {
        (Language::Rust, PluginKind::Source) => Template::RustSource,
        (Language::Rust, PluginKind::Filter) => Template::RustFilter,
        (Language::C, PluginKind::Filter) => Template::CFilter,
        (Language::Python, PluginKind::Source) => Template::PythonSource,
        (Language::C, PluginKind::Source) => Template::CSource,
        (Language::Python, PluginKind::Filter) => {
            return Err(Error::usage("a filter cannot be a program of its own: it is asked about every document")
                .hint("`--lang rust` or `--lang c`, or a closure in the recipe (docs/recipes.md)"));
        }
    };
    let sdk = match sdk {
        Some(folder) => Some(
            folder
                .canonicalize()
                .map_err(|e| Error::usage(format!("there is no folder `{}`", folder.display())).because(e))?,
        ),
        None => template::sdk(),
    };
    let names = Names { name: name.to_owned(), id: id.unwrap_or(name).to_owned(), sdk };
    let folder = template.write(&names, Path::new("."))?;
    Ok(format!("{} is there; its README.md says what comes next", folder.display()))
}
