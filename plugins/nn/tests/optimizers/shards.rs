//! Any number of ranks moves weights alike, and a stop in between changes nothing.

use std::sync::Mutex;

use psann_core::optimizer::Step;
use psann_core::registry;
use psann_core::sharder::Shard;
use psann_golden::ranks;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{ALONE, bytes_of, step, whole};

const STEPS: i64 = 8;

/// Optimizers, and how far sharded and unsharded weights may be apart, relative to the largest.
fn optimizers() -> [(&'static str, Value, f64); 6] {
    [
        ("adamw", json!({ "lr": 0.01 }), 0.0),
        ("adamw8bit", json!({ "lr": 0.01 }), 0.0),
        ("adamw8bit", json!({ "lr": 0.01, "decay": "after", "groups": "all" }), 0.0),
        ("adafactor", json!({ "weight_decay": 0.1 }), 1e-6),
        ("adafactor", json!({ "rule": "fairseq", "lr": 0.01, "weight_decay": 0.1, "beta1": 0.9 }), 1e-6),
        ("adafactor", json!({ "rule": "fairseq", "relative_step": true, "scale_parameter": true }), 1e-6),
    ]
}

/// Values in about [-3, 3] that follow from shape and seed alone: tests beside this one draw from the same generator.
fn drawn(shape: &[i64], seed: i64) -> Tensor {
    let count = shape.iter().product::<i64>();
    let places = Tensor::arange(count, (Kind::Double, Device::Cpu)) + 1000.0 * seed as f64;
    let noise = ((places * 12.9898).sin() * 43758.5453).frac() * 3.0;
    noise.to_kind(Kind::Float).view(shape)
}

fn parameters() -> Vec<Shard> {
    let shapes: [&[i64]; 6] = [&[1030, 24], &[64, 256], &[3, 5], &[6, 4, 96], &[700], &[1]];
    let mut shards: Vec<Shard> = shapes.iter().map(|shape| whole("w", &drawn(shape, 7))).collect();
    shards[1].spec.decays = false;
    shards
}

fn draw_gradients(shards: &mut [Shard], number: i64) {
    for (index, shard) in (0..).zip(shards.iter_mut()) {
        let draw = |seed: i64| drawn(&shard.spec.shape, 100 * number + 10 * index + seed);
        shard.gradient = Some(draw(0) * draw(1).exp());
    }
    // Now and then a parameter takes no part.
    if number % 3 == 0 {
        shards[0].gradient = None;
    }
}

fn moment(number: i64) -> Step {
    Step { number, rate: 1.0 / number as f64, gradient_scale: 0.5 }
}

/// All gradients on one rank.
fn unsharded(name: &str, options: &Value) -> Vec<Tensor> {
    let (mut optimizer, mut shards) = (registry::optimizer(name, options).unwrap(), parameters());
    for number in 1..=STEPS {
        draw_gradients(&mut shards, number);
        step(optimizer.as_mut(), &mut shards, moment(number), &ALONE);
    }
    shards.into_iter().map(|shard| shard.value).collect()
}

/// The gradients of each step by rank, made before the threads start.
fn sharded(name: &str, options: &Value, ranks: usize) -> Vec<Tensor> {
    let mut shards = parameters();
    let split = |shards: &[Shard], rank| shards.iter().map(|shard| part(shard, rank, ranks)).collect::<Vec<_>>();
    let mut steps: Vec<Vec<Vec<Shard>>> = (0..ranks).map(|rank| vec![split(&shards, rank)]).collect();
    for number in 1..=STEPS {
        draw_gradients(&mut shards, number);
        for (rank, steps) in steps.iter_mut().enumerate() {
            steps.push(split(&shards, rank));
        }
    }
    let steps = Mutex::new(steps);
    let finished = ranks::run(ranks, |group| {
        let mut steps = std::mem::take(&mut steps.lock().unwrap()[group.rank()]).into_iter();
        let mut optimizer = registry::optimizer(name, options).unwrap();
        let mut own = steps.next().unwrap();
        for (at, given) in (1..).zip(steps) {
            for (shard, given) in own.iter_mut().zip(given) {
                shard.gradient = given.gradient;
            }
            step(optimizer.as_mut(), &mut own, moment(at), group.as_ref());
        }
        for (index, shard) in own.iter().enumerate() {
            let rows = shard.value.size()[0];
            if rows > 0 {
                assert_eq!(optimizer.state_bytes(&shard.spec, rows), bytes_of(optimizer.as_ref(), index));
            }
        }
        own.into_iter().map(|shard| shard.value).collect::<Vec<_>>()
    });
    (0..shards.len()).map(|index| Tensor::cat(&finished.iter().map(|own| &own[index]).collect::<Vec<_>>(), 0)).collect()
}

/// Rows of `shard` that stand on `rank` of `ranks`, cut at multiples of 256 elements as sharders do.
fn part(shard: &Shard, rank: usize, ranks: usize) -> Shard {
    let rows = shard.spec.shape[0];
    let inner: i64 = shard.spec.shape.iter().skip(1).product();
    let aligned = (1..=256).find(|rows| rows * inner % 256 == 0).unwrap();
    let of_each = (rows + ranks as i64 - 1) / ranks as i64;
    let of_each = (of_each + aligned - 1) / aligned * aligned;
    let first = (of_each * rank as i64).min(rows);
    let length = of_each.min(rows - first);
    let cut = |tensor: &Tensor| tensor.narrow(0, first, length).copy();
    Shard {
        spec: shard.spec.clone(),
        segment: shard.segment,
        parameter: shard.parameter,
        first_row: first,
        value: cut(&shard.value),
        // A rank without rows may have no gradient either.
        gradient: shard.gradient.as_ref().filter(|_| length > 0).map(cut),
    }
}

#[test]
fn shards_move_as_the_whole_does() {
    for (name, options, allowed) in optimizers() {
        let expected = unsharded(name, &options);
        for ranks in 1..=4 {
            for (index, (found, expected)) in sharded(name, &options, ranks).iter().zip(&expected).enumerate() {
                let off = ((found - expected).abs().max() / expected.abs().max()).double_value(&[]);
                assert!(off <= allowed, "{name} {options}: parameter {index} on {ranks} ranks is off by {off:.2e}");
            }
        }
    }
}

#[test]
fn state_saved_in_mid_run_goes_on_bit_for_bit() {
    for (name, options, _) in optimizers() {
        let expected = unsharded(name, &options);
        let (mut optimizer, mut shards) = (registry::optimizer(name, &options).unwrap(), parameters());
        for number in 1..=STEPS {
            if number == 4 {
                let mut resumed = registry::optimizer(name, &options).unwrap();
                for index in 0..shards.len() {
                    let copies = optimizer.state(index).into_iter().map(|state| (state.name, state.tensor.copy()));
                    resumed.load_state(index, copies.collect()).unwrap();
                }
                optimizer = resumed;
            }
            draw_gradients(&mut shards, number);
            step(optimizer.as_mut(), &mut shards, moment(number), &ALONE);
        }
        for (found, expected) in shards.iter().zip(&expected) {
            assert_eq!(&found.value, expected, "{name} {options}");
        }
    }
}
