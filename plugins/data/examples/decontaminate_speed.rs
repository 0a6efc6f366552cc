//! Megabytes a second of `decontaminate` on one core:
//! `cargo run -p psann-plugins-data --example decontaminate_speed -- CORPUS.jsonl EVALS...`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for developers")]

use psann_core::{BatchBuilder, Document, Filter};
use psann_plugins_data::filters::decontaminate::{Decontaminate, DecontaminateOptions};
use psann_plugins_data::sources::files::Paths;

/// Seconds this process was given by the processor: what a busy machine does beside it does not count.
fn seconds() -> f64 {
    let times = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    times.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let corpus = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let evals = Some(Paths::Many(arguments.collect()));
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::default();
    let mut bytes = 0;
    for line in corpus.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = row["text"].as_str().unwrap().to_owned();
        bytes += text.len();
        builder.push(Document { text, ..Document::default() });
        if builder.len() == 1000 {
            batches.push(builder.finish().unwrap());
        }
    }
    batches.push(builder.finish().unwrap());
    let filter = Decontaminate::new(DecontaminateOptions { evals, ..DecontaminateOptions::default() }).unwrap();
    let start = seconds();
    filter.identity().unwrap();
    println!("index built in {:.2} s", seconds() - start);
    for _ in 0..3 {
        let start = seconds();
        let (mut entries, mut notes) = (0, 0);
        for batch in &batches {
            let keys = filter.corpus().unwrap().keys(batch).unwrap();
            entries += keys.entries.len();
            notes += keys.notes.iter().filter(|note| !note.is_empty()).count();
        }
        let took = seconds() - start;
        println!(
            "{:.1} MB at {:.0} MB/s, {entries} keys, {notes} notes",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / took
        );
    }
}
