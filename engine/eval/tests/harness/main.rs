//! The harness against the golden outputs of lm-evaluation-harness 0.4.13: every vector, every prompt configuration, every
//! run that is in the folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod chat;
mod output;
mod prompts;
mod runs;
mod toy;
mod user;
mod vectors;

/// Fails with all of `failures`, the first ones in full.
fn assert_none(tested: usize, failures: &[String]) {
    assert!(tested > 0, "no case was tested");
    let shown: Vec<&str> = failures.iter().take(20).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} of {tested} failed\n{}", failures.len(), shown.join("\n"));
}

/// Whether two numbers agree relative to the expected one.
fn near(found: f64, expected: f64, tolerance: f64) -> bool {
    found == expected || (found - expected).abs() <= tolerance * expected.abs()
}

/// What `work` makes of each item, with all cores.
fn each<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut made: Vec<(usize, T)> = std::thread::scope(|scope| {
        let worker = || {
            let mut made = Vec::new();
            loop {
                let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(item) = items.get(index) else { return made };
                made.push((index, work(item)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, made)| made).collect()
}
