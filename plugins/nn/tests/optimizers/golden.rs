//! AdamW and Adafactor beside PyTorch and transformers.

use psann_core::registry;
use psann_golden::{Pair, cases, skip};
use serde_json::{Value, json};

use super::{ALONE, Stream, bytes_of, full, step};

/// Name and options of our optimizer for one run of a case.
fn optimizer_of(package: &str, run: &Value) -> Option<(&'static str, Value)> {
    let mut options = json!({ "groups": "all", "weight_decay": run["weight_decay"], "eps": run["eps"] });
    let mut take = |ours: &str, theirs: &str| options[ours] = run[theirs].clone();
    match package {
        "torch_adamw" => {
            take("lr", "lr");
            take("betas", "betas");
            Some(("adamw", options))
        }
        "torch_adafactor" => {
            take("lr", "lr");
            take("beta2_decay", "beta2_decay");
            take("d", "d");
            Some(("adafactor", options))
        }
        "hf_adafactor" => {
            take("beta2_decay", "decay_rate");
            take("d", "clip_threshold");
            for name in ["relative_step", "scale_parameter", "warmup_init", "beta1"] {
                take(name, name);
            }
            if !run["lr"].is_null() {
                take("lr", "lr");
            }
            options["rule"] = json!("fairseq");
            Some(("adafactor", options))
        }
        _ => None,
    }
}

#[test]
fn golden_psann_optimizers_follow_their_reference_packages() {
    let mut compared = 0;
    for case in cases("psann", "optim") {
        let mut expected = case.read("io");
        let mut pairs: Vec<Pair> = Vec::new();
        let package = case.config["optimizer"].as_str().unwrap();
        for (number, run) in case.config["runs"].as_array().unwrap().iter().enumerate() {
            let Some((name, options)) = optimizer_of(package, run) else {
                skip(&case, &format!("optimizer `{package}` is not built"));
                expected.clear();
                break;
            };
            let mut optimizer = registry::optimizer(name, &options).unwrap();
            let mut stream = Stream::of(&case);
            for at in 1..=stream.steps() {
                stream.set_gradients(at);
                step(optimizer.as_mut(), &mut stream.shards, full(at), &ALONE);
                for (index, shard) in stream.shards.iter().enumerate() {
                    let place = format!("run{number}.step{at}.{}", shard.spec.name);
                    let weight = ("param".to_owned(), shard.value.copy());
                    let state = optimizer.state(index).into_iter().map(|state| (state.name, state.tensor.copy()));
                    for (what, found) in state.chain([weight]) {
                        let name = format!("out.{what}.{place}");
                        if let Some(expected) = expected.remove(&name) {
                            pairs.push((name, expected, found));
                        }
                    }
                    let rows = shard.spec.shape.first().copied().unwrap_or(1);
                    assert_eq!(optimizer.state_bytes(&shard.spec, rows), bytes_of(optimizer.as_ref(), index));
                }
            }
        }
        assert!(expected.is_empty(), "{}: nothing to compare {:?} with", case.name, expected.keys());
        case.compare(&pairs).unwrap_or_else(|problem| panic!("{problem}"));
        compared += pairs.len();
    }
    assert!(compared > 0 || std::env::var_os("PSANN_FIXTURES").is_some());
}
