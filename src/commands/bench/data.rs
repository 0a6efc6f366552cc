//! The benches of the data half.

use std::path::PathBuf;

use psann_core::Error;
use psann_core::quantity::Bytes;
use psann_data::bench::{BenchFilter, DataBenchOptions, DataBenchReport, filters_bench, prepare_bench};
use serde_json::json;

use crate::cli::BenchDataArgs;
use crate::display::Failure;

fn options(args: &BenchDataArgs) -> DataBenchOptions {
    // As the stage does.
    psann_torch::memory::set_freed(psann_torch::memory::Freed::Kept);
    DataBenchOptions { input: args.input.clone(), threads: args.threads.max(1), memory: Bytes(2 << 30) }
}

fn show(report: &DataBenchReport, json: bool) -> Result<(), Failure> {
    let text = format!(
        "{} · {} documents, {:.1} MB of text · {} thread{}\n  {:.1} MB/s per processor second · {:.2} s of processor \
         time, {:.2} s on the clock\n  {} documents left · peak memory {:.0} MB\n",
        report.name,
        report.documents,
        report.megabytes,
        report.threads,
        if report.threads == 1 { "" } else { "s" },
        report.megabytes_per_cpu_second,
        report.cpu_seconds,
        report.wall_seconds,
        report.kept,
        report.peak_rss_mb
    );
    super::print(report, &text, json)
}

/// The rule filters in the order of FineWeb.
fn rules() -> Vec<BenchFilter> {
    vec![
        ("gopher_repetition", json!({})),
        ("gopher_quality", json!({})),
        ("c4", json!({ "preset": "fineweb" })),
        ("fineweb", json!({})),
    ]
}

fn english(args: &BenchDataArgs) -> BenchFilter {
    ("english", args.model.as_ref().map_or_else(|| json!({}), |model| json!({ "model": model })))
}

/// A run in a folder that is removed behind it.
fn run(name: &str, args: &BenchDataArgs, filters: &[BenchFilter]) -> Result<(), Failure> {
    let folder = scratch();
    let report = prepare_bench(name, &options(args), filters, &folder);
    drop(std::fs::remove_dir_all(&folder));
    show(&report?, args.json)
}

/// A folder for what a bench writes.
pub fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("psann-bench-{}", std::process::id()))
}

pub fn minhash(args: &BenchDataArgs) -> Result<(), Failure> {
    run("minhash", args, &[("minhash", json!({ "preset": "fineweb" }))])
}

pub fn filters(args: &BenchDataArgs) -> Result<(), Failure> {
    show(&filters_bench("rule filters", &options(args), &rules())?, args.json)
}

pub fn language(args: &BenchDataArgs) -> Result<(), Failure> {
    show(&filters_bench("language", &options(args), &[english(args)])?, args.json)
}

pub fn decontaminate(args: &BenchDataArgs) -> Result<(), Failure> {
    let evals = args
        .evals
        .as_ref()
        .ok_or_else(|| Error::usage("`bench decontaminate` needs benchmarks to look for").hint("give `--evals DIR`"))?;
    show(&filters_bench("decontaminate", &options(args), &[("decontaminate", json!({ "evals": evals }))])?, args.json)
}

pub fn prepare(args: &BenchDataArgs) -> Result<(), Failure> {
    let mut filters = vec![("normalize", json!({})), english(args)];
    filters.extend(rules());
    filters.push(("minhash", json!({ "preset": "fineweb" })));
    if let Some(evals) = &args.evals {
        filters.push(("decontaminate", json!({ "evals": evals })));
    }
    run("prepare", args, &filters)
}
