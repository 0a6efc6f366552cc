//! The signature kernel alone: shingle hashes in, signatures out.
//!
//!     cargo bench -p psann-plugins-data --bench signatures [-- FOLDER]
//!
//! FOLDER holds `shingles.u64` and `offsets.u64` (little-endian; the offsets of each document's first shingle, and the
//! end), so that other software can be given the same; without it, 2,000 made-up documents are used.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "the output of a bench")]

use std::path::Path;
use std::time::Instant;

use psann_plugins_data::filters::minhash::sketch::sketch;
use psann_plugins_data::filters::minhash::words::mix;

fn numbers(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().unwrap())).collect()
}

fn documents() -> Vec<Vec<u64>> {
    match std::env::args().skip(1).find(|argument| !argument.starts_with("--")) {
        Some(folder) => {
            let (shingles, offsets) =
                (numbers(&Path::new(&folder).join("shingles.u64")), numbers(&Path::new(&folder).join("offsets.u64")));
            offsets.windows(2).map(|pair| shingles[pair[0] as usize..pair[1] as usize].to_vec()).collect()
        }
        None => (0..2000_u64).map(|n| (0..200 + n % 700).map(|word| mix(n << 32 | word)).collect()).collect(),
    }
}

/// Best nanoseconds per shingle of five rounds.
fn race(name: &str, documents: &[Vec<u64>], mut work: impl FnMut(&[u64]) -> u64) {
    let shingles: usize = documents.iter().map(Vec::len).sum();
    let mut best = f64::INFINITY;
    let mut kept = 0;
    for _ in 0..5 {
        let started = Instant::now();
        for document in documents {
            kept ^= work(document);
        }
        best = best.min(started.elapsed().as_secs_f64() / shingles as f64 * 1e9);
    }
    println!("{name:<44} {best:>8.2} ns per shingle   ({kept:016x})");
}

fn main() {
    let documents = documents();
    for slots in [112, 128] {
        let mut signature = vec![0; slots];
        race(&format!("psann, {slots} slots"), &documents, |shingles| {
            sketch(shingles, &mut signature);
            signature[0]
        });
    }
}
