//! Checkpoints of several ranks: loaded by any number of them, value by value what was saved.

use std::collections::BTreeMap;

use psann_core::optimizer::Step;
use psann_core::{Model, Optimizer, Sharder, registry};
use psann_golden::ranks;
use psann_train::checkpoint::{self, State, newest};
use serde_json::{Value, json};
use tch::Tensor;

use super::support::parameters;
use super::support::saving::{Held, held, installed, large_options, open, save};

/// Moves the weights a few times along gradients that do not depend on the number of ranks.
fn moved(sharder: &mut dyn Sharder, optimizer: &mut dyn Optimizer, model: &dyn Model) {
    for (shard, value) in sharder.shards().iter_mut().zip(parameters(model, 3).iter().flatten()) {
        shard.fill(value);
    }
    for number in 1..=2 {
        let step = Step { number, rate: 1.0, gradient_scale: 1.0 };
        for (shard, gradient) in sharder.shards().iter_mut().zip(parameters(model, 3 + number).iter().flatten()) {
            let (first, rows) = (shard.first_row, shard.rows());
            shard.gradient = Some(gradient.narrow(0, first, rows).copy());
        }
        let ranks = sharder.copy_ranks();
        optimizer.prepare(sharder.shards(), step, ranks.as_ref()).unwrap();
        for (index, shard) in sharder.shards().iter_mut().enumerate() {
            let gradient = shard.gradient.take().unwrap();
            if gradient.numel() > 0 {
                optimizer.step(index, &shard.spec, &mut shard.value, &gradient, step).unwrap();
            }
        }
    }
}

/// The whole of what ranks hold.
fn joined(ranks: &[Held]) -> BTreeMap<String, Tensor> {
    let mut parts: BTreeMap<&str, Vec<(i64, &Tensor)>> = BTreeMap::new();
    for (name, (first, tensor)) in ranks.iter().flatten() {
        parts.entry(name).or_default().push((*first, tensor));
    }
    let join = |(name, mut parts): (&str, Vec<(i64, &Tensor)>)| {
        parts.sort_by_key(|(first, _)| *first);
        let tensors: Vec<&Tensor> = parts.iter().map(|(_, tensor)| *tensor).collect();
        (name.to_owned(), Tensor::cat(&tensors, 0))
    };
    parts.into_iter().map(join).collect()
}

fn assert_same(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}: {:?} {:?}", found.keys(), expected.keys());
    for (name, tensor) in found {
        assert_eq!(tensor.kind(), expected[name].kind(), "{what}: {name}");
        assert!(tensor.equal(&expected[name]), "{what}: {name}");
    }
}

fn optimizers() -> Vec<(&'static str, Value)> {
    vec![
        ("adamw", json!({ "lr": 0.01 })),
        ("adamw8bit", json!({ "lr": 0.01, "min_8bit_size": 1000 })),
        ("adafactor", json!({ "rule": "fairseq" })),
        ("adafactor", json!({ "rule": "torch" })),
    ]
}

#[test]
fn any_number_of_ranks_takes_weights_and_states_of_any_other_bit_for_bit() {
    let model = registry::model("waveresnet", &large_options()).unwrap();
    for (name, options) in optimizers() {
        let optimizer = || registry::optimizer(name, &options).unwrap();
        for from in [1, 2, 3, 4] {
            let folder = tempfile::tempdir().unwrap();
            let saved = ranks::run(from, |group| {
                let mut sharder = installed(&group, &json!({}), model.as_ref());
                let mut optimizer = optimizer();
                moved(sharder.as_mut(), optimizer.as_mut(), model.as_ref());
                let checkpoints = open(folder.path(), &group);
                save(&checkpoints, group.as_ref(), sharder.as_mut(), optimizer.as_ref(), 2);
                held(sharder.as_mut(), optimizer.as_ref())
            });
            let expected = joined(&saved);
            let place = newest(folder.path()).unwrap().unwrap();
            for onto in [1, 2, 3, 4] {
                let loaded = ranks::run(onto, |group| {
                    let mut sharder = installed(&group, &json!({}), model.as_ref());
                    let mut optimizer = optimizer();
                    let state = State::read(&place).unwrap();
                    checkpoint::load_into(&place, &state, sharder.as_mut(), optimizer.as_mut()).unwrap();
                    held(sharder.as_mut(), optimizer.as_ref())
                });
                assert_same(&joined(&loaded), &expected, &format!("{name} {options}: {from} to {onto}"));
            }
        }
    }
}

#[test]
fn copies_of_the_model_save_one_of_them_and_all_load_it() {
    let model = registry::model("waveresnet", &large_options()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = json!({ "shard_ranks": 2 });
    let held = ranks::run(4, |group| {
        let mut sharder = installed(&group, &options, model.as_ref());
        let mut optimizer = registry::optimizer("adamw", &json!({})).unwrap();
        moved(sharder.as_mut(), optimizer.as_mut(), model.as_ref());
        let checkpoints = open(folder.path(), &group);
        let place = save(&checkpoints, group.as_ref(), sharder.as_mut(), optimizer.as_ref(), 2);
        let saved = held(sharder.as_mut(), optimizer.as_ref());

        let mut sharder = installed(&group, &options, model.as_ref());
        let mut optimizer = registry::optimizer("adamw", &json!({})).unwrap();
        let state = State::read(&place).unwrap();
        assert_eq!(state.files.len(), 4, "two ranks, two files each");
        checkpoint::load_into(&place, &state, sharder.as_mut(), optimizer.as_mut()).unwrap();
        (saved, sharder.shards().iter().map(|shard| shard.value.copy()).collect::<Vec<_>>())
    });
    let (saved, loaded): (Vec<Held>, Vec<Vec<Tensor>>) = held.into_iter().unzip();
    assert!(saved[2].is_empty() && saved[3].is_empty());
    assert_eq!(loaded[2..], loaded[..2]);
}
