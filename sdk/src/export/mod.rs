//! From the traits of authors to the tables that cross: [`export_plugin!`](crate::export_plugin!).
//!
//! Everything that the host calls ends here: panics are caught, errors become codes and texts, and what was handed over
//! comes back to be freed.

mod filter;
pub mod guard;
mod handle;
mod source;

use std::ffi::c_void;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::abi::{
    PSANN_ABI_MAJOR, PSANN_ABI_MINOR, PSANN_OK, PsannError, PsannFilter, PsannHost, PsannPlugin, PsannSource, PsannStr,
};
use crate::{Error, Fault, Host};

pub use filter::{FilterObject, FilterOf, table as filter_table};
pub use handle::create;
pub use source::{SourceObject, SourceOf, table as source_table};

/// A kind of source or filter that a library offers; `T` is its trait, whatever the type behind it.
pub trait Component<T: ?Sized>: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What the manifest says of it.
    fn manifest(&self) -> Value;
    /// Makes one.
    ///
    /// # Errors
    /// What it says against its options.
    fn create(&self, options: &str, host: Host) -> crate::Result<Box<T>>;
}

/// What a library offers.
pub struct Library {
    /// Its name in recipes, such as `org.letters`.
    pub id: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its licence, as SPDX writes it; may be empty.
    pub licence: &'static str,
    /// What it is, in a sentence; may be empty.
    pub description: &'static str,
    /// Its sources.
    pub sources: &'static [&'static dyn Component<dyn SourceObject>],
    /// Its filters.
    pub filters: &'static [&'static dyn Component<dyn FilterObject>],
}

/// What a manifest says of a component.
fn component(interface: &str, name: &str, version: u32, primary: Option<&str>, options: &Value) -> Value {
    json!({ "interface": interface, "name": name, "version": version, "primary": primary, "options": options })
}

fn unknown(what: &str, name: &str) -> Error {
    Error { fault: Fault::Unknown, ..Error::new(format!("has no {what} `{name}`")) }
}

impl Library {
    /// Who this is and what it offers, as JSON.
    pub fn manifest(&self) -> String {
        let sources = self.sources.iter().map(|component| component.manifest());
        let filters = self.filters.iter().map(|component| component.manifest());
        json!({
            "id": self.id,
            "version": self.version,
            "licence": self.licence,
            "description": self.description,
            "sdk": concat!("psann-sdk ", env!("CARGO_PKG_VERSION")),
            "components": sources.chain(filters).collect::<Value>(),
        })
        .to_string()
    }

    /// The plugin's table, made once; it lives as long as the process. Null if making it panicked.
    pub fn plugin(
        &self,
        made: &'static OnceLock<PsannPlugin>,
        get_interface: unsafe extern "C" fn(PsannStr) -> *const c_void,
    ) -> *const PsannPlugin {
        let make = || PsannPlugin {
            struct_size: size_of::<PsannPlugin>() as u32,
            abi_major: PSANN_ABI_MAJOR,
            abi_minor: PSANN_ABI_MINOR,
            manifest_json: PsannStr::new(Box::leak(self.manifest().into_boxed_str())),
            init: Some(init),
            get_interface: Some(get_interface),
            shutdown: None,
        };
        // The defaults of options are the author's code.
        guard::caught(|| Ok(std::ptr::from_ref(made.get_or_init(make)))).unwrap_or(std::ptr::null())
    }

    /// The table of an interface, if there is a component of it.
    ///
    /// # Safety
    /// `id` is valid.
    pub unsafe fn interface(
        &self,
        sources: &'static PsannSource,
        filters: &'static PsannFilter,
        id: PsannStr,
    ) -> *const c_void {
        // SAFETY: by the contract of this function.
        match unsafe { guard::borrowed(id) } {
            Ok("psann.source/1") if !self.sources.is_empty() => std::ptr::from_ref(sources).cast(),
            Ok("psann.filter/1") if !self.filters.is_empty() => std::ptr::from_ref(filters).cast(),
            _ => std::ptr::null(),
        }
    }
}

unsafe extern "C" fn init(host: *const PsannHost, _error: *mut PsannError) -> i32 {
    guard::capture_panics();
    Host::introduce(host);
    PSANN_OK
}

/// Makes a library of this crate: the entry symbol, and everything that is behind it.
///
/// ```ignore
/// psann_sdk::export_plugin! { id: "org.letters", filters: [Letters] }
/// psann_sdk::export_plugin! { id: "org.shelves", sources: [Shelf, Pile], filters: [Dust] }
/// ```
///
/// The crate's `Cargo.toml` says `crate-type = ["cdylib", "rlib"]`; version, licence and description come from there.
#[macro_export]
macro_rules! export_plugin {
    (
        id: $id:literal
        $(, sources: [$($source:ty),* $(,)?])?
        $(, filters: [$($filter:ty),* $(,)?])?
        $(,)?
    ) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "a plugin must not be built with `panic = \"abort\"`: a panic would end psann; remove that line from the profile in Cargo.toml"
        );

        #[doc(hidden)]
        mod psann_plugin {
            #[allow(unused_imports, reason = "types of the crate are named as they are where the macro stands")]
            use super::*;
            use $crate::abi::{PsannError, PsannFilter, PsannHandle, PsannPlugin, PsannSource, PsannStr};
            use $crate::export::{self, Library};

            static LIBRARY: Library = Library {
                id: $id,
                version: env!("CARGO_PKG_VERSION"),
                licence: env!("CARGO_PKG_LICENSE"),
                description: env!("CARGO_PKG_DESCRIPTION"),
                sources: &[$($(&export::SourceOf::<$source>::NEW),*)?],
                filters: &[$($(&export::FilterOf::<$filter>::NEW),*)?],
            };
            static SOURCES: PsannSource = export::source_table(create_source);
            static FILTERS: PsannFilter = export::filter_table(create_filter);
            static PLUGIN: std::sync::OnceLock<PsannPlugin> = std::sync::OnceLock::new();

            unsafe extern "C" fn create_source(
                name: PsannStr,
                options: PsannStr,
                handle: *mut *mut PsannHandle,
                error: *mut PsannError,
            ) -> i32 {
                // SAFETY: passed on as the host gave it.
                unsafe { export::create(LIBRARY.sources, name, options, handle, error) }
            }

            unsafe extern "C" fn create_filter(
                name: PsannStr,
                options: PsannStr,
                handle: *mut *mut PsannHandle,
                error: *mut PsannError,
            ) -> i32 {
                // SAFETY: passed on as the host gave it.
                unsafe { export::create(LIBRARY.filters, name, options, handle, error) }
            }

            unsafe extern "C" fn get_interface(id: PsannStr) -> *const std::ffi::c_void {
                // SAFETY: passed on as the host gave it.
                unsafe { LIBRARY.interface(&SOURCES, &FILTERS, id) }
            }

            pub fn plugin() -> *const PsannPlugin {
                LIBRARY.plugin(&PLUGIN, get_interface)
            }
        }

        /// What psann asks a library for.
        #[unsafe(no_mangle)]
        pub extern "C" fn psann_plugin_v1() -> *const $crate::abi::PsannPlugin {
            psann_plugin::plugin()
        }
    };
}
