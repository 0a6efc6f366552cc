//! What must hold for every size of the model: causality, caches, parameter counts.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use psann_core::initialise::initialise;
use psann_core::model::{Cache, ForwardContext, ParameterSpec, logits};
use psann_core::pass::{Pass, Past, Run};
use psann_core::{Model, registry};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
// Linking the crate registers its plugins.
use psann_plugins_nn as _;

fn model(changes: &Value) -> Box<dyn Model> {
    let mut options = json!({ "vocab": 23, "d_model": 24, "n_layers": 3, "n_heads": 4, "d_mlp": 20 });
    for (key, value) in changes.as_object().unwrap() {
        options[key] = value.clone();
    }
    registry::model("waveresnet", &options).unwrap()
}

/// Initial weights with every parameter moved away from its initial value, so that nothing is zero or one.
fn weights(model: &dyn Model) -> Vec<Vec<Tensor>> {
    let moved = |value: &Tensor| value + value.randn_like() * 0.1;
    initialise(model, 11).unwrap().iter().map(|segment| segment.iter().map(moved).collect()).collect()
}

fn ids(batch: i64, time: i64) -> Tensor {
    Tensor::randint(23, [batch, time], (Kind::Int64, Device::Cpu))
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

fn full(model: &dyn Model, weights: &[Vec<Tensor>], ids: &Tensor) -> Tensor {
    logits(model, weights, ids, &mut ForwardContext::default()).unwrap()
}

fn variants() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "positional_encoding": "alibi" }),
        json!({ "positional_encoding": "sinusoidal", "activation": "gelu", "norm": "layer" }),
        json!({ "wave": { "mode": "interleave", "kernel": 3, "dilation_growth": 2 } }),
        json!({ "wave": { "mode": "interleave", "kernel": 4 }, "norm": "none" }),
        json!({ "wave": { "mode": "replace" } }),
        json!({ "wave": { "mode": "attention_only" } }),
    ]
}

#[test]
fn a_later_token_never_changes_an_earlier_prediction() {
    let _no_gradients = tch::no_grad_guard();
    for changes in variants() {
        let model = model(&changes);
        let weights = weights(model.as_ref());
        let before = ids(2, 12);
        let after = before.copy();
        let _ = after.narrow(1, 8, 4).fill_(1);
        let (before, after) = (full(model.as_ref(), &weights, &before), full(model.as_ref(), &weights, &after));
        assert!(distance(&before.narrow(1, 0, 8), &after.narrow(1, 0, 8)) < 1e-6, "{changes}");
        assert!(distance(&before, &after) > 1e-3, "{changes}");
    }
}

#[test]
fn the_reference_padding_sees_the_future_and_says_so() {
    let _no_gradients = tch::no_grad_guard();
    let model = model(&json!({ "wave": { "mode": "interleave", "padding": "same" } }));
    assert!(model.warnings()[0].contains("same"));
    let weights = weights(model.as_ref());
    let before = ids(1, 12);
    let after = before.copy();
    let _ = after.narrow(1, 8, 4).fill_(1);
    let (before, after) = (full(model.as_ref(), &weights, &before), full(model.as_ref(), &weights, &after));
    assert!(distance(&before.narrow(1, 0, 8), &after.narrow(1, 0, 8)) > 1e-4);
    let mut pass = Pass::new(vec![Run { tokens: 0..3, past: Past::Nothing }], Vec::new()).unwrap();
    let mut context = ForwardContext { pass: Some(&mut pass), ..ForwardContext::default() };
    let error = logits(model.as_ref(), &weights, &ids(1, 3), &mut context).unwrap_err();
    assert!(error.to_string().contains("cannot generate"), "{error}");
}

/// Logits of the runs of a pass; each run's ids come one behind the other.
fn passed(model: &dyn Model, weights: &[Vec<Tensor>], ids: &[Tensor], pass: &mut Pass) -> Tensor {
    let mut context = ForwardContext { pass: Some(pass), ..ForwardContext::default() };
    let all = Tensor::cat(ids, 1);
    let states = psann_core::model::hidden_states(model, weights, &all, &mut context).unwrap();
    let last = &weights[weights.len() - 1];
    let projection = model.project(last, &states).unwrap();
    psann_torch::inference::linear(&projection.hidden, &last[projection.weight], None).unwrap()
}

#[test]
fn however_a_text_is_cut_and_packed_its_logits_are_those_of_one_pass_bit_for_bit() {
    let _no_gradients = tch::no_grad_guard();
    for changes in variants() {
        let model = model(&changes);
        let weights = weights(model.as_ref());
        // Longer than the cache's first allocation.
        let (text, other) = (ids(1, 270), ids(1, 30));
        let run = |tokens, past| Run { tokens, past };
        let whole = |ids: &Tensor| {
            let mut pass = Pass::new(vec![run(0..ids.size()[1], Past::Nothing)], Vec::new()).unwrap();
            passed(model.as_ref(), &weights, &[ids.shallow_clone()], &mut pass)
        };
        let (expected, beside) = (whole(&text), whole(&other));
        let off = distance(&expected, &full(model.as_ref(), &weights, &text));
        assert!(off < 2e-5, "{changes}: off by {off}");
        for chunks in [vec![1; 20], vec![5, 1, 9, 240, 15], vec![256, 14]] {
            let (mut cache, mut done) = (Cache::new(model.segments().len()), 0);
            for chunk in chunks {
                let runs = vec![run(0..chunk, Past::Cache(0)), run(chunk..chunk + 30, Past::Nothing)];
                let mut pass = Pass::new(runs, vec![cache]).unwrap();
                let part = [text.narrow(1, done, chunk), other.shallow_clone()];
                let found = passed(model.as_ref(), &weights, &part, &mut pass);
                assert!(found.narrow(1, 0, chunk).equal(&expected.narrow(1, done, chunk)), "{changes}: {done}+{chunk}");
                assert!(found.narrow(1, chunk, 30).equal(&beside), "{changes}: the other text at {done}+{chunk}");
                cache = pass.caches.remove(0);
                done += chunk;
                assert_eq!(cache.length, done);
            }
        }
    }
}

#[test]
fn endings_share_a_beginning_bit_for_bit() {
    let _no_gradients = tch::no_grad_guard();
    for changes in variants() {
        let model = model(&changes);
        let weights = weights(model.as_ref());
        let (beginning, endings) = (ids(1, 70), [ids(1, 9), ids(1, 1), ids(1, 23)]);
        let run = |tokens, past| Run { tokens, past };
        let runs = vec![
            run(0..70, Past::Nothing),
            run(70..79, Past::Run(0)),
            run(79..80, Past::Run(0)),
            run(80..103, Past::Run(0)),
        ];
        let mut pass = Pass::new(runs, Vec::new()).unwrap();
        let all = [&beginning, &endings[0], &endings[1], &endings[2]].map(Tensor::shallow_clone);
        let found = passed(model.as_ref(), &weights, &all, &mut pass);
        let mut start = 70;
        for ending in &endings {
            let text = Tensor::cat(&[&beginning, ending], 1);
            let (total, count) = (text.size()[1], ending.size()[1]);
            let mut alone = Pass::new(vec![run(0..total, Past::Nothing)], Vec::new()).unwrap();
            let expected = passed(model.as_ref(), &weights, &[text], &mut alone);
            assert!(found.narrow(1, start, count).equal(&expected.narrow(1, 70, count)), "{changes}");
            start += count;
        }
    }
}

#[test]
fn a_copied_cache_goes_its_own_way() {
    let _no_gradients = tch::no_grad_guard();
    let model = model(&json!({ "wave": { "mode": "interleave" } }));
    let weights = weights(model.as_ref());
    let feed = |cache: Cache, ids: &Tensor| {
        let mut pass = Pass::new(vec![Run { tokens: 0..ids.size()[1], past: Past::Cache(0) }], vec![cache]).unwrap();
        let found = passed(model.as_ref(), &weights, &[ids.shallow_clone()], &mut pass);
        (found, pass.caches.remove(0))
    };
    let (prompt, next) = (ids(1, 6), ids(1, 4));
    let (_, cache) = feed(Cache::new(model.segments().len()), &prompt);
    let _ = feed(cache.clone(), &Tensor::zeros([1, 4], (Kind::Int64, Device::Cpu)));
    let (found, _) = feed(cache, &next);
    let expected = full(model.as_ref(), &weights, &Tensor::cat(&[prompt, next], 1)).narrow(1, 6, 4);
    assert!(distance(&found, &expected) < 2e-5);
}

#[test]
fn documents_kept_apart_give_the_logits_of_each_alone() {
    let _no_gradients = tch::no_grad_guard();
    for positional_encoding in ["rope", "alibi", "sinusoidal"] {
        let model = model(&json!({ "positional_encoding": positional_encoding }));
        let weights = weights(model.as_ref());
        let (first, second) = (ids(1, 5), ids(1, 7));
        let documents = Tensor::cat(
            &[Tensor::zeros([1, 5], (Kind::Int64, Device::Cpu)), Tensor::ones([1, 7], (Kind::Int64, Device::Cpu))],
            1,
        );
        let mut context = ForwardContext { documents: Some(&documents), ..ForwardContext::default() };
        let packed = logits(model.as_ref(), &weights, &Tensor::cat(&[&first, &second], 1), &mut context).unwrap();
        assert!(distance(&packed.narrow(1, 0, 5), &full(model.as_ref(), &weights, &first)) < 1e-5);
        assert!(distance(&packed.narrow(1, 5, 7), &full(model.as_ref(), &weights, &second)) < 1e-5);
    }
}

#[test]
fn dropout_repeats_with_its_key_and_is_off_without_one() {
    let _no_gradients = tch::no_grad_guard();
    let (with, without) = (model(&json!({ "dropout": 0.3 })), model(&json!({})));
    let weights = weights(with.as_ref());
    let ids = ids(2, 9);
    let keyed = |key| {
        logits(
            with.as_ref(),
            &weights,
            &ids,
            &mut ForwardContext { dropout_key: Some(key), ..ForwardContext::default() },
        )
        .unwrap()
    };
    assert!(keyed(1).equal(&keyed(1)));
    assert!(distance(&keyed(1), &keyed(2)) > 1e-3);
    assert!(full(with.as_ref(), &weights, &ids).equal(&full(without.as_ref(), &weights, &ids)));
}

#[test]
fn parameter_counts_are_those_of_the_reference() {
    let count = |options: Value| -> i64 {
        let model = registry::model("waveresnet", &options).unwrap();
        model
            .segments()
            .iter()
            .flat_map(|segment| &segment.parameters)
            .map(psann_core::model::ParameterSpec::elements)
            .sum()
    };
    assert_eq!(count(json!({ "preset": "3b", "vocab": 50257 })), 3_707_919_390);
    assert_eq!(count(json!({ "preset": "3b-lean", "vocab": 50257 })), 3_028_091_928);
    assert_eq!(count(json!({ "preset": "3b", "vocab": 50257, "wave": { "mode": "interleave" } })), 3_991_772_190);
    assert_eq!(count(json!({ "vocab": 50257 })), 76_707_336);
}

#[test]
fn the_presets_have_the_sizes_they_are_named_for() {
    let parameters = |preset: &str| -> i64 {
        let model = registry::model("waveresnet", &json!({ "preset": preset, "vocab": 50257 })).unwrap();
        model.segments().iter().flat_map(|segment| &segment.parameters).map(ParameterSpec::elements).sum()
    };
    assert_eq!(parameters("3b"), 3_707_919_390);
    assert_eq!(parameters("3b-lean"), 3_028_091_928);
}
