//! What must hold for every size of `model/waveresnet`: caches, dropout, parameter counts.

use psann_core::model::{Cache, ForwardContext, ParameterSpec, logits};
use psann_core::pass::{Pass, Past, Run};
use psann_core::{Model, registry};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{WAVERESNET, distance, full, ids, passed, weights};

fn model(changes: &Value) -> Box<dyn Model> {
    WAVERESNET.model(changes)
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
