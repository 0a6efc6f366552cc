//! Memory does not grow with the corpus. A corpus of 20 GB is one shard under many names; it is read here and there, and
//! again at length by the soak test.

use std::fs;
use std::path::Path;
use std::process::Command;

use psann_core::Document;
use psann_core::tokens::BatchStream;
use psann_data::documents::{Manifest, Split};
use psann_data::loader::TrainingText;

use crate::support::{loader, prepare};

/// Names the corpus, and the batches to read, to the process that is measured.
const TASK: &str = "PSANN_TEST_MEMORY";

/// A corpus of `names` shards that are one file of some 50 MB of text.
fn corpus(folder: &Path, names: usize) -> u64 {
    let text = |n: usize| (0..600).map(|word| format!("{} ", (n * 7919 + word * 104_729) % 9973)).collect::<String>();
    let documents: Vec<Document> = (0..17_000).map(|n| Document { text: text(n), ..Document::default() }).collect();
    prepare(folder, &documents, documents.len());
    let shard = Manifest::read(folder).unwrap().train.remove(0);
    let first = Split::Train.shard(folder, 0);
    let shards = (0..names).map(|number| {
        let path = Split::Train.shard(folder, number);
        if number > 0 {
            fs::hard_link(&first, &path).unwrap();
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        psann_data::documents::ShardFile { name, ..shard.clone() }
    });
    Manifest::new("test", shards.collect(), Vec::new()).write(folder).unwrap();
    shard.bytes * names as u64
}

/// Bytes by which resident memory grows at most, from where it is when the program is loaded, in a process that reads
/// `batches` batches of the corpus in `folder`.
fn peak(folder: &Path, batches: usize) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::the_process_that_is_measured", "--nocapture"])
        .env(TASK, format!("{batches} {}", folder.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kilobytes = text.lines().find_map(|line| line.split_once("peak ")?.1.parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))) * 1024
}

#[test]
fn the_process_that_is_measured() {
    let Ok(task) = std::env::var(TASK) else { return };
    let (batches, folder) = task.split_once(' ').unwrap();
    let loaded = kilobytes("VmRSS");
    let text = TrainingText::prepared(Path::new(folder), Split::Train);
    // Windows of 64 KiB, so that every row goes through several.
    let mut stream = loader(&text, |o| (o.seq_len, o.rows, o.window) = (256, 16, 1 << 20));
    for _ in 0..batches.parse().unwrap() {
        stream.next_batch().unwrap();
    }
    #[expect(clippy::print_stdout, reason = "the parent reads it")]
    {
        println!("peak {}", kilobytes("VmHWM") - loaded);
    }
}

/// A field of this process's status.
fn kilobytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn resident_memory_is_flat_over_a_corpus_of_20_gb_read_here_and_there() {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    let (small, large) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let less = corpus(small.path(), 2);
    let more = corpus(large.path(), 420);
    assert!(less > 64 << 20 && more > 20_000_000_000, "{less} {more}");
    let (less, more) = (peak(small.path(), 1500), peak(large.path(), 1500));
    assert!(more < less + less / 5 + (8 << 20), "{less} and {more} bytes");
    assert!(more < 64 << 20, "{more} bytes");
}

#[test]
#[ignore = "soak: reads gigabytes"]
fn resident_memory_stays_flat_over_a_long_read() {
    let folder = tempfile::tempdir().unwrap();
    corpus(folder.path(), 420);
    let (less, more) = (peak(folder.path(), 1500), peak(folder.path(), 1_000_000));
    assert!(more < less + less / 5 + (8 << 20), "{less} and {more} bytes");
}
