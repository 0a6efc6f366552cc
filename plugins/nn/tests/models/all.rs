//! What must hold for every model: causality, passes whose bits depend on nothing beside them, documents kept apart.

use psann_core::Model;
use psann_core::model::{Cache, ForwardContext, logits};
use psann_core::pass::{Pass, Past, Run};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::support::{LLAMA, WAVERESNET, all, distance, full, ids, passed, weights};

fn run(tokens: std::ops::Range<i64>, past: Past) -> Run {
    Run { tokens, past }
}

#[test]
fn a_later_token_never_changes_an_earlier_prediction() {
    let _no_gradients = tch::no_grad_guard();
    for (name, model) in all() {
        let weights = weights(model.as_ref());
        let before = ids(2, 12);
        let after = before.copy();
        let _ = after.narrow(1, 8, 4).fill_(1);
        let (before, after) = (full(model.as_ref(), &weights, &before), full(model.as_ref(), &weights, &after));
        assert!(distance(&before.narrow(1, 0, 8), &after.narrow(1, 0, 8)) < 1e-6, "{name}");
        assert!(distance(&before, &after) > 1e-3, "{name}");
    }
}

#[test]
fn however_a_text_is_cut_and_packed_its_logits_are_those_of_one_pass_bit_for_bit() {
    let _no_gradients = tch::no_grad_guard();
    for (name, model) in all() {
        let weights = weights(model.as_ref());
        // Longer than the cache's first allocation.
        let (text, other) = (ids(1, 270), ids(1, 30));
        let whole = |ids: &Tensor| {
            let mut pass = Pass::new(vec![run(0..ids.size()[1], Past::Nothing)], Vec::new()).unwrap();
            passed(model.as_ref(), &weights, &[ids.shallow_clone()], &mut pass)
        };
        let (expected, beside) = (whole(&text), whole(&other));
        let off = distance(&expected, &full(model.as_ref(), &weights, &text));
        assert!(off < 2e-5, "{name}: off by {off}");
        for chunks in [vec![1; 20], vec![5, 1, 9, 240, 15], vec![256, 14]] {
            let (mut cache, mut done) = (Cache::new(model.segments().len()), 0);
            for chunk in chunks {
                let runs = vec![run(0..chunk, Past::Cache(0)), run(chunk..chunk + 30, Past::Nothing)];
                let mut pass = Pass::new(runs, vec![cache]).unwrap();
                let part = [text.narrow(1, done, chunk), other.shallow_clone()];
                let found = passed(model.as_ref(), &weights, &part, &mut pass);
                assert!(found.narrow(1, 0, chunk).equal(&expected.narrow(1, done, chunk)), "{name}: {done}+{chunk}");
                assert!(found.narrow(1, chunk, 30).equal(&beside), "{name}: the other text at {done}+{chunk}");
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
    for (name, model) in all() {
        let weights = weights(model.as_ref());
        let (beginning, endings) = (ids(1, 70), [ids(1, 9), ids(1, 1), ids(1, 23)]);
        let runs = vec![
            run(0..70, Past::Nothing),
            run(70..79, Past::Run(0)),
            run(79..80, Past::Run(0)),
            run(80..103, Past::Run(0)),
        ];
        let mut pass = Pass::new(runs, Vec::new()).unwrap();
        let parts = [&beginning, &endings[0], &endings[1], &endings[2]].map(Tensor::shallow_clone);
        let found = passed(model.as_ref(), &weights, &parts, &mut pass);
        let mut start = 70;
        for ending in &endings {
            let text = Tensor::cat(&[&beginning, ending], 1);
            let (total, count) = (text.size()[1], ending.size()[1]);
            let mut alone = Pass::new(vec![run(0..total, Past::Nothing)], Vec::new()).unwrap();
            let expected = passed(model.as_ref(), &weights, &[text], &mut alone);
            assert!(found.narrow(1, start, count).equal(&expected.narrow(1, 70, count)), "{name}");
            start += count;
        }
    }
}

#[test]
fn documents_kept_apart_give_the_logits_of_each_alone() {
    let _no_gradients = tch::no_grad_guard();
    let of_positions = |name| WAVERESNET.model(&json!({ "positional_encoding": name }));
    let models: Vec<Box<dyn Model>> =
        ["rope", "alibi", "sinusoidal"].map(of_positions).into_iter().chain([LLAMA.model(&json!({}))]).collect();
    for model in models {
        let weights = weights(model.as_ref());
        let (first, second) = (ids(1, 5), ids(1, 7));
        let integer = (Kind::Int64, Device::Cpu);
        let documents = Tensor::cat(&[Tensor::zeros([1, 5], integer), Tensor::ones([1, 7], integer)], 1);
        let mut context = ForwardContext { documents: Some(&documents), ..ForwardContext::default() };
        let packed = logits(model.as_ref(), &weights, &Tensor::cat(&[&first, &second], 1), &mut context).unwrap();
        assert!(distance(&packed.narrow(1, 0, 5), &full(model.as_ref(), &weights, &first)) < 1e-5);
        assert!(distance(&packed.narrow(1, 5, 7), &full(model.as_ref(), &weights, &second)) < 1e-5);
    }
}
