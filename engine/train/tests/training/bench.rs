//! The bench runs and its numbers hang together.

use psann_train::bench::optimizer::{OptimizerBenchOptions, optimizer_bench};
use psann_train::bench::{BenchOptions, train_bench};
use psann_train::executor::Recompute;
use psann_train::options::ActivationCheckpointing;

#[test]
fn a_small_bench_reports_consistent_numbers() {
    let options = BenchOptions {
        d_model: 16,
        layers: 2,
        heads: 2,
        vocab: 64,
        batch: 2,
        seq: 16,
        accumulation: 2,
        steps: 3,
        warmup_steps: 1,
        checkpoint: ActivationCheckpointing(Recompute::Full),
        ..BenchOptions::default()
    };
    let report = train_bench(&options).unwrap();
    assert_eq!((report.tokens_per_step, report.step_seconds.len(), report.losses.len()), (64, 3, 4));
    assert!((report.tokens_per_second * report.median_step_seconds - 64.0).abs() < 1e-6);
    assert!(report.roofline_fraction > 0.0 && report.roofline_fraction_causal < report.roofline_fraction);
    assert!(report.losses[0] > 3.0 && report.losses[0] < 6.0, "{:?}: ln 64 is 4.16", report.losses);
    let parts = report.seconds_by_part;
    assert!(parts.recompute > 0.0 && parts.forward > 0.0 && parts.backward > 0.0 && parts.head > 0.0);
    let json = serde_json::to_value(&report).unwrap();
    for field in ["median_step_seconds", "tokens_per_second", "peak_rss_mb", "seconds_by_part", "roofline_fraction"] {
        assert!(!json[field].is_null(), "{field}");
    }
    assert_eq!(train_bench(&options).unwrap().losses, report.losses, "nothing random is unseeded");
}

#[test]
fn the_optimizer_bench_times_all_and_weighs_their_state() {
    let options = OptimizerBenchOptions { d_model: 64, layers: 2, vocab: 512, threads: None, steps: 3 };
    let report = optimizer_bench(&options).unwrap();
    let names: Vec<&str> = report.optimizers.iter().map(|figures| figures.name.as_str()).collect();
    assert_eq!(names, ["adamw", "adamw8bit", "adafactor", "aten_fused_adamw"]);
    assert!(report.optimizers.iter().all(|figures| figures.median_step_seconds >= figures.shortest_step_seconds));
    assert_eq!(report.optimizers[0].state_bytes, 8 * report.parameters);
    assert_eq!(report.optimizers[3].state_bytes, 8 * report.parameters);
    assert!(report.adamw8bit_state_over_adamw < 0.3, "{}", report.adamw8bit_state_over_adamw);
    assert!(optimizer_bench(&OptimizerBenchOptions { steps: 0, ..options }).is_err());
}
