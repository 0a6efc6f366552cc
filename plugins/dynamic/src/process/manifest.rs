//! What a manifest says of a program, checked before anything runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use psann_core::{Error, Result};
use psann_sdk::call::check_id;
use serde::Deserialize;
use serde_json::Value;

use super::options::{self, ProcessOption};

/// The version of manifests that is read here.
const VERSION: u32 = 1;

/// A manifest of a program that writes documents.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessManifest {
    /// Version of the manifest's own form.
    pub manifest_version: u32,
    /// The plugin's name in recipes.
    pub id: String,
    /// The plugin's version.
    pub version: String,
    /// Its licence, as SPDX writes it; may be empty.
    #[serde(default)]
    pub licence: String,
    /// What it is, in a sentence; may be empty.
    #[serde(default)]
    pub description: String,
    /// How it is run.
    pub process: Process,
    /// The folder of the manifest, absolute.
    #[serde(skip)]
    folder: PathBuf,
    /// The manifest as it stands in its file.
    #[serde(skip)]
    text: String,
}

/// How a program is run, and what it is able to do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and its arguments, as in the manifest; [`ProcessManifest::command`] is what runs.
    pub command: Vec<String>,
    /// What it writes.
    pub format: Format,
    /// Files beside the manifest that belong to the plugin.
    #[serde(default)]
    pub files: Vec<String>,
    /// How reading goes on in the middle.
    #[serde(default)]
    pub resume: Resume,
    /// The option that a recipe may give without its name.
    #[serde(default)]
    pub primary: Option<String>,
    /// Whether it lists its partitions.
    #[serde(default)]
    pub partitions: bool,
    /// Whether it says when its content changes.
    #[serde(default)]
    pub identity: bool,
    /// Its options, by name.
    #[serde(default)]
    pub options: BTreeMap<String, ProcessOption>,
}

/// What a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line, with the keys of the source `jsonl`.
    Jsonl,
    /// An Arrow IPC stream, with the columns of the source `arrow`.
    Arrow,
}

/// How reading goes on in the middle of what a program writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// The program is run from its start, and documents are passed over.
    #[default]
    Count,
    /// The program is told the last place that it gave.
    Token,
}

impl ProcessManifest {
    /// Reads and checks a manifest and whether its files are there.
    ///
    /// # Errors
    /// Names the file, the line or key, and what would be right.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::new("cannot be read").because(e).hint("check its name"))?;
            let absolute = std::path::absolute(path).map_err(|e| Error::new("has no absolute path").because(e))?;
            Self::parse(text, absolute.parent().unwrap_or(Path::new("/")).to_owned())
        };
        read().map_err(|error| error.within(format!("plugin manifest `{}`", path.display())))
    }

    fn parse(text: String, folder: PathBuf) -> Result<Self> {
        // The version first: of a later one not even the keys are known.
        let table: toml::Table = toml::from_str(&text).map_err(|e| malformed(&text, &e))?;
        match table.get("manifest_version").and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(VERSION) => {}
            Some(version) => {
                return Err(Error::usage(format!("`manifest_version` is {version}, and psann reads {VERSION} here"))
                    .hint("update psann, or use a version of the plugin that was made for this one"));
            }
            None => {
                return Err(Error::usage("there is no integer `manifest_version`")
                    .hint(format!("begin the file with `manifest_version = {VERSION}`")));
            }
        }
        let manifest: Self = toml::from_str(&text).map_err(|e| malformed(&text, &e))?;
        let manifest = Self { folder, text, ..manifest };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        check_id(&self.id).map_err(|e| Error::usage(format!("`id`: {}", e.message)).hint(e.hint))?;
        if self.version.trim().is_empty() {
            return Err(Error::usage("`version` is empty").hint("give one, as in `version = \"0.1.0\"`"));
        }
        let Process { command, primary, options, .. } = &self.process;
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::usage("`process.command` names no program")
                .hint("give the program and its arguments, as in `command = [\"python3\", \"hello.py\"]`"));
        }
        self.check_files()?;
        for (name, option) in options {
            option.check(name)?;
        }
        if let Some(primary) = primary
            && !options.contains_key(primary)
        {
            let names: Vec<_> = options.keys().map(|name| format!("`{name}`")).collect();
            let hint = if names.is_empty() {
                format!("declare it: `[process.options.{primary}]`")
            } else {
                format!("name one of the options: {}", names.join(", "))
            };
            return Err(Error::usage(format!("`process.primary` is `{primary}`, which is no option")).hint(hint));
        }
        Ok(())
    }

    /// The files are beside the manifest, and the words that name files are among them: what runs is what was hashed.
    fn check_files(&self) -> Result<()> {
        let Process { command, files, .. } = &self.process;
        for (index, file) in files.iter().enumerate() {
            let Some(path) = beside(file) else {
                return Err(Error::usage(format!("`{file}` in `process.files` is no path beside the manifest"))
                    .hint("give the path from the manifest's folder, without `..`"));
            };
            if !self.folder.join(path).is_file() {
                return Err(Error::usage(format!("`{file}` in `process.files` is no file beside the manifest"))
                    .hint("put it there, or take it off the list"));
            }
            if files[..index].iter().any(|other| beside(other) == beside(file)) {
                return Err(Error::usage(format!("`{file}` is twice in `process.files`")).hint("list it once"));
            }
        }
        for word in command {
            if self.listed(word).is_none() && beside(word).is_some_and(|path| self.folder.join(path).is_file()) {
                return Err(Error::usage(format!(
                    "`{word}` in `process.command` is a file beside the manifest and not in `process.files`"
                ))
                .hint(format!(
                    "add it, as in `files = [{word:?}]`: files that are listed ask for trust when they change"
                )));
            }
        }
        Ok(())
    }

    /// The path of a listed file that a word of the command names.
    fn listed(&self, word: &str) -> Option<PathBuf> {
        let path = beside(word)?;
        self.process.files.iter().any(|file| beside(file).as_ref() == Some(&path)).then(|| self.folder.join(path))
    }

    /// The words that are run: those that name listed files are absolute paths.
    pub fn command(&self) -> Vec<OsString> {
        let words = self.process.command.iter();
        words.map(|word| self.listed(word).map_or_else(|| OsString::from(word), PathBuf::into_os_string)).collect()
    }

    /// The option that a recipe may give without its name.
    pub fn primary(&self) -> Option<&str> {
        self.process.primary.as_deref()
    }

    /// Its options as a JSON schema, as [`psann_core::options::Schema`] reads it.
    pub fn schema(&self) -> Value {
        let description = if self.description.is_empty() {
            format!("Documents that the program of `{}` writes.", self.id)
        } else {
            self.description.clone()
        };
        options::schema(&self.process.options, &description)
    }

    /// BLAKE3, in hex, of the manifest as it was read and of the names and contents of its files as they are now.
    ///
    /// # Errors
    /// When a file cannot be read, or a word of the command came to name a file that is not listed.
    pub fn hash(&self) -> Result<String> {
        let hash = || {
            self.check_files()?;
            let mut hasher = blake3::Hasher::new();
            // Every piece has a known length, so that no two plugins look alike to the hash.
            hasher.update(blake3::hash(self.text.as_bytes()).as_bytes());
            for file in &self.process.files {
                let path = self.folder.join(file);
                let bytes = std::fs::read(&path)
                    .map_err(|e| Error::new(format!("`{file}` in `process.files` cannot be read")).because(e))?;
                hasher.update(blake3::hash(file.as_bytes()).as_bytes());
                hasher.update(blake3::hash(&bytes).as_bytes());
            }
            Ok(hasher.finalize().to_hex().to_string())
        };
        hash().map_err(|error: Error| error.within(format!("plugin `{}`", self.id)))
    }
}

/// A path that stays within the folder it starts at; `None` for all others.
fn beside(word: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(word).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!path.as_os_str().is_empty()).then_some(path)
}

/// What a TOML parser found, with the line that it stands in.
fn malformed(text: &str, error: &toml::de::Error) -> Error {
    let place = error.span().map_or(String::new(), |span| {
        let before = &text[..text.floor_char_boundary(span.start)];
        let number = before.matches('\n').count();
        let line = text.lines().nth(number).unwrap_or_default().trim();
        format!("line {} (`{line}`): ", number + 1)
    });
    Error::usage(format!("{place}{}", error.message()))
        .hint("correct the line; sdk/examples/python-process says what a manifest holds")
}
