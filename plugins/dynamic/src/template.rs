//! The beginnings of a plugin, as `psann plugin new` writes them: code that builds, a test that passes, how to go on.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use psann_sdk::call::check_id;

/// What a new plugin is to be, and in what it is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// A crate with a source.
    RustSource,
    /// A crate with a filter.
    RustFilter,
    /// A C file with a source, and the header.
    CSource,
    /// A C file with a filter, and the header.
    CFilter,
    /// A Python program that writes documents, and its manifest.
    PythonSource,
}

/// The names of a new plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Its own, and its folder's.
    pub name: String,
    /// Its id in recipes.
    pub id: String,
    /// The folder of psann-sdk, for Rust.
    pub sdk: Option<PathBuf>,
}

impl Template {
    /// The files of a new plugin, with their contents.
    ///
    /// # Errors
    /// When a name is none, or a Rust plugin has no SDK to build with.
    pub fn files(self, names: &Names) -> Result<Vec<(PathBuf, String)>> {
        let Names { name, id, sdk } = names;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
            return Err(Error::usage(format!("`{name}` is no name for a plugin"))
                .hint("lower-case letters, digits and `-`, beginning with a letter: `hello-source`"));
        }
        check_id(id).map_err(crate::error)?;
        let file = name.replace('-', "_");
        let library = format!("{}{file}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let component = match self {
            Self::RustSource | Self::PythonSource => "hello",
            Self::RustFilter => "words",
            Self::CSource => "lines",
            Self::CFilter => "letters",
        };
        let summary = match self {
            Self::RustSource | Self::PythonSource => "Greetings, as many as you like",
            Self::RustFilter => "Drops documents that have too few words",
            Self::CSource => "Lines of text files",
            Self::CFilter => "Keeps documents that consist of letters for the most part",
        };
        let usage = match self {
            Self::RustSource | Self::PythonSource => format!("source::plugin(\"{id}\", #{{ count: 100 }})"),
            Self::RustFilter => format!("source::text(\"notes.txt\") | filter::plugin(\"{id}\", #{{ least: 8 }})"),
            Self::CSource => format!("source::plugin(\"{id}\", \"notes.txt\")"),
            Self::CFilter => format!("source::text(\"notes.txt\") | filter::plugin(\"{id}\", #{{ min: 0.7 }})"),
        };
        let options = if self == Self::CSource { " --options 'lines={\"path\": \"README.md\"}'" } else { "" };
        let sdk =
            sdk.as_ref().map_or(String::new(), |folder| format!("{{ path = {:?} }}", folder.display().to_string()));
        let filled = |text: &str| {
            text.replace("{name}", name)
                .replace("{id}", id)
                .replace("{file}", &file)
                .replace("{crate}", &file)
                .replace("{library}", &library)
                .replace("{component}", component)
                .replace("{summary}", summary)
                .replace("{usage}", &usage)
                .replace("{options}", options)
                .replace("{sdk}", &sdk)
        };
        let rust = |code: &str, test: &str| {
            if sdk.is_empty() {
                return Err(Error::usage("psann-sdk is not where this psann was built")
                    .hint("give its folder: `--sdk DIR` (it is the folder `sdk` of psann's sources)"));
            }
            Ok(vec![
                (".gitignore".into(), "target/\n".to_owned()),
                ("Cargo.toml".into(), filled(include_str!("../../../sdk/templates/rust/Cargo.toml.in"))),
                ("README.md".into(), filled(include_str!("../../../sdk/templates/rust/README.md.in"))),
                ("src/lib.rs".into(), filled(code)),
                (format!("tests/{file}.rs").into(), filled(test)),
            ])
        };
        let c = |code: &str, example: &str| {
            Ok(vec![
                ("README.md".into(), filled(include_str!("../../../sdk/templates/c/README.md.in"))),
                (format!("{file}.c").into(), code.replace(example, id)),
                ("psann.h".into(), include_str!("../../../sdk/include/psann.h").to_owned()),
            ])
        };
        match self {
            Self::RustSource => rust(
                include_str!("../../../sdk/templates/rust/source.rs"),
                include_str!("../../../sdk/templates/rust/source_test.rs"),
            ),
            Self::RustFilter => rust(
                include_str!("../../../sdk/templates/rust/filter.rs"),
                include_str!("../../../sdk/templates/rust/filter_test.rs"),
            ),
            Self::CSource => c(include_str!("../../../sdk/examples/c-source/lines.c"), "org.example.lines"),
            Self::CFilter => c(include_str!("../../../sdk/examples/c-filter/letters.c"), "org.example.letters"),
            Self::PythonSource => Ok(vec![
                ("README.md".into(), filled(include_str!("../../../sdk/templates/python/README.md.in"))),
                (format!("{file}.py").into(), filled(include_str!("../../../sdk/templates/python/source.py"))),
                (format!("{file}.toml").into(), filled(include_str!("../../../sdk/templates/python/manifest.toml.in"))),
            ]),
        }
    }

    /// Writes a new plugin into a folder of its name below `place`; the folder.
    ///
    /// # Errors
    /// As [`Self::files`]; when the folder is there, or cannot be written.
    pub fn write(self, names: &Names, place: &Path) -> Result<PathBuf> {
        let files = self.files(names)?;
        let folder = place.join(&names.name);
        let cannot =
            |path: &Path, e: std::io::Error| Error::new(format!("cannot write `{}`", path.display())).because(e);
        if folder.exists() {
            return Err(Error::usage(format!("`{}` is there already", folder.display())).hint("give another name"));
        }
        for (file, text) in files {
            let path = folder.join(file);
            let parent = path.parent().unwrap_or(&folder);
            std::fs::create_dir_all(parent).map_err(|e| cannot(parent, e))?;
            std::fs::write(&path, text).map_err(|e| cannot(&path, e))?;
        }
        Ok(folder)
    }
}

/// The SDK that this program was built with, if it is still there.
pub fn sdk() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk").canonicalize().ok()?;
    folder.join("Cargo.toml").is_file().then_some(folder)
}
