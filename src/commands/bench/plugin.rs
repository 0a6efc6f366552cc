//! `psann bench plugin`.

use std::path::PathBuf;

use psann_core::{Error, Result};
use psann_plugins_dynamic::bench::{PluginBenchOptions, PluginBenchReport, plugin_bench};

use super::print;
use crate::cli::{BenchPluginArgs, PluginFlags};
use crate::display::Failure;
use crate::plugins;

/// Measures what a plugin costs.
pub fn plugin(args: &BenchPluginArgs) -> Result<(), Failure> {
    let library = match &args.library {
        Some(library) => library.clone(),
        None => built()?,
    };
    let options = PluginBenchOptions {
        documents: args.documents,
        bytes: args.bytes,
        rounds: args.rounds,
        libraries: args.libraries,
    };
    let report = plugin_bench(&library, &options, plugins::settings(&PluginFlags::default())?.scan)?;
    print(&report, &text(&report), args.json)
}

/// The library that cargo built with this program.
fn built() -> Result<PathBuf> {
    let file = format!("{}psann_example_letters{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().map_err(|e| Error::new("cannot tell what program this is").because(e))?;
    let folders = program.parent().into_iter().flat_map(|folder| [folder.to_owned(), folder.join("deps")]);
    folders.map(|folder| folder.join(&file)).find(|path| path.is_file()).ok_or_else(|| {
        Error::new(format!("`{file}` is not beside this program"))
            .hint("build it (`cargo build -p psann-example-letters`) and give it: `--library FILE`")
    })
}

fn text(report: &PluginBenchReport) -> String {
    let libraries = report.libraries;
    [
        format!("plugin · {} documents of {} bytes a batch", report.documents, report.bytes),
        format!("  as a built-in      {:.3} ms", report.built_in_ms),
        format!("  as a plugin        {:.3} ms, {:+.2} %", report.plugin_ms, report.overhead * 100.0),
        format!("  in a library       {:.3} ms, {:+.2} %", report.library_ms, report.library_overhead * 100.0),
        format!("  search, {libraries} new     {:.0} ms", report.first_scan_ms),
        format!("  search, {libraries} known   {:.1} ms", report.cached_scan_ms),
    ]
    .join("\n")
}
