//! Opens a shared library, for good.
//!
//! A library is never closed: code of it may still be on some thread's way out, and what it handed over may outlive every
//! handle. Symbols are bound at once, so that a missing one is an error here and not a crash later.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use psann_core::{Error, Result};
use psann_sdk::abi::{PsannEntry, PsannHost};
use psann_sdk::call::{ENTRY, Manifest, Plugin};

use crate::surroundings;

/// Keeps a library where it is even if something else closes it. The value is Linux's and macOS's.
#[cfg(target_os = "linux")]
const RTLD_NODELETE: i32 = 0x1000;
#[cfg(not(target_os = "linux"))]
const RTLD_NODELETE: i32 = 0x80;

/// BLAKE3 of a file, in hex.
///
/// # Errors
/// When it cannot be read.
pub fn hash(path: &Path) -> Result<String> {
    let cannot = |e: std::io::Error| Error::new(format!("cannot read `{}`", path.display())).because(e);
    let mut file = File::open(path).map_err(cannot)?;
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer).map_err(cannot)?;
        if count == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..count]);
    }
}

/// Opens a library and finds its entry symbol. Its code runs from here on.
fn open(path: &Path) -> Result<PsannEntry> {
    let not = |e: libloading::Error| {
        Error::new(format!("cannot open the plugin `{}`", path.display()))
            .because(e)
            .hint("it must be a shared library for this machine, with everything it needs beside it")
    };
    // SAFETY: opening runs the library's constructors; the caller was told by the user to trust it, or is a process that
    // does nothing else.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }.map_err(not)?;
    // SAFETY: the interface says that the symbol is a function of this type; nothing can check it.
    let entry = unsafe { library.get::<PsannEntry>(ENTRY.as_bytes()) }.map(|symbol| *symbol);
    std::mem::forget(library);
    entry.map_err(|e| {
        Error::new(format!("`{}` is no psann plugin: it has no symbol `{ENTRY}`", path.display()))
            .because(e)
            .hint("a Rust plugin says `psann_sdk::export_plugin!`, a C plugin defines that function (docs/abi.md)")
    })
}

/// What a library says of itself. Its code runs: for a process of its own.
///
/// # Errors
/// When it cannot be opened, or what it says makes no sense.
pub fn inspect(path: &Path) -> Result<Manifest> {
    let entry = open(path)?;
    // SAFETY: the library stays open for good.
    unsafe { Plugin::inspect(entry) }.map_err(|e| crate::error(e).within(format!("`{}`", path.display())))
}

/// Opens and starts a library with this host, whoever vouches for it. For a process that does nothing else.
///
/// # Errors
/// When it cannot be opened, or is not as it should be.
pub fn load(path: &Path, host: &'static PsannHost) -> Result<&'static Plugin> {
    start(path, |_| host)
}

fn start(path: &Path, host: impl FnOnce(&Manifest) -> &'static PsannHost) -> Result<&'static Plugin> {
    let entry = open(path)?;
    // SAFETY: the library stays open for good.
    let loaded = unsafe { Plugin::inspect(entry).and_then(|manifest| Plugin::load(entry, host(&manifest))) };
    let plugin = loaded.map_err(|e| crate::error(e).within(format!("`{}`", path.display())))?;
    Ok(Box::leak(Box::new(plugin)))
}

/// The plugin in a library that is trusted by its hash, opened when it is asked for first.
///
/// # Errors
/// When the file is not the one that is trusted; as [`load()`].
pub fn trusted(path: &Path, expected: &str) -> Result<&'static Plugin> {
    static LOADED: Mutex<BTreeMap<PathBuf, &'static Plugin>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plugin) = loaded.get(path) {
        return Ok(plugin);
    }
    let found = hash(path)?;
    if found != expected {
        return Err(Error::usage(format!("`{}` is not the file that `psann.lock` trusts", path.display()))
            .hint("it changed since; `psann plugin allow` trusts it anew"));
    }
    let plugin = start(path, |manifest| surroundings::table(manifest.id.clone()))?;
    loaded.insert(path.to_owned(), plugin);
    Ok(plugin)
}
