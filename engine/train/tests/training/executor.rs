//! Gradients of the segment walk are those of one autograd graph, however it is walked.

use std::sync::Arc;

use psann_core::model::{self, ForwardContext, SegmentSpec};
use psann_core::sharder::{Layout, Shard};
use psann_core::{Collective, Model, Result, Sharder};
use psann_torch::autograd;
use psann_torch::loss::{LossOptions, linear_cross_entropy};
use psann_train::executor::{Executor, MicroBatch, Recompute, StepLoss, StepSettings};
use serde_json::json;
use tch::{Kind, Tensor};

use super::support::{gradients, model, parameters, sequences, sharder_with, split};

/// Gradients by one graph over the whole chain, seeded with the hidden gradient of the same chunked loss.
fn one_graph(model: &dyn Model, weights: &[Vec<Tensor>], batch: &MicroBatch, scale: f64) -> (f64, Vec<Option<Tensor>>) {
    let leaves: Vec<Vec<Tensor>> = (weights.iter().zip(model.segments()))
        .map(|(values, segment)| {
            let specs = segment.parameters.iter();
            values.iter().zip(specs).map(|(v, spec)| v.detach().set_requires_grad(spec.trainable)).collect()
        })
        .collect();
    let mut context = ForwardContext { documents: batch.documents.as_ref(), ..ForwardContext::default() };
    let states = model::hidden_states(model, &leaves, &batch.ids, &mut context).unwrap();
    let (hidden, head) = model::project(model, &leaves, &states).unwrap();
    let rows = hidden.detach().reshape([-1, hidden.size()[2]]);
    let options = LossOptions { scale, ..LossOptions::default() };
    let flat: Vec<&Tensor> = leaves.iter().flatten().collect();
    let head_index = flat.iter().position(|leaf| std::ptr::eq(*leaf, head)).unwrap();
    let head = head.detach();
    let buffer = head.zeros_like();
    let loss = linear_cross_entropy(&rows, &head, &batch.labels.reshape([-1]), Some(&buffer), &options).unwrap();
    let wanted: Vec<usize> = (0..flat.len()).filter(|i| flat[*i].requires_grad()).collect();
    let inputs: Vec<&Tensor> = wanted.iter().map(|i| flat[*i]).collect();
    let hidden_gradient = loss.hidden_gradient.unwrap().view_as(&hidden);
    let found = autograd::gradients(&hidden, &hidden_gradient, &inputs).unwrap();
    let mut all: Vec<Option<Tensor>> = flat.iter().map(|_| None).collect();
    for (index, gradient) in wanted.into_iter().zip(found) {
        all[index] = gradient;
    }
    // A tied matrix has a gradient from each of its uses.
    all[head_index] = Some(match all[head_index].take() {
        Some(own) => buffer + own,
        None => buffer,
    });
    (loss.sum, all)
}

fn walk(
    model: &dyn Model,
    weights: &[Vec<Tensor>],
    batches: &[MicroBatch],
    executor: Executor,
    dropout_key: Option<u64>,
) -> (StepLoss, Vec<(String, Option<Tensor>)>) {
    let mut sharder = sharder_with(model, weights, Kind::Float);
    let targets: i64 = batches.iter().map(MicroBatch::targets).sum();
    let settings = StepSettings { scale: 1.0 / targets as f64, label_smoothing: 0.0, dropout_key };
    let loss = executor.step(model, sharder.as_mut(), batches, settings).unwrap();
    assert_eq!(loss.targets, targets);
    (loss, gradients(sharder.as_mut()))
}

fn distance(found: &[(String, Option<Tensor>)], expected: &[(String, Option<Tensor>)]) -> f64 {
    let largest = |(_, gradient): &(String, Option<Tensor>)| gradient.as_ref().unwrap().abs().max().double_value(&[]);
    let scale = expected.iter().map(largest).fold(0.0, f64::max);
    let differences = found.iter().zip(expected).map(|((name, found), (other, expected))| {
        assert_eq!(name, other);
        (found.as_ref().unwrap() - expected.as_ref().unwrap()).abs().max().double_value(&[]) / scale
    });
    differences.fold(0.0, f64::max)
}

const MODES: [Recompute; 4] = [Recompute::None, Recompute::Full, Recompute::Every(2), Recompute::Every(3)];

#[test]
fn gradients_are_bitwise_those_of_one_graph_in_every_mode() {
    let variants = [
        json!({}),
        json!({ "positional_encoding": "alibi", "norm": "layer", "activation": "gelu" }),
        json!({ "positional_encoding": "sinusoidal", "sine": { "decay_mode": "relu", "learnable": ["frequency"] } }),
        json!({ "wave": { "mode": "interleave" } }),
        json!({ "plugin": "llama", "n_kv_heads": 1 }),
        json!({ "plugin": "llama", "tie_embeddings": true, "attention_bias": true }),
    ];
    for variant in variants {
        let model = model(&variant);
        let weights = parameters(model.as_ref(), 3);
        let mut batch = sequences(3, 9, &[0, 4, 8], 5);
        for documents in [false, true] {
            if documents {
                let row = Tensor::from_slice(&[0_i64, 0, 0, 1, 1, 1, 1, 2, 2]);
                batch.documents = Some(row.unsqueeze(0).repeat([3, 1]));
            }
            let (sum, expected) = one_graph(model.as_ref(), &weights, &batch, 1.0 / batch.targets() as f64);
            for recompute in MODES {
                let executor = Executor { recompute, together: 1 };
                let (loss, found) = walk(model.as_ref(), &weights, std::slice::from_ref(&batch), executor, None);
                assert_eq!(loss.sum, sum, "{variant} {recompute:?}");
                for ((name, found), expected) in found.iter().zip(&expected) {
                    match (found, expected) {
                        (Some(found), Some(expected)) => {
                            assert!(found.equal(expected), "{variant} {recompute:?} {name}");
                        }
                        (None, None) => {}
                        _ => panic!("{variant} {name}: only one side has a gradient"),
                    }
                }
            }
        }
    }
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let model = model(&json!({ "sine": { "learnable": [] } }));
    let weights = parameters(model.as_ref(), 3);
    let batch = sequences(2, 5, &[], 5);
    let (_, found) = walk(model.as_ref(), &weights, std::slice::from_ref(&batch), Executor::default(), None);
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    let mut frozen = 0;
    for (spec, (name, gradient)) in specs.zip(&found) {
        assert_eq!(spec.trainable, gradient.is_some(), "{name}");
        frozen += usize::from(!spec.trainable);
    }
    assert_eq!(frozen, 9, "three vectors in each of three blocks");
}

#[test]
fn the_split_into_micro_batches_changes_nothing_but_rounding_however_uneven_the_targets() {
    let model = model(&json!({}));
    let weights = parameters(model.as_ref(), 11);
    // Targets per row: 12, 1, 7, 0 — a mean of means would be far off.
    let batch = sequences(4, 12, &[0, 11, 5, 12], 2);
    let (whole, expected) = walk(model.as_ref(), &weights, &split(&batch, &[4]), Executor::default(), None);
    for parts in [&[1, 1, 1, 1][..], &[3, 1], &[1, 3]] {
        let (loss, found) = walk(model.as_ref(), &weights, &split(&batch, parts), Executor::default(), None);
        assert!((loss.sum - whole.sum).abs() < 1e-5 * whole.sum, "{parts:?}");
        assert!(distance(&found, &expected) < 2e-6, "{parts:?}: {}", distance(&found, &expected));
        assert_eq!(loss.micro.len(), parts.len());
    }
}

#[test]
fn walking_layer_by_layer_with_all_parts_is_bitwise_walking_with_each() {
    let model = model(&json!({}));
    let weights = parameters(model.as_ref(), 11);
    let parts = split(&sequences(5, 8, &[0, 3, 0, 8, 1], 2), &[1, 2, 1, 1]);
    for recompute in MODES {
        let each = walk(model.as_ref(), &weights, &parts, Executor { recompute, together: 1 }, None);
        let all = walk(model.as_ref(), &weights, &parts, Executor { recompute, together: 0 }, None);
        assert_eq!((&each.0.micro, each.0.sum), (&all.0.micro, all.0.sum));
        for ((name, each), (_, all)) in each.1.iter().zip(&all.1) {
            assert!(each.as_ref().unwrap().equal(all.as_ref().unwrap()), "{recompute:?} {name}");
        }
    }
}

#[test]
fn dropout_is_the_same_when_a_segment_is_computed_again_and_another_with_another_key() {
    let model = model(&json!({ "dropout": 0.3 }));
    let weights = parameters(model.as_ref(), 11);
    let parts = split(&sequences(4, 8, &[], 2), &[2, 2]);
    let kept = walk(model.as_ref(), &weights, &parts, Executor::default(), Some(9));
    let again = Executor { recompute: Recompute::Full, together: 0 };
    let recomputed = walk(model.as_ref(), &weights, &parts, again, Some(9));
    assert_eq!(kept.0.micro, recomputed.0.micro);
    assert_eq!(distance(&recomputed.1, &kept.1), 0.0);
    let other = walk(model.as_ref(), &weights, &parts, again, Some(10));
    let off = walk(model.as_ref(), &weights, &parts, again, None);
    assert!(other.0.sum != kept.0.sum && off.0.sum != kept.0.sum);
}

#[test]
fn evaluation_gives_the_loss_of_training_without_gradients() {
    let model = model(&json!({ "dropout": 0.3 }));
    let weights = parameters(model.as_ref(), 11);
    let parts = split(&sequences(3, 8, &[2, 0, 8], 2), &[2, 1]);
    let (trained, _) = walk(model.as_ref(), &weights, &parts, Executor::default(), None);
    let mut sharder = sharder_with(model.as_ref(), &weights, Kind::Float);
    for together in [0, 1] {
        let executor = Executor { recompute: Recompute::None, together };
        let (sum, targets) = executor.evaluate(model.as_ref(), sharder.as_mut(), &parts).unwrap();
        assert_eq!((sum, targets), (trained.sum, trained.targets));
    }
    assert!(gradients(sharder.as_mut()).iter().all(|(_, gradient)| gradient.is_none()));
}

#[test]
fn bf16_gradients_come_home_as_fp32_near_the_true_ones() {
    let model = model(&json!({}));
    let weights = parameters(model.as_ref(), 11);
    let parts = split(&sequences(4, 8, &[], 2), &[2, 2]);
    let (exact, expected) = walk(model.as_ref(), &weights, &parts, Executor::default(), None);
    let mut sharder = sharder_with(model.as_ref(), &weights, Kind::BFloat16);
    let settings = StepSettings { scale: 1.0 / exact.targets as f64, label_smoothing: 0.0, dropout_key: None };
    let executor = Executor { recompute: Recompute::Full, together: 0 };
    let loss = executor.step(model.as_ref(), sharder.as_mut(), &parts, settings).unwrap();
    assert!((loss.sum - exact.sum).abs() < 0.01 * exact.sum, "{} {}", loss.sum, exact.sum);
    let found = gradients(sharder.as_mut());
    assert!(found.iter().all(|(_, gradient)| gradient.as_ref().unwrap().kind() == Kind::Float));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
        let off = (found - expected).norm().double_value(&[]) / expected.norm().double_value(&[]);
        // bf16 rounds to 1/256; along three blocks there and back that adds up to a few percent of a gradient's length.
        assert!(off < 0.15, "{name}: {off}");
    }
}

/// A sharder that has no buffers for gradients, as a plugin of somebody else may have none.
struct Bufferless(Box<dyn Sharder>);

impl Sharder for Bufferless {
    fn ranks(&self) -> Arc<dyn Collective> {
        self.0.ranks()
    }

    fn layout(&self, segments: &[SegmentSpec]) -> Layout {
        self.0.layout(segments)
    }

    fn install(&mut self, segments: &[SegmentSpec]) -> Result<()> {
        self.0.install(segments)
    }

    fn start_gather(&mut self, segment: usize) -> Result<()> {
        self.0.start_gather(segment)
    }

    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>> {
        self.0.gather(segment)
    }

    fn release(&mut self, segment: usize) {
        self.0.release(segment);
    }

    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()> {
        self.0.reduce(segment, gradients)
    }

    fn gradient_buffer(&mut self, _: usize, _: usize) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn finish_reductions(&mut self) -> Result<()> {
        self.0.finish_reductions()
    }

    fn shards(&mut self) -> &mut [Shard] {
        self.0.shards()
    }

    fn clear_gradients(&mut self) {
        self.0.clear_gradients();
    }
}

#[test]
fn the_gradient_of_a_tied_matrix_comes_home_without_a_buffer_too() {
    let model = model(&json!({ "plugin": "llama", "tie_embeddings": true }));
    let weights = parameters(model.as_ref(), 3);
    let parts = split(&sequences(4, 9, &[0, 4, 8, 1], 5), &[1, 2, 1]);
    for (recompute, together) in [(Recompute::None, 0), (Recompute::None, 1), (Recompute::Full, 2)] {
        let executor = Executor { recompute, together };
        let (_, expected) = walk(model.as_ref(), &weights, &parts, executor, None);
        let mut sharder = Bufferless(sharder_with(model.as_ref(), &weights, Kind::Float));
        let targets: i64 = parts.iter().map(MicroBatch::targets).sum();
        let settings = StepSettings { scale: 1.0 / targets as f64, label_smoothing: 0.0, dropout_key: None };
        executor.step(model.as_ref(), &mut sharder, &parts, settings).unwrap();
        assert!(distance(&gradients(&mut sharder), &expected) < 1e-6, "{recompute:?} {together}");
    }
}

#[test]
fn evaluation_of_a_tied_model_is_the_loss_of_its_training() {
    let model = model(&json!({ "plugin": "llama", "tie_embeddings": true }));
    let weights = parameters(model.as_ref(), 3);
    let parts = split(&sequences(3, 9, &[0, 4, 8], 5), &[1, 2]);
    let (trained, _) = walk(model.as_ref(), &weights, &parts, Executor::default(), None);
    let mut sharder = sharder_with(model.as_ref(), &weights, Kind::Float);
    let (sum, targets) = Executor::default().evaluate(model.as_ref(), sharder.as_mut(), &parts).unwrap();
    assert_eq!(targets, trained.targets);
    assert!((sum - trained.sum).abs() < 1e-5 * sum);
}
