//! Where plugins lie: folders in an order, libraries and manifests in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::{Error, Result};
use psann_sdk::call::check_id;
use serde::Deserialize;

use crate::process::ProcessManifest;

/// Folders beside those that the user names, as in `PATH`.
pub const VARIABLE: &str = "PSANN_PLUGIN_PATH";

/// The folder of a project's own plugins.
pub const PROJECT: &str = ".psann/plugins";

/// The folders, first to last; a plugin in an earlier one hides those of the same id in later ones.
///
/// `given` are those of `--plugin-dir`; then come those of `PSANN_PLUGIN_PATH`, the project's, the user's and the machine's.
pub fn folders(given: &[PathBuf], project: &Path) -> Vec<PathBuf> {
    let mut folders = given.to_vec();
    let variable = std::env::var_os(VARIABLE).unwrap_or_default();
    folders.extend(std::env::split_paths(&variable).filter(|path| path.is_absolute()));
    folders.push(project.join(PROJECT));
    let home = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = home("XDG_DATA_HOME").or_else(|| Some(home("HOME")?.join(".local/share")));
    folders.extend(data.map(|data| data.join("psann/plugins")));
    folders.push(PathBuf::from("/usr/local/lib/psann/plugins"));
    folders
}

/// Something that may be a plugin.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// A shared library; who it is may be written beside it.
    Library {
        /// The library.
        path: PathBuf,
        /// What its manifest says, where there is one.
        declared: Option<Declared>,
    },
    /// A program that writes documents.
    Process {
        /// Its manifest.
        path: PathBuf,
        /// What that says.
        manifest: Arc<ProcessManifest>,
    },
    /// A manifest that cannot be used.
    Broken {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// What a manifest says of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// BLAKE3 of the library, where the manifest says it.
    pub hash: Option<String>,
}

impl Candidate {
    /// The file that it is known by.
    pub fn path(&self) -> &Path {
        match self {
            Self::Library { path, .. } | Self::Process { path, .. } | Self::Broken { path, .. } => path,
        }
    }

    /// What the user may call it before anything of it was opened: the declared id, and the file's name without what
    /// systems add (`libhello_source.so` is `hello-source`).
    pub fn names(&self) -> Vec<String> {
        let mut names = match self {
            Self::Library { declared: Some(declared), .. } => vec![declared.id.clone()],
            Self::Process { manifest, .. } => vec![manifest.id.clone()],
            _ => Vec::new(),
        };
        let stem = self.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = if is_library(self.path()) { stem.strip_prefix("lib").unwrap_or(&stem).to_owned() } else { stem };
        names.extend([stem.replace('_', "-"), stem]);
        names.dedup();
        names
    }
}

/// Whether a file is named like a shared library of this system.
pub fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == std::env::consts::DLL_EXTENSION)
}

/// All candidates of these folders: folder by folder, sorted by name. Libraries that a manifest names come once, with it.
///
/// # Errors
/// When a folder cannot be read; one that is not there is no error.
pub fn candidates(folders: &[PathBuf]) -> Result<Vec<Candidate>> {
    Ok(folders.iter().map(|folder| of_folder(folder)).collect::<Result<Vec<_>>>()?.concat())
}

fn of_folder(folder: &Path) -> Result<Vec<Candidate>> {
    let cannot =
        |e: std::io::Error| Error::new(format!("cannot list the plugins in `{}`", folder.display())).because(e);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(cannot)?.path());
    }
    paths.sort();
    let manifests = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let mut found: Vec<Candidate> = manifests.map(|path| of_manifest(path)).collect();
    let declared: Vec<PathBuf> = found.iter().map(|candidate| candidate.path().to_owned()).collect();
    let bare = paths.into_iter().filter(|path| is_library(path) && path.is_file() && !declared.contains(path));
    found.extend(bare.map(|path| Candidate::Library { path, declared: None }));
    found.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(found)
}

/// The candidate that a manifest stands for.
pub fn of_manifest(path: &Path) -> Candidate {
    let read = || -> Result<Candidate> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e))?;
        let table: toml::Table = toml::from_str(&text)
            .map_err(|e| Error::usage(format!("`{}` is no manifest of a plugin", path.display())).because(e))?;
        if table.contains_key("process") {
            let manifest = Arc::new(ProcessManifest::read(path)?);
            return Ok(Candidate::Process { path: path.to_owned(), manifest });
        }
        library(path, &text)
    };
    read().unwrap_or_else(|error| {
        let hint = error.hint_text().map(|hint| format!(" ({hint})")).unwrap_or_default();
        Candidate::Broken { path: path.to_owned(), message: format!("{error}{hint}") }
    })
}

/// A manifest of libraries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryManifest {
    manifest_version: u32,
    id: String,
    version: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people, and for those who pass plugins on")]
    publisher: String,
    #[serde(default)]
    #[expect(dead_code, reason = "for people; the library says its licence, too")]
    licence: String,
    /// By system and processor.
    library: BTreeMap<String, Platform>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Platform {
    Path(PathBuf),
    Hashed { path: PathBuf, blake3: String },
}

/// This machine, as manifests call it: `linux-x86_64`.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

fn library(path: &Path, text: &str) -> Result<Candidate> {
    let wrong = |why: String| Error::usage(format!("`{}`: {why}", path.display()));
    let mut manifest: LibraryManifest = toml::from_str(text).map_err(|e| wrong(e.message().to_owned()))?;
    if manifest.manifest_version != 1 {
        return Err(wrong(format!("`manifest_version` is {}, where 1 is known here", manifest.manifest_version)));
    }
    check_id(&manifest.id).map_err(|e| wrong(e.to_string()))?;
    let platform = platform();
    let Some(found) = manifest.library.remove(&platform) else {
        let others = manifest.library.into_keys().collect::<Vec<_>>().join("`, `");
        return Err(wrong(format!("there is no library for `{platform}`, only for `{others}`")));
    };
    let (file, hash) = match found {
        Platform::Path(path) => (path, None),
        Platform::Hashed { path, blake3 } => (path, Some(blake3)),
    };
    let beside = path.parent().unwrap_or(Path::new("")).join(&file);
    if !beside.is_file() {
        return Err(wrong(format!("the library `{}` is not there", beside.display())));
    }
    let declared = Declared { id: manifest.id, version: manifest.version, hash };
    Ok(Candidate::Library { path: beside, declared: Some(declared) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn libraries_are_found_once_and_by_several_names() {
        let folder = tempfile::tempdir().unwrap();
        let end = std::env::consts::DLL_EXTENSION;
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(&format!("libhello_source.{end}"), "");
        write(&format!("liba.{end}"), "");
        write("notes.txt", "");
        write("b.toml", "manifest_version = 1\nid = \"org.b\"\n");
        let of_a = format!(
            "manifest_version = 1\nid = \"org.a\"\nversion = \"2\"\n[library]\n{} = \"liba.{end}\"\n",
            platform()
        );
        write("a.toml", &of_a);
        let found = candidates(&[folder.path().to_owned(), folder.path().join("nothing")]).unwrap();
        let names: Vec<_> = found.iter().map(Candidate::names).collect();
        assert_eq!(names, [vec!["b"], vec!["org.a", "a"], vec!["hello-source", "hello_source"]]);
        let Candidate::Broken { message, .. } = &found[0] else { panic!("{found:?}") };
        assert!(message.contains("b.toml`: missing field `version`"), "{message}");
        write("a.toml", &of_a.replace(&platform(), "amiga-m68k"));
        let found = candidates(&[folder.path().to_owned()]).unwrap();
        let Candidate::Broken { message, .. } = &found[0] else { panic!("{found:?}") };
        assert!(message.ends_with("only for `amiga-m68k`"), "{message}");
    }
}
