//! 8-bit AdamW beside bitsandbytes on the CPU, and beside the rule of its CUDA kernels in double precision.

use std::collections::BTreeMap;

use psann_core::Optimizer;
use psann_core::sharder::Shard;
use psann_golden::{Case, Pair, cases};
use psann_plugins_nn::optimizers::adamw8bit::{AdamW8bit, AdamW8bitOptions};
use psann_torch::optimizer::codes::{CodeMap, Rounding, SIGNED, UNSIGNED};
use serde_json::json;
use tch::{Kind, Tensor};

use super::{ALONE, Stream, full, step};

type Tensors = BTreeMap<String, Tensor>;

/// Our names of states, and those of the cases; small parameters have the last two.
const NAMES: [(&str, &str); 6] = [
    ("exp_avg", "codes1"),
    ("exp_avg_sq", "codes2"),
    ("exp_avg_scale", "absmax1"),
    ("exp_avg_sq_scale", "absmax2"),
    ("exp_avg", "state1"),
    ("exp_avg_sq", "state2"),
];

fn optimizer(case: &Case, rounding: Rounding, decay: &str) -> AdamW8bit {
    let mut options = case.config["run"].clone();
    options["groups"] = json!("all");
    options["decay"] = json!(decay);
    AdamW8bit::like_others(serde_json::from_value::<AdamW8bitOptions>(options).unwrap(), rounding).unwrap()
}

/// Weights and state under the case's names, for shard `index`.
fn found(optimizer: &AdamW8bit, index: usize, shard: &Shard, weights: &str) -> Vec<(String, Tensor)> {
    let mut found = vec![(weights.to_owned(), shard.value.copy())];
    for state in optimizer.state(index) {
        let codes = state.tensor.kind() == Kind::Uint8 || state.name.ends_with("_scale");
        let names = if codes { &NAMES[..4] } else { &NAMES[4..] };
        let (_, theirs) = names.iter().find(|(ours, _)| *ours == state.name).unwrap();
        found.push(((*theirs).to_owned(), state.tensor.copy()));
    }
    found
}

/// Puts what the case stored after a step into shard `index`.
fn restore(optimizer: &mut AdamW8bit, index: usize, shard: &mut Shard, io: &Tensors, [before, place]: [&str; 2]) {
    let stored = |what: &str| &io[&format!("out.{before}{what}{place}")];
    shard.value.copy_(stored("param"));
    let state = NAMES[..4].iter().map(|(ours, theirs)| {
        let stored = stored(theirs);
        let codes = stored.kind() == Kind::Uint8;
        // Steps write into what is loaded.
        ((*ours).to_owned(), if codes { stored.view_as(&shard.value).copy() } else { stored.copy() })
    });
    optimizer.load_state(index, state.collect()).unwrap();
}

/// From start to end; gives what the case has of weights, called `weights`, and of state, except for `ignored`.
fn free_run(case: &Case, io: &Tensors, rounding: Rounding, decay: &str, weights: &str) -> Vec<Pair> {
    let (mut optimizer, mut stream, mut pairs) = (optimizer(case, rounding, decay), Stream::of(case), Vec::new());
    for at in 1..=stream.steps() {
        stream.set_gradients(at);
        step(&mut optimizer, &mut stream.shards, full(at), &ALONE);
        for (index, shard) in stream.shards.iter().enumerate() {
            for (what, found) in found(&optimizer, index, shard, weights) {
                let name = format!("out.{what}.step{at}.{}", shard.spec.name);
                pairs.extend(io.get(&name).map(|expected| (name, expected.shallow_clone(), found)));
            }
        }
    }
    pairs
}

/// Single steps from stored states. Codes that rounding noise decides may differ by one; elsewhere they are compared.
fn single_steps(case: &Case, io: &Tensors, rounding: Rounding) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for from in case.config["forced_from"].as_array().unwrap().iter().map(|from| from.as_i64().unwrap()) {
        let (mut optimizer, mut stream) = (optimizer(case, rounding, "before"), Stream::of(case));
        let names: Vec<&str> = case.config["eight_bit"].as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
        stream.set_gradients(from + 1);
        for (index, shard) in stream.shards.iter_mut().enumerate() {
            let name = shard.spec.name.clone();
            if !names.contains(&name.as_str()) {
                continue;
            }
            restore(&mut optimizer, index, shard, io, ["", &format!(".step{from}.{name}")]);
            let gradient = shard.gradient.take().unwrap();
            optimizer.step(index, &shard.spec, &mut shard.value, &gradient, full(from + 1)).unwrap();
            for (what, found) in found(&optimizer, index, shard, "param") {
                let place = format!("step{}.{name}", from + 1);
                let expected = io[&format!("out.{what}.{place}")].shallow_clone();
                let noise = io.get(&format!("out.{}.{place}", what.replace("codes", "ambiguous")));
                let found = match noise.filter(|_| what.starts_with("codes")) {
                    Some(noise) => {
                        let distance = (expected.to_kind(Kind::Int) - found.to_kind(Kind::Int)).abs();
                        expected.where_self(&noise.eq(1).logical_and(&distance.le(1)), &found)
                    }
                    None => found,
                };
                pairs.push((format!("out.one_step_{what}.{place}"), expected, found));
            }
        }
    }
    pairs
}

fn maps(io: &Tensors) -> Vec<Pair> {
    [("signed", &*SIGNED), ("unsigned", &*UNSIGNED)]
        .map(|(name, map)| {
            let name = format!("out.map_{name}");
            (name.clone(), io[&name].shallow_clone(), Tensor::from_slice(map.values()))
        })
        .into()
}

#[test]
fn golden_psann_8bit_adamw_equals_bitsandbytes_on_the_cpu() {
    let mut compared = 0;
    for case in cases("psann", "optim8_bnb") {
        let io = case.read("io");
        let mut pairs = maps(&io);
        let firsts = |map: &CodeMap| {
            let firsts: Vec<i32> = map.first_bins().into_iter().map(|bin| bin as i32).collect();
            Tensor::from_slice(&[&[0], firsts.as_slice()].concat())
        };
        for (name, map) in [("signed", &*SIGNED), ("unsigned", &*UNSIGNED)] {
            let name = format!("out.lookup_first_{name}");
            pairs.push((name.clone(), io[&name].shallow_clone(), firsts(map)));
        }
        pairs.extend(free_run(&case, &io, Rounding::Bins, "before", "param"));
        pairs.extend(single_steps(&case, &io, Rounding::Bins));
        case.compare(&pairs).unwrap_or_else(|problem| panic!("{problem}"));
        compared += pairs.len();
    }
    assert!(compared > 0 || std::env::var_os("PSANN_FIXTURES").is_some());
}

#[test]
fn golden_psann_8bit_adamw_rounds_to_the_nearest_code() {
    let mut compared = 0;
    for case in cases("psann", "optim8_nearest") {
        let io = case.read("io");
        let mut pairs = maps(&io);
        pairs.extend(free_run(&case, &io, Rounding::Nearest, "before", "param"));
        let after = free_run(&case, &io, Rounding::Nearest, "after", "param_decay_after");
        pairs.extend(after.into_iter().filter(|(name, _, _)| name.starts_with("out.param_decay_after")));
        pairs.extend(single_steps(&case, &io, Rounding::Nearest));
        pairs.extend(odd_gradients(&case, &io));
        case.compare(&pairs).unwrap_or_else(|problem| panic!("{problem}"));
        for (name, map) in [("signed", &*SIGNED), ("unsigned", &*UNSIGNED)] {
            for exact in ["", "exact_"] {
                let of = |what: &str| &io[&format!("out.tie_{what}_{exact}{name}")];
                assert_eq!(&map.encode(of("x"), Rounding::Nearest), of("code"), "{}: {exact}{name}", case.name);
            }
        }
        compared += pairs.len();
    }
    assert!(compared > 0 || std::env::var_os("PSANN_FIXTURES").is_some());
}

/// One step with gradients that are no numbers.
fn odd_gradients(case: &Case, io: &Tensors) -> Vec<Pair> {
    let (mut optimizer, mut stream) = (optimizer(case, Rounding::Nearest, "before"), Stream::of(case));
    let before = case.config["nonfinite_step"].as_i64().unwrap();
    let name = case.config["eight_bit"][0].as_str().unwrap();
    let index = stream.shards.iter().position(|shard| shard.spec.name == name).unwrap();
    stream.set_gradients(before + 1);
    let shard = &mut stream.shards[index];
    for (ours, theirs) in [("", "param"), ("exp_avg", "codes1")] {
        assert!(io.contains_key(&format!("out.nonfinite_{theirs}_before.step{before}.{name}")), "{ours}");
    }
    restore(&mut optimizer, index, shard, io, ["nonfinite_", &format!("_before.step{before}.{name}")]);
    let gradient = shard.gradient.take().unwrap().copy();
    for (first, stride, value) in [(5, 97, f64::NAN), (11, 101, f64::INFINITY), (17, 103, f64::NEG_INFINITY)] {
        let _ = gradient.view(-1).slice(0, first, None, stride).fill_(value);
    }
    optimizer.step(index, &shard.spec, &mut shard.value, &gradient, full(before + 1)).unwrap();
    let found = found(&optimizer, index, shard, "param").into_iter().map(|(what, found)| {
        let name = format!("out.nonfinite_{what}.step{}.{name}", before + 1);
        let expected = io[&name].view_as(&found);
        (name, expected, found)
    });
    found.collect()
}
