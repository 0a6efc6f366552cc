//! What a plugin costs: the same filter as a built-in, through the tables of a plugin, and in a library; and the search for
//! plugins.
//!
//! The first two run the very same machine code, so that their difference is what crossing costs. In a library the code is
//! the same and lies elsewhere; for a tight loop that alone can make a difference, in either direction.

use std::path::Path;
use std::time::Instant;

use psann_core::batch::{BatchBuilder, Row};
use psann_core::{Batch, Error, Filter, Result};
use psann_example_letters::{Letters, psann_plugin_v1};
use psann_sdk::call::Plugin;
use serde::Serialize;
use serde_json::json;

use crate::discover::{Opening, Settings, discover};
use crate::filter::PluginFilter;
use crate::{built_in, library, lock, surroundings};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginBenchOptions {
    /// Documents of a batch.
    pub documents: usize,
    /// Bytes of a document.
    pub bytes: usize,
    /// Batches of each side, in turns.
    pub rounds: usize,
    /// Libraries in the search.
    pub libraries: usize,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginBenchReport {
    /// Documents of a batch.
    pub documents: usize,
    /// Bytes of a document.
    pub bytes: usize,
    /// Median milliseconds of a batch by the built-in.
    pub built_in_ms: f64,
    /// The same through the tables of a plugin.
    pub plugin_ms: f64,
    /// The same in a library.
    pub library_ms: f64,
    /// By how much the plugin is slower than the built-in, as a share: the median over pairs of batches.
    pub overhead: f64,
    /// The same of the library.
    pub library_overhead: f64,
    /// Libraries in the search.
    pub libraries: usize,
    /// Milliseconds of the search that opens each library in a process of its own.
    pub first_scan_ms: f64,
    /// Median milliseconds of a search that remembers them.
    pub cached_scan_ms: f64,
}

/// Measures with the library of `org.psann.letters`; `scan` is how a process is started that opens a library.
///
/// # Errors
/// When the library is not that one, or files cannot be written.
pub fn plugin_bench(
    letters: &Path,
    options: &PluginBenchOptions,
    scan: Vec<std::ffi::OsString>,
) -> Result<PluginBenchReport> {
    let batch = batch(options)?;
    let linked = built_in::make_filter::<Letters>(&json!({}))?;
    let table = || surroundings::table("bench".to_owned());
    // SAFETY: the entry symbol of a crate that is part of this program.
    let own = unsafe { Plugin::load(psann_plugin_v1, table()) }.map_err(crate::error)?;
    let filter = |plugin: &'static Plugin| -> Result<PluginFilter> {
        Ok(PluginFilter::new(String::new(), plugin.filter("letters", &json!({})).map_err(crate::error)?))
    };
    let plugin = filter(Box::leak(Box::new(own)))?;
    let loaded = filter(library::load(letters, table())?)?;
    let expected = linked.apply(&batch)?;
    if plugin.apply(&batch)? != expected || loaded.apply(&batch)? != expected {
        return Err(Error::new(format!("`{}` is not the filter that is linked in", letters.display())));
    }
    let sides: [&dyn Filter; 3] = [linked.as_ref(), &plugin, &loaded];
    let mut times: [Vec<f64>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..options.rounds.max(1) {
        // Each side comes first as often as the others.
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            times[side].push(time(|| sides[side].apply(&batch).map(drop))?);
        }
    }
    let over = |side: usize| -> f64 { median(times[side].iter().zip(&times[0]).map(|(a, b)| a / b - 1.0).collect()) };
    let (overhead, library_overhead) = (over(1), over(2));
    let [built_in_ms, plugin_ms, library_ms] = times.map(median);
    let (first_scan_ms, cached_scan_ms) = scans(letters, options.libraries, scan)?;
    Ok(PluginBenchReport {
        documents: options.documents,
        bytes: options.bytes,
        built_in_ms,
        plugin_ms,
        library_ms,
        overhead,
        library_overhead,
        libraries: options.libraries,
        first_scan_ms,
        cached_scan_ms,
    })
}

/// Words of a text, one document like the other but for where it begins.
fn batch(options: &PluginBenchOptions) -> Result<Batch> {
    let words =
        "It was the best of times, it was the worst of times; 1859 words (more or less) of a tale of two cities. ";
    let mut builder = BatchBuilder::default();
    for row in 0..options.documents {
        let text: String = words.chars().cycle().skip(row % words.len()).take(options.bytes).collect();
        builder.push_row(Row { text: &text, ..Row::default() });
    }
    builder.finish()
}

/// The first and the remembered search for copies of a library.
fn scans(letters: &Path, libraries: usize, scan: Vec<std::ffi::OsString>) -> Result<(f64, f64)> {
    let cannot = |e: std::io::Error| Error::new("cannot make a folder for the bench").because(e);
    let project = std::env::temp_dir().join(format!("psann-bench-plugin-{}", std::process::id()));
    let folder = project.join(crate::search::PROJECT);
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    for number in 0..libraries {
        let file = format!("libletters{number}{}", std::env::consts::DLL_SUFFIX);
        std::fs::copy(letters, folder.join(file)).map_err(cannot)?;
    }
    std::fs::write(project.join(lock::FILE), "version = 1\n").map_err(cannot)?;
    let settings = Settings { project: project.clone(), folders: Vec::new(), off: false, scan };
    let first = time(|| discover(&settings, Opening::All).map(drop));
    let cached: Result<Vec<f64>> = (0..9).map(|_| time(|| discover(&settings, Opening::All).map(drop))).collect();
    std::fs::remove_dir_all(&project).map_err(cannot)?;
    Ok((first?, median(cached?)))
}

/// Milliseconds.
fn time(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
