//! The memory plan is within a tenth of what runs take. Each is a process of its own: memory of others must not count.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use psann_train::bench::{BenchOptions, BenchReport, ranked_bench};
use psann_train::executor::Recompute;
use psann_train::launch::World;
use psann_train::options::ActivationCheckpointing;
use psann_train::ranks::Ranks;

/// `MODE ACCUMULATION RANK RANKS PORT` for the child; without it, the child's test does nothing.
const PART: &str = "PSANN_TEST_MEMORY";
/// What the report's line begins with, among what the test program itself prints.
const MARK: &str = "report: ";

#[test]
#[expect(clippy::print_stdout, reason = "how the child tells its parent")]
fn measures_one_run() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split(' ').collect();
    let number = |index: usize| words[index].parse::<usize>().unwrap();
    let world = World {
        rank: number(2),
        size: number(3),
        local_rank: number(2),
        local_size: number(3),
        address: "127.0.0.1".into(),
        port: number(4) as u16,
        ..World::alone()
    };
    let ranks = Ranks::on_cpu(world).unwrap();
    let recompute = if words[0] == "full" { Recompute::Full } else { Recompute::None };
    let options = BenchOptions {
        d_model: 384,
        heads: 6,
        layers: 4,
        vocab: 6144,
        batch: 4,
        seq: 256,
        accumulation: number(1) as u64,
        checkpoint: ActivationCheckpointing(recompute),
        threads: Some(1),
        steps: 1,
        warmup_steps: 2,
        ..BenchOptions::default()
    };
    let report = ranked_bench(&options, &ranks.group).unwrap();
    if ranks.is_first() {
        println!("{MARK}{}", serde_json::to_string(&report).unwrap());
    }
    ranks.group.barrier().unwrap();
}

fn start(mode: &str, accumulation: u64, rank: usize, ranks: usize, port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "training::memory::measures_one_run", "--nocapture"])
        .env(PART, format!("{mode} {accumulation} {rank} {ranks} {port}"))
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn measured(mode: &str, accumulation: u64, ranks: usize) -> BenchReport {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let children: Vec<Child> = (0..ranks).map(|rank| start(mode, accumulation, rank, ranks, port)).collect();
    let outputs: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect();
    let line = outputs[0].lines().find_map(|line| line.split_once(MARK)).unwrap().1;
    serde_json::from_str(line).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn the_plan_is_within_a_tenth_of_the_measured_peak() {
    // With accumulation, the parts walk one after the other: gradients of the first stand while the second is computed.
    let runs = [
        ("none", 1, 1),
        ("full", 1, 1),
        ("none", 1, 2),
        ("full", 1, 2),
        ("none", 3, 1),
        ("full", 3, 1),
        ("full", 3, 2),
    ];
    for (mode, accumulation, ranks) in runs {
        let report = measured(mode, accumulation, ranks);
        let (planned, found) = (report.predicted_peak_mb, report.peak_rss_mb);
        assert!(
            (planned - found).abs() <= 0.1 * found,
            "{mode}, {accumulation} parts, {ranks} ranks: planned {planned}, measured {found}"
        );
    }
}
