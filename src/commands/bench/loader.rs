//! The bench of the data stream.

use psann_core::quantity::grouped;
use psann_data::bench::loader::{LoaderBenchOptions, LoaderBenchReport, loader_bench};

use super::data::scratch;
use crate::cli::BenchLoaderArgs;
use crate::display::Failure;

/// Batches as fast as they come.
pub fn loader(args: &BenchLoaderArgs) -> Result<(), Failure> {
    let options = LoaderBenchOptions {
        input: args.input.clone(),
        vocabulary: args.vocab,
        seq_len: args.seq,
        rows: args.batch,
        threads: args.threads.clone(),
        seconds: args.seconds,
    };
    let folder = scratch();
    let report = loader_bench(&options, &folder);
    drop(std::fs::remove_dir_all(&folder));
    let report = report?;
    super::print(&report, &text(&report), args.json)
}

fn text(report: &LoaderBenchReport) -> String {
    let mut text = format!(
        "data stream · {} documents, {:.1} MB of text · vocabulary {} · {:.2} bytes per token\n",
        report.documents, report.megabytes, report.vocabulary, report.bytes_per_token
    );
    for run in &report.runs {
        text.push_str(&format!(
            "  {} thread{}  {} tokens/s · {} per processor second · {:.0} MB resident\n",
            run.threads,
            if run.threads == 1 { "" } else { "s" },
            grouped(run.tokens_per_second as u64),
            grouped(run.tokens_per_cpu_second as u64),
            run.rss_mb
        ));
        let counters = &run.counters;
        text.push_str(&format!(
            "             reading {:.2} s · tokenising {:.2} s · trainer waited {:.2} s · threads waited {:.2} s\n",
            counters.reading, counters.tokenising, counters.waited_for_data, counters.waited_for_trainer
        ));
    }
    text
}
