//! Scoring and perplexity on the built-in model, whose cache is more intricate than the toy's of the unit tests: keys and
//! values that are written in place, rotary positions, and the wave block's own state.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use psann_core::Model;
use psann_core::initialise::initialise;
use psann_core::model::ForwardContext;
use psann_core::observer::Silent;
use psann_core::registry;
use psann_eval::Network;
use psann_eval::perplexity::{Rolling, document_nats};
use psann_eval::scoring::{Request, Sharing, score};
use psann_eval::session::Session;
// Linked for its registrations.
use psann_plugins_nn as _;
use serde_json::{Value, json};
use tch::{IndexOp, Kind, Tensor};

const VOCABULARY: u32 = 23;

fn variants() -> Vec<(&'static str, Value)> {
    let model = |extra: &[(&str, Value)]| {
        let mut options = json!({ "vocab": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 24 });
        for (key, value) in extra {
            options[*key] = value.clone();
        }
        options
    };
    vec![
        ("rope", model(&[])),
        ("alibi", model(&[("positional_encoding", json!("alibi"))])),
        ("sinusoidal", model(&[("positional_encoding", json!("sinusoidal"))])),
        ("wave", model(&[("wave", json!({ "mode": "interleave", "dilation_growth": 2 }))])),
    ]
}

/// A model and its parameters, for full logits of the forward that training uses.
type Definition<'a> = (&'a dyn Model, &'a [Vec<Tensor>]);

/// Runs `test` on each variant, with weights far enough from the initial ones that the logits differ.
fn with_each(test: impl Fn(&str, Network<'_>, Definition<'_>)) {
    for (name, options) in variants() {
        let model: Box<dyn Model> = registry::model("waveresnet", &options).unwrap();
        let mut parameters = initialise(model.as_ref(), 5).unwrap();
        for value in parameters.iter_mut().flatten().filter(|value| value.dim() == 2) {
            *value = &*value * 2.0;
        }
        test(name, Network::new(model.as_ref(), &parameters).unwrap(), (model.as_ref(), &parameters));
    }
}

fn ids(count: u32, step: u32) -> Vec<u32> {
    (0..count).map(|i| (i * step + i * i / 3) % VOCABULARY).collect()
}

/// Nats of tokens `from` to the end, by one forward with full logits.
fn of_full_logits(network: Network<'_>, (model, parameters): Definition<'_>, tokens: &[u32], from: usize) -> f64 {
    let input = network.ids(&[&tokens[..tokens.len() - 1]]).unwrap();
    let logits: Tensor =
        tch::no_grad(|| psann_core::model::logits(model, parameters, &input, &mut ForwardContext::default()).unwrap());
    let logs = logits.squeeze_dim(0).log_softmax(-1, Kind::Double);
    (from..tokens.len()).map(|t| -logs.i((t as i64 - 1, i64::from(tokens[t]))).double_value(&[])).sum()
}

#[test]
fn continuations_of_a_shared_context_score_as_full_forwards_do() {
    with_each(|name, network, definition| {
        let context = ids(19, 5);
        let continuations = [ids(1, 7), ids(6, 11), ids(2, 3), ids(6, 11)];
        let requests: Vec<Request> = continuations
            .iter()
            .map(|continuation| Request { context: context.clone(), continuation: continuation.clone() })
            .collect();
        let scores = score(network, &[&requests], Sharing::Shared).unwrap().remove(0);
        assert_eq!(score(network, &[&requests], Sharing::Alone).unwrap().remove(0), scores, "{name}");
        let beside = [Request { context: ids(40, 3), continuation: ids(3, 5) }];
        let both = score(network, &[&beside, &requests], Sharing::Shared).unwrap().remove(1);
        assert_eq!(both, scores, "{name}: not a bit depends on what is computed beside it");
        for (score, continuation) in scores.iter().zip(&continuations) {
            let all = [context.as_slice(), continuation].concat();
            let expected = -of_full_logits(network, definition, &all, context.len());
            assert!(
                (score.log_likelihood - expected).abs() < 2e-5 * expected.abs().max(1.0),
                "{name}: {score:?} {expected}"
            );
        }
        assert_eq!(scores[1], scores[3]);
    });
}

#[test]
fn perplexity_is_that_of_full_logits_and_does_not_depend_on_the_batch() {
    with_each(|name, network, definition| {
        let documents = [ids(30, 5), ids(12, 7), ids(30, 11), ids(3, 2), ids(12, 3)];
        let nats =
            |batch| document_nats(network, &documents, Rolling { context: 64, stride: 64, batch }, &Silent).unwrap();
        let one = nats(1);
        for (found, document) in one.iter().zip(&documents) {
            let expected = of_full_logits(network, definition, document, 1);
            assert!((found - expected).abs() < 2e-5 * expected, "{name}: {found} {expected}");
        }
        for batch in [2, 5] {
            for (found, expected) in nats(batch).iter().zip(&one) {
                assert_eq!(found, expected, "{name}, batch {batch}");
            }
        }
    });
}

#[test]
fn clones_of_a_session_do_not_write_into_each_others_cache() {
    with_each(|name, network, _| {
        let context = ids(9, 4);
        let mut session = Session::new(network);
        let feed = |session: &mut Session<'_>, tokens: &[u32]| session.feed(&[tokens]).unwrap();
        let _ = feed(&mut session, &context);
        let mut other = session.clone();
        let _ = feed(&mut other, &[1, 2, 3]);
        let found = feed(&mut session, &[7]);
        let expected = feed(&mut Session::new(network), &[context.as_slice(), &[7]].concat());
        assert!(found.equal(&expected), "{name}");
    });
}
