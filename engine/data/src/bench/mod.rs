//! How fast this machine prepares text (filters on documents in memory, or whole runs of `prepare` on files) and makes
//! batches of it.
//!
//! Processor time is that of all threads together, so megabytes per processor second compare machines and threads.

pub mod loader;

use std::fs;
use std::path::Path;
use std::time::Instant;

use psann_core::observer::Silent;
use psann_core::plan::{Component, FilterComponent, Flow};
use psann_core::quantity::{Bytes, Share};
use psann_core::registry::{self, Kind};
use psann_core::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::prepare::rows::Rows;
use crate::prepare::{Filters, PrepareJob, PrepareOptions, judge_rows, prepare};

/// What is measured, and on what.
#[derive(Debug, Clone)]
pub struct DataBenchOptions {
    /// JSON lines files with a key `text`.
    pub input: Vec<String>,
    /// Threads.
    pub threads: usize,
    /// Memory for whole runs.
    pub memory: Bytes,
}

/// Figures of one bench.
#[derive(Debug, Clone, Serialize)]
pub struct DataBenchReport {
    /// What was measured.
    pub name: String,
    /// Documents of the input.
    pub documents: u64,
    /// Text of the input in megabytes (10⁶ bytes).
    pub megabytes: f64,
    /// Documents that are left.
    pub kept: u64,
    /// Processor time over all threads.
    pub cpu_seconds: f64,
    /// Time on the clock.
    pub wall_seconds: f64,
    /// Largest resident memory of the process in MB (10⁶ bytes), the program itself included.
    pub peak_rss_mb: f64,
    /// Text per second of processor time.
    pub megabytes_per_cpu_second: f64,
    /// Threads.
    pub threads: usize,
    /// What was dropped, by filter and reason.
    pub dropped: Value,
}

/// A filter of a bench: its name and options.
pub type BenchFilter = (&'static str, Value);

fn flow(options: &DataBenchOptions, filters: &[BenchFilter]) -> Flow {
    let source = Component { kind: Kind::Source, name: "jsonl".into(), options: json!({ "path": options.input }) };
    let filter = |(name, options): &BenchFilter| {
        FilterComponent(Component { kind: Kind::Filter, name: (*name).into(), options: options.clone() })
    };
    Flow { source, filters: filters.iter().map(filter).collect() }
}

/// Times filters, one behind the other, on documents that were read before.
///
/// # Errors
/// What the source cannot read, and what a filter cannot do.
pub fn filters_bench(name: &str, options: &DataBenchOptions, filters: &[BenchFilter]) -> Result<DataBenchReport> {
    let flow = flow(options, filters);
    let source = registry::source(&flow.source.name, &flow.source.options)?;
    let mut batches: Vec<Rows> = Vec::new();
    for partition in source.partitions()? {
        let (mut reader, mut row) = (source.open(&partition, None)?, 0);
        while let Some(batch) = reader.next_batch()? {
            batches.push(Rows::number(&batch, partition.index, row)?);
            row += batch.len() as u64;
        }
    }
    let filters = Filters::new(&flow.filters)?;
    let pool = pool(options.threads)?;
    // Tables and caches are made once in a run of hours; a first batch makes them here.
    if let Some(first) = batches.first() {
        judge_rows(&filters, first.slice(0, first.len().min(16))?)?;
    }
    let clock = Clock::start();
    let judged =
        pool.install(|| batches.par_iter().map(|rows| judge_rows(&filters, rows.clone())).collect::<Result<Vec<_>>>())?;
    let times = clock.stop();
    let (mut kept, mut dropped) = (0, serde_json::Map::new());
    for (rows, reports) in &judged {
        kept += rows.len() as u64;
        for report in reports {
            for (reason, amount) in &report.dropped {
                let key = format!("{}: {reason}", report.name);
                let before = dropped.get(&key).and_then(Value::as_u64).unwrap_or(0);
                dropped.insert(key, json!(before + amount.documents));
            }
        }
    }
    let bytes = batches.iter().map(Rows::bytes).sum();
    let documents = batches.iter().map(|rows| rows.len() as u64).sum();
    Ok(report(name, options, documents, bytes, kept, times, Value::Object(dropped)))
}

/// Times a whole run of `prepare`, from the files of the input to Parquet in a temporary folder.
///
/// # Errors
/// Those of the stage.
pub fn prepare_bench(
    name: &str,
    options: &DataBenchOptions,
    filters: &[BenchFilter],
    folder: &Path,
) -> Result<DataBenchReport> {
    let prepare_options = PrepareOptions {
        data: Some(flow(options, filters)),
        validation: Share(0.01),
        memory: options.memory,
        workers: options.threads,
        ..PrepareOptions::default()
    };
    fs::create_dir_all(folder).map_err(|e| crate::files::cannot_write(folder, e))?;
    let job = PrepareJob { options: &prepare_options, fingerprint: "bench", directory: folder, observer: &Silent };
    let pool = pool(options.threads)?;
    let clock = Clock::start();
    let found = pool.install(|| prepare(&job))?;
    let times = clock.stop();
    let dropped: serde_json::Map<String, Value> =
        found.filters.iter().map(|filter| (filter.name.clone(), json!(filter.dropped_documents()))).collect();
    let kept = found.train.documents + found.validation.documents;
    Ok(report(name, options, found.read.documents, found.read.bytes, kept, times, Value::Object(dropped)))
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::new("cannot start threads").because(e))
}

fn report(
    name: &str,
    options: &DataBenchOptions,
    documents: u64,
    bytes: u64,
    kept: u64,
    (cpu_seconds, wall_seconds): (f64, f64),
    dropped: Value,
) -> DataBenchReport {
    let megabytes = bytes as f64 / 1e6;
    DataBenchReport {
        name: name.to_owned(),
        documents,
        megabytes,
        kept,
        cpu_seconds,
        wall_seconds,
        peak_rss_mb: status("VmHWM").unwrap_or(0.0) * 1024.0 / 1e6,
        megabytes_per_cpu_second: megabytes / cpu_seconds.max(1e-9),
        threads: options.threads,
        dropped,
    }
}

/// A field of `/proc/self/status` in KiB.
fn status(field: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Processor time of all threads of this process, in seconds.
fn processor_seconds() -> Option<f64> {
    /// Linux counts in hundredths of a second here, whatever the kernel's own tick.
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in brackets and may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

struct Clock {
    cpu: f64,
    wall: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { cpu: processor_seconds().unwrap_or(0.0), wall: Instant::now() }
    }

    fn stop(self) -> (f64, f64) {
        (processor_seconds().unwrap_or(0.0) - self.cpu, self.wall.elapsed().as_secs_f64())
    }
}
