//! `psann.lock`: the plugins that a project trusts, by the hash of their files.

use std::path::{Path, PathBuf};

use psann_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The file's name; it stands in the project's folder.
pub const FILE: &str = "psann.lock";

/// A plugin that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// Its id.
    pub id: String,
    /// Its version, for people.
    pub version: String,
    /// BLAKE3 of the library, or of the manifest and files of a program, in hex.
    pub blake3: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    #[serde(default)]
    plugin: Vec<Trusted>,
}

/// The plugins that a project trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    path: PathBuf,
    plugins: Vec<Trusted>,
}

impl Lock {
    /// That of the project in `folder`; empty if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { path, plugins: Vec::new() }),
            Err(e) => return Err(Error::new(format!("cannot read `{}`", path.display())).because(e)),
        };
        let hint = "delete it and allow the plugins again (`psann plugin allow`)";
        let content: Content = toml::from_str(&text)
            .map_err(|e| Error::usage(format!("`{}` is damaged", path.display())).because(e).hint(hint))?;
        if content.version != 1 {
            let what = format!("`{}` is of version {}, where 1 is known here", path.display(), content.version);
            return Err(Error::usage(what).hint("update psann"));
        }
        Ok(Self { path, plugins: content.plugin })
    }

    /// All entries, by id.
    pub fn all(&self) -> &[Trusted] {
        &self.plugins
    }

    /// The entry of a plugin.
    pub fn get(&self, id: &str) -> Option<&Trusted> {
        self.plugins.iter().find(|plugin| plugin.id == id)
    }

    /// The entry of a file.
    pub fn by_hash(&self, blake3: &str) -> Option<&Trusted> {
        self.plugins.iter().find(|plugin| plugin.blake3 == blake3)
    }

    /// Trusts a plugin from now on, in place of another version of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn allow(&mut self, plugin: Trusted) -> Result<()> {
        self.plugins.retain(|other| other.id != plugin.id);
        self.plugins.push(plugin);
        self.plugins.sort_by(|a, b| a.id.cmp(&b.id));
        self.write()
    }

    /// Trusts a plugin no more; whether it was trusted.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(&mut self, id: &str) -> Result<bool> {
        let before = self.plugins.len();
        self.plugins.retain(|plugin| plugin.id != id);
        let had = self.plugins.len() < before;
        if had {
            self.write()?;
        }
        Ok(had)
    }

    fn write(&self) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| Error::new(format!("cannot write `{}`: {e}", self.path.display()));
        let content = Content { version: 1, plugin: self.plugins.clone() };
        let text = toml::to_string(&content).map_err(|e| cannot(&e))?;
        let text = format!(
            "# The plugins that this project trusts, by the hash of their files: `psann plugin allow`.\n{text}"
        );
        let temporary = self.path.with_extension("lock.tmp");
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &self.path)).map_err(|e| cannot(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_written_down_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        let of = |id: &str, hash: &str| Trusted { id: id.into(), version: "1".into(), blake3: hash.into() };
        lock.allow(of("org.b", "2")).unwrap();
        lock.allow(of("org.a", "1")).unwrap();
        lock.allow(of("org.b", "3")).unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap(), lock);
        assert_eq!((lock.get("org.b").unwrap().blake3.as_str(), lock.by_hash("2")), ("3", None));
        assert!(lock.forget("org.a").unwrap() && !lock.forget("org.a").unwrap());
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        insta::assert_snapshot!(text, @r#"
        # The plugins that this project trusts, by the hash of their files: `psann plugin allow`.
        version = 1

        [[plugin]]
        id = "org.b"
        version = "1"
        blake3 = "3"
        "#);
        std::fs::write(folder.path().join(FILE), "version = 2").unwrap();
        assert!(Lock::read(folder.path()).unwrap_err().to_string().ends_with("is of version 2, where 1 is known here"));
        std::fs::write(folder.path().join(FILE), "plugins").unwrap();
        assert!(Lock::read(folder.path()).unwrap_err().to_string().contains("is damaged"));
    }
}
