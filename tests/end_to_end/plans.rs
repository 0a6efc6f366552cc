//! Plans of large runs: what they take, without taking any of it.

use std::path::Path;

use super::support::Scratch;

/// What the plan of the 3B recipe says of training, with these settings.
fn planned(settings: &[&str]) -> String {
    let scratch = Scratch::new();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/train_3b_en.rhai");
    let mut arguments = vec!["recipe", recipe.to_str().unwrap(), "--plan"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let text = scratch.ok(&arguments);
    let start = text.find("3. pretrain").unwrap();
    let end = text.find("\n4. evaluate").unwrap();
    text[start..end].lines().filter(|line| !line.contains("writes")).collect::<Vec<_>>().join("\n")
}

#[test]
fn three_billion_parameters_fit_on_eight_small_gpus_and_with_eight_bits_on_two() {
    let eight = planned(&["ranks=8", "device_memory=24GB"]);
    assert!(eight.contains("3.71B parameters") && eight.contains("fits into"), "{eight}");
    let two = planned(&["ranks=2", "device_memory=40GB", "accumulation=64", "eight_bit=true"]);
    assert!(two.contains("fits into"), "{two}");
    let without = planned(&["ranks=2", "device_memory=24GB", "accumulation=64"]);
    assert!(without.contains("warning: does not fit into"), "{without}");
    insta::assert_snapshot!("plan_3b", format!("{eight}\n\n{two}\n\n{without}"));
}
