//! Build script of every package whose programs or tests link to libtorch: gives them an rpath, so that they start
//! without `LD_LIBRARY_PATH`. Link arguments of a build script reach its own package only, hence one script for many.

#![allow(clippy::print_stdout, reason = "a build script speaks to cargo through its standard output")]

use std::env;
use std::path::PathBuf;

/// Crates that know libtorch only when a build of the whole workspace unifies `psann-core`'s feature `torch` into them.
const WITHOUT_LIBTORCH: [&str; 5] =
    ["psann-core", "psann-plugins-data", "psann-plugins-dynamic", "psann-data", "psann-scripts"];

pub fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_LIB");
    let home = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH"));
    // The link in the tree may move to another libtorch; the program keeps the one it was built with. Where there is
    // none, these crates build without it, or torch-sys has a better message.
    let Some(library) = home.and_then(|home| PathBuf::from(home).join("lib").canonicalize().ok()) else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", library.display());
    if env::var("CARGO_PKG_NAME").is_ok_and(|name| WITHOUT_LIBTORCH.contains(&name.as_str())) {
        return;
    }
    println!("cargo::rustc-link-search=native={}", library.display());
    // CUDA kernels register themselves when libtorch is loaded; no symbol of it may be referenced, so the linker
    // must be told to keep it.
    println!("cargo::rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo::rustc-link-arg=-ltorch");
    println!("cargo::rustc-link-arg=-Wl,--as-needed");
}
