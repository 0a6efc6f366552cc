//! Libraries that a test compiled, opened as psann opens them, and strings to lend to filters.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use psann_sdk::abi::PsannEntry;
use psann_sdk::call::{self, ENTRY, Lent, LentStrings, Level, Listener, Plugin};

use crate::compiler;

/// Compiles a library and opens it, for good.
pub fn library(command: &mut Command) -> &'static Library {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libplugin.so");
    compiler::run(command.arg("-o").arg(&file));
    open(&file)
}

fn open(file: &Path) -> &'static Library {
    // SAFETY: made by these tests; it has no constructors.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }.unwrap();
    Box::leak(Box::new(library))
}

/// The entry symbol of a library.
pub fn entry(library: &'static Library) -> PsannEntry {
    // SAFETY: the header declares the symbol with this type, and C holds the definition to it.
    *unsafe { library.get::<PsannEntry>(ENTRY.as_bytes()) }.unwrap()
}

/// Starts a plugin; what it is told when it asks whether to stop is in the flag.
pub fn start(library: &'static Library) -> (psann_sdk::Result<&'static Plugin>, Arc<AtomicBool>) {
    let cancelled = Arc::new(AtomicBool::new(false));
    let host = call::host(Deaf { cancelled: Arc::clone(&cancelled) });
    // SAFETY: the library stays open for good.
    let plugin = unsafe { Plugin::load(entry(library), host) };
    (plugin.map(|plugin| &*Box::leak(Box::new(plugin))), cancelled)
}

/// A host that hears nothing.
struct Deaf {
    cancelled: Arc<AtomicBool>,
}

impl Listener for Deaf {
    fn log(&self, _level: Level, _message: &str) {}

    fn metric(&self, _name: &str, _value: f64) {}

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// A column `text`. Its first value is not the first one in the buffers, as in a part of a larger batch.
pub struct Texts {
    offsets: Vec<i64>,
    bytes: Vec<u8>,
    valid: Vec<u8>,
}

impl Texts {
    pub fn new<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let bytes = b"not a part of it".to_vec();
        let mut made = Self { offsets: vec![bytes.len() as i64], bytes, valid: Vec::new() };
        for (row, text) in texts.into_iter().enumerate() {
            if row % 8 == 0 {
                made.valid.push(0);
            }
            // A null may have bytes all the same.
            made.bytes.extend_from_slice(text.unwrap_or("nothing").as_bytes());
            made.offsets.push(made.bytes.len() as i64);
            *made.valid.last_mut().unwrap() |= u8::from(text.is_some()) << (row % 8);
        }
        made
    }

    pub fn lend(&self) -> Lent<'_> {
        let column = LentStrings::Large(&self.offsets, &self.bytes, Some(&self.valid));
        Lent::new(&[column], self.offsets.len() - 1)
    }
}
