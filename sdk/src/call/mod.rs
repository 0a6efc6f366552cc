//! The other side of the interface: checks what a library says of itself, and calls it. psann's loader and the tests of
//! authors stand on it.
//!
//! Nothing that a plugin says is believed before it was checked, as far as a process can check what runs in it: versions,
//! sizes, missing functions, texts, schemas, numbers of rows. What is handed over is copied and released at once.

mod filter;
mod host;
mod lend;
mod source;

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::abi::{
    PSANN_ABI_MAJOR, PSANN_ABI_MINOR, PSANN_OK, PSANN_THREAD_SAFE, PsannEntry, PsannError, PsannFilter, PsannHandle,
    PsannHost, PsannPlugin, PsannSource, PsannStr, PsannText,
};
use crate::{Error, Fault, Result};

pub use filter::{FilterCall, Reads, Verdicts};
pub use host::{Level, Listener, host};
pub use lend::{Lent, LentStrings};
pub use source::{Row, SourceCall, Stream};

/// The name of the entry symbol.
pub const ENTRY: &str = "psann_plugin_v1";

/// Who a plugin is and what it offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name in recipes.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its licence, as SPDX writes it; may be empty.
    #[serde(default)]
    pub licence: String,
    /// What it is, in a sentence; may be empty.
    #[serde(default)]
    pub description: String,
    /// What it was made with; may be empty.
    #[serde(default)]
    pub sdk: String,
    /// Its sources and filters.
    pub components: Vec<Component>,
}

/// A source or filter that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// `psann.source/1` or `psann.filter/1`; others are of later versions.
    pub interface: String,
    /// Its name within the plugin.
    pub name: String,
    /// Version of its behaviour.
    #[serde(default = "one")]
    pub version: u32,
    /// The option that a recipe may give without its name.
    #[serde(default)]
    pub primary: Option<String>,
    /// Its options, as a JSON schema.
    #[serde(default = "any")]
    pub options: Value,
}

fn one() -> u32 {
    1
}

fn any() -> Value {
    serde_json::json!({ "type": "object" })
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}` {}", self.id, self.version)
    }
}

/// A plugin whose table was checked and that knows its host.
pub struct Plugin {
    manifest: Manifest,
    sources: Option<&'static PsannSource>,
    filters: Option<&'static PsannFilter>,
}

impl Plugin {
    /// What a library says of itself, without starting it.
    ///
    /// # Errors
    /// When its table is not of a version that is understood here, or its manifest is none.
    ///
    /// # Safety
    /// `entry` is the entry symbol of a library that stays loaded for good.
    pub unsafe fn inspect(entry: PsannEntry) -> Result<Manifest> {
        // SAFETY: by the contract of this function.
        manifest(unsafe { table(entry)? })
    }

    /// Checks a library and introduces the host.
    ///
    /// # Errors
    /// As [`Self::inspect`]; when its tables lack functions, or it refuses to start.
    ///
    /// # Safety
    /// `entry` is the entry symbol of a library that stays loaded for good.
    pub unsafe fn load(entry: PsannEntry, host: &'static PsannHost) -> Result<Self> {
        // SAFETY: by the contract of this function.
        let table = unsafe { table(entry)? };
        let manifest = manifest(table)?;
        let within = |error: Error| Error { message: format!("{manifest}: {error}"), ..error };
        let missing = |what: &str| within(broken(&format!("its table has no function `{what}`")));
        let init = table.init.ok_or_else(|| missing("init"))?;
        let get_interface = table.get_interface.ok_or_else(|| missing("get_interface"))?;
        // SAFETY: a function of the interface's type, and a host that lives as long as the process.
        call(|error| unsafe { init(host, error) }).map_err(within)?;
        let offers = |id: &str| manifest.components.iter().any(|component| component.interface == id);
        // SAFETY: a function of the interface's type; tables are valid as long as the process, and checked below.
        let interface = |id: &str| NonNull::new(unsafe { get_interface(PsannStr::new(id)) }.cast_mut());
        let lacks = |id: &str, name: &str| within(broken(&format!("its table `{id}` has no function `{name}`")));
        let none = |id: &str| within(broken(&format!("it offers `{id}` and gives no table for it")));
        let (mut sources, mut filters) = (None, None);
        if offers(SOURCE) {
            let table = interface(SOURCE).ok_or_else(|| none(SOURCE))?;
            // SAFETY: as above.
            let table = unsafe { checked::<PsannSource>(SOURCE, table) }.map_err(within)?;
            source::complete(table).map_err(|name| lacks(SOURCE, name))?;
            sources = Some(table);
        }
        if offers(FILTER) {
            let table = interface(FILTER).ok_or_else(|| none(FILTER))?;
            // SAFETY: as above.
            let table = unsafe { checked::<PsannFilter>(FILTER, table) }.map_err(within)?;
            filter::complete(table).map_err(|name| lacks(FILTER, name))?;
            filters = Some(table);
        }
        Ok(Self { manifest, sources, filters })
    }

    /// Who it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes the source called `name`; `options` is a JSON object.
    ///
    /// # Errors
    /// What the plugin says against it.
    pub fn source(&'static self, name: &str, options: &Value) -> Result<SourceCall> {
        let table = self.sources.filter(|_| self.offers(SOURCE, name)).ok_or_else(|| self.without("source", name))?;
        SourceCall::new(self, table, name, options)
    }

    /// Makes the filter called `name`; `options` is a JSON object.
    ///
    /// # Errors
    /// What the plugin says against it.
    pub fn filter(&'static self, name: &str, options: &Value) -> Result<FilterCall> {
        let table = self.filters.filter(|_| self.offers(FILTER, name)).ok_or_else(|| self.without("filter", name))?;
        FilterCall::new(self, table, name, options)
    }

    fn offers(&self, interface: &str, name: &str) -> bool {
        self.manifest.components.iter().any(|component| component.interface == interface && component.name == name)
    }

    fn without(&self, what: &str, name: &str) -> Error {
        // `psann.filter/1` is the interface of filters.
        let kind = |interface: &str| Some(interface.strip_prefix("psann.")?.split('/').next()?.to_owned());
        let label = |part: &Component| format!("{} `{}`", kind(&part.interface).unwrap_or_default(), part.name);
        let all: Vec<String> = self.manifest.components.iter().map(label).collect();
        let error = Error::new(format!("has no {what} `{name}`")).hint(format!("it offers {}", all.join(", ")));
        Error { fault: Fault::Unknown, ..self.error(error) }
    }

    /// The error with the plugin's name and version in front.
    fn error(&self, error: Error) -> Error {
        Error { message: format!("{}: {}", self.manifest, error.message), ..error }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// The interface of sources.
pub const SOURCE: &str = "psann.source/1";
/// The interface of filters.
pub const FILTER: &str = "psann.filter/1";

/// A mistake of whoever made the plugin.
fn broken(what: &str) -> Error {
    Error::new(what).hint(REPORT)
}

/// The way out of a plugin's mistake.
const REPORT: &str = "this is a mistake of the plugin: tell its author (docs/abi.md says what must hold)";

/// # Safety
/// As [`Plugin::inspect`].
unsafe fn table(entry: PsannEntry) -> Result<&'static PsannPlugin> {
    // SAFETY: by the contract of this function.
    let table = unsafe { entry() };
    if table.is_null() {
        return Err(broken("its entry symbol returns null"));
    }
    if !table.is_aligned() {
        return Err(broken("its entry symbol returns a pointer that is not aligned"));
    }
    // SAFETY: not null; these three fields are where they are in every version, and nothing else is read before they fit.
    let (size, major, minor) = unsafe { ((*table).struct_size, (*table).abi_major, (*table).abi_minor) };
    if major != PSANN_ABI_MAJOR {
        let (whose, remedy) = if major > PSANN_ABI_MAJOR {
            ("newer", format!("update psann, or ask the plugin's author for a build for version {PSANN_ABI_MAJOR}"))
        } else {
            ("older", format!("update the plugin, or ask its author for a build for version {PSANN_ABI_MAJOR}"))
        };
        let message = format!(
            "speaks version {major}.{minor} of the plugin interface, {whose} than \
             {PSANN_ABI_MAJOR}.{PSANN_ABI_MINOR}, which this psann speaks"
        );
        return Err(Error::new(message).hint(remedy));
    }
    check_size("its table", size, size_of::<PsannPlugin>())?;
    // SAFETY: as large as the struct of this version, and valid as long as the process.
    Ok(unsafe { &*table })
}

/// The table of an interface, once it is known to be as large as ours.
///
/// # Safety
/// `table` begins with its size in bytes, and is valid as long as the process.
unsafe fn checked<T>(id: &str, table: NonNull<c_void>) -> Result<&'static T> {
    let table = table.cast::<T>();
    if !table.is_aligned() {
        return Err(broken(&format!("its table `{id}` is not aligned")));
    }
    // SAFETY: aligned; nothing but the size is read before it fits.
    let size = unsafe { table.cast::<u32>().read() };
    check_size(&format!("its table `{id}`"), size, size_of::<T>())?;
    // SAFETY: as large as the struct of this version; the rest by the contract of this function.
    Ok(unsafe { table.as_ref() })
}

/// Tables may be larger than ours (of a newer minor version), never smaller: there is no version before 1.0.
fn check_size(what: &str, size: u32, ours: usize) -> Result<()> {
    if (size as usize) < ours {
        return Err(broken(&format!("{what} says that it has {size} bytes, where version 1.0 has {ours}")));
    }
    Ok(())
}

fn manifest(table: &'static PsannPlugin) -> Result<Manifest> {
    // SAFETY: the interface says that the manifest is valid as long as the process.
    let text = unsafe { copied(table.manifest_json.data, table.manifest_json.length) }
        .map_err(|error| broken(&format!("its manifest {error}")))?;
    let json: Value = serde_json::from_str(&text).map_err(|e| broken(&format!("its manifest is no JSON: {e}")))?;
    // Who it is can be said even if the rest is wrong.
    let part = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let whose = format!("plugin `{}` {}", part("id"), part("version"));
    let wrong = |what: &str| broken(&format!("{whose}: its manifest is not as docs/abi.md says: {what}"));
    let manifest: Manifest = serde_json::from_value(json).map_err(|e| wrong(&e.to_string()))?;
    check_id(&manifest.id).map_err(|error| wrong(&format!("{error} ({})", error.hint)))?;
    let mut seen = BTreeSet::new();
    for Component { interface, name, .. } in &manifest.components {
        if !is_name(name) {
            return Err(wrong(&format!("`{name}` is no name of a component ({NAMES})")));
        }
        if !seen.insert((interface, name)) {
            return Err(wrong(&format!("it offers `{name}` of `{interface}` twice")));
        }
    }
    if !manifest.components.iter().any(|component| component.interface == SOURCE || component.interface == FILTER) {
        let message = format!("{manifest}: it offers nothing that this psann knows (`{SOURCE}`, `{FILTER}`)");
        return Err(Error::new(message).hint("update psann, or ask the plugin's author what it is for"));
    }
    Ok(manifest)
}

/// What names consist of.
const NAMES: &str = "letters, digits, `-` and `_`";

/// Checks the id of a plugin.
///
/// # Errors
/// When it is no name, or names with dots between.
pub fn check_id(id: &str) -> Result<()> {
    if id.split('.').all(is_name) {
        return Ok(());
    }
    Err(Error::usage(format!("`{id}` is no id of a plugin"))
        .hint(format!("{NAMES}, perhaps with dots between, as in `org.letters`")))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Calls a function that can fail, and takes the error out of the plugin.
fn call(function: impl FnOnce(*mut PsannError) -> i32) -> Result<()> {
    let mut error = PsannError::empty();
    let code = function(&raw mut error);
    // What is wrong with a text about an error must not hide the error.
    let text = |text: PsannStr| {
        // SAFETY: texts of an error are valid until it is released, which is below.
        let bytes = unsafe { bytes(text.data, text.length) };
        bytes.map_or_else(|e| format!("a text that {e}"), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let (message, hint) = (text(error.message), text(error.hint));
    if let Some(release) = error.release {
        // SAFETY: filled by the plugin, released once; what it nulls or forgets there does not matter any more.
        unsafe { release(&raw mut error) }
    }
    if code == PSANN_OK { Ok(()) } else { Err(said(Fault::of_code(code), code, message, hint)) }
}

/// What a plugin said went wrong, or that it said nothing.
fn said(fault: Fault, code: i32, message: String, hint: String) -> Error {
    if message.is_empty() {
        return Error { fault, ..broken(&format!("it failed with code {code} and without saying why")) };
    }
    Error { fault, message, hint }
}

/// Calls a function that hands over a text, and takes the text out of the plugin.
fn text_of(function: impl FnOnce(*mut PsannText, *mut PsannError) -> i32) -> Result<String> {
    let mut text = PsannText::empty();
    let done = call(|error| function(&raw mut text, error));
    // SAFETY: valid until it is released, which is below.
    let copy = || unsafe { copied(text.data, text.length) };
    let found = done.and_then(|()| copy().map_err(|e| broken(&format!("it gave a text that {e}"))));
    if let Some(release) = text.release {
        // SAFETY: filled by the plugin, released once.
        unsafe { release(&raw mut text) }
    }
    found
}

/// A copy of a text that crossed.
///
/// # Safety
/// Null or valid.
unsafe fn copied(data: *const u8, length: usize) -> Result<String, &'static str> {
    // SAFETY: by the contract of this function.
    let bytes = unsafe { bytes(data, length)? };
    String::from_utf8(bytes.to_vec()).map_err(|_| "is no UTF-8")
}

/// The bytes of a text that crossed.
///
/// # Safety
/// Null, or valid as long as the result is used.
unsafe fn bytes<'a>(data: *const u8, length: usize) -> Result<&'a [u8], &'static str> {
    if data.is_null() {
        return if length == 0 { Ok(&[]) } else { Err("is null") };
    }
    if isize::try_from(length).is_err() {
        return Err("is longer than any text can be");
    }
    // SAFETY: not null and no longer than memory; the rest by the contract of this function.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// A source or filter of a plugin. Freed when it is dropped.
struct Handle {
    handle: *mut PsannHandle,
    destroy: Option<unsafe extern "C" fn(*mut PsannHandle)>,
}

// SAFETY: the interface says that a handle may be used from any thread, by one at a time unless it is thread-safe; callers
// here share only those that are.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    fn create(
        create: unsafe extern "C" fn(PsannStr, PsannStr, *mut *mut PsannHandle, *mut PsannError) -> i32,
        destroy: Option<unsafe extern "C" fn(*mut PsannHandle)>,
        name: &str,
        options: &str,
    ) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        let (name, options) = (PsannStr::new(name), PsannStr::new(options));
        // SAFETY: a function of the interface's type; texts are valid during the call.
        call(|error| unsafe { create(name, options, &raw mut handle, error) })?;
        if handle.is_null() {
            return Err(broken("it made nothing and called that a success"));
        }
        Ok(Self { handle, destroy })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: made by `create` of the same table, dropped once.
            unsafe { destroy(self.handle) }
        }
    }
}

/// Whether a handle may be shared by threads.
fn is_shared(flags: u32) -> bool {
    flags & PSANN_THREAD_SAFE != 0
}
