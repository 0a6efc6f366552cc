//! The golden data of all rooms: what is not compared anywhere is named here.

/// The kinds that tests of the rooms take: `plugins/nn`, `engine/train`, `engine/eval`.
const BUILT: [&str; 7] = ["pieces", "model", "init", "train", "generate", "sampling", "checkpoint"];

#[test]
fn golden_psann_kinds_that_are_not_built_are_listed_by_name() {
    let skipped = psann_golden::skip_unbuilt("psann", &BUILT);
    if std::env::var_os("PSANN_FIXTURES").is_some() {
        return;
    }
    assert_eq!(
        skipped,
        [
            "11_optim_stream",
            "11a_adamw",
            "11b_adafactor_torch",
            "11c_adafactor_hf",
            "11d_adamw8bit_bnb_cpu",
            "11e_adamw8bit_nearest",
            "13_sft",
            "14_fsdp2_gloo",
        ]
    );
}
