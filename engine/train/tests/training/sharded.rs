//! Training on several ranks gives what one rank gives, however weights are spread and steps are cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use psann_core::quantity::Span;
use psann_core::sharder::Placement;
use psann_core::{Collective, Model, Optimizer, Sharder, registry};
use psann_golden::{Case, Pair, ranks, waveresnet_cases};
use psann_train::executor::{Executor, MicroBatch, Recompute};
use psann_train::schedule::{Decay, Schedule};
use psann_train::trainer::step::{Moment, Stepper};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::support::{model, parameters, sequences, split};

/// How a run is spread and cut.
#[derive(Debug, Clone)]
struct Cut {
    ranks: usize,
    parts: usize,
    recompute: Recompute,
    together: usize,
    sharder: (&'static str, Value),
    compute: Kind,
}

impl Cut {
    fn one() -> Self {
        Self {
            ranks: 1,
            parts: 1,
            recompute: Recompute::None,
            together: 0,
            sharder: ("single", json!({})),
            compute: Kind::Float,
        }
    }

    fn fsdp(ranks: usize, options: Value) -> Self {
        Self { ranks, sharder: ("fsdp", options), ..Self::one() }
    }
}

/// What a run came to: loss and norm of each step, and the weights at its end.
#[derive(Debug, PartialEq)]
struct Came {
    losses: Vec<f64>,
    norms: Vec<f64>,
    weights: BTreeMap<String, Tensor>,
}

const STEPS: u64 = 20;
const ROWS: i64 = 16;
const TIME: i64 = 10;

/// The rows of step `step` that rank `rank` reads; some labels are not predicted, unevenly over rows and steps.
fn rows_of(step: u64, rank: usize, ranks: usize) -> MicroBatch {
    let ignored: Vec<i64> = (0..ROWS).map(|row| (row * 5 + step as i64 * 3) % TIME).collect();
    let all = sequences(ROWS, TIME, &ignored, step as i64);
    let mine: Vec<i64> = (0..ROWS).filter(|row| *row as usize % ranks == rank).collect();
    let index = Tensor::from_slice(&mine);
    let of = |tensor: &Tensor| tensor.index_select(0, &index);
    MicroBatch { ids: of(&all.ids), labels: of(&all.labels), documents: None }
}

/// As many parts on every rank, whose sizes differ by a row at most.
fn parts_of(batch: &MicroBatch, parts: usize) -> Vec<MicroBatch> {
    let (rows, parts) = (batch.ids.size()[0], parts as i64);
    split(batch, &(0..parts).map(|part| rows / parts + i64::from(part < rows % parts)).collect::<Vec<_>>())
}

fn placed(cut: &Cut, group: Arc<dyn Collective>) -> Box<dyn Sharder> {
    let placement = Placement { ranks: group, ..Placement::alone(Device::Cpu, cut.compute) };
    registry::sharder(cut.sharder.0, &cut.sharder.1, placement).unwrap()
}

fn fill(sharder: &mut dyn Sharder, model: &dyn Model, weights: &[Vec<Tensor>]) {
    sharder.install(model.segments()).unwrap();
    for (shard, value) in sharder.shards().iter_mut().zip(weights.iter().flatten()) {
        shard.fill(value);
    }
}

/// All weights, whole.
fn whole(sharder: &mut dyn Sharder, model: &dyn Model) -> BTreeMap<String, Tensor> {
    let mut weights = BTreeMap::new();
    for (segment, specs) in model.segments().iter().enumerate() {
        for (spec, value) in specs.parameters.iter().zip(sharder.gather(segment).unwrap()) {
            weights.insert(spec.name.clone(), value.copy());
        }
        sharder.release(segment);
    }
    weights
}

fn optimizer() -> Box<dyn Optimizer> {
    registry::optimizer("adamw", &json!({ "lr": 0.005, "weight_decay": 0.1 })).unwrap()
}

/// Trains, and gives what the first rank saw; all ranks saw the same.
fn train(extra: &Value, cut: &Cut) -> Came {
    let model = model(extra);
    let mut all = ranks::run(cut.ranks, |group| {
        let weights = parameters(model.as_ref(), 3);
        let (mut sharder, mut optimizer) = (placed(cut, Arc::clone(&group)), optimizer());
        fill(sharder.as_mut(), model.as_ref(), &weights);
        let executor = Executor { recompute: cut.recompute, together: cut.together };
        let stepper = Stepper { executor, clip: 0.5, label_smoothing: 0.0 };
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for step in 1..=STEPS {
            let micro = parts_of(&rows_of(step, group.rank(), group.size()), cut.parts);
            let (sharder, optimizer) = (sharder.as_mut(), optimizer.as_mut());
            let outcome = stepper.step(model.as_ref(), sharder, optimizer, &micro, Moment::plain(step)).unwrap();
            losses.push(outcome.loss);
            norms.push(outcome.gradient_norm);
        }
        Came { losses, norms, weights: whole(sharder.as_mut(), model.as_ref()) }
    });
    let first = all.remove(0);
    assert!(all.iter().all(|other| *other == first), "ranks disagree: {cut:?}");
    first
}

#[test]
fn a_tied_matrix_is_trained_once_on_any_number_of_ranks() {
    for vocabulary in [31, 1200] {
        // A small matrix travels packed with others, a large one by itself.
        let options = json!({ "plugin": "llama", "tie_embeddings": true, "n_kv_heads": 1, "vocab": vocabulary });
        let expected = train(&options, &Cut::one());
        assert!(!expected.weights.contains_key("lm_head.weight"));
        for (ranks, sharder) in [
            (1, json!({})),
            (2, json!({})),
            (3, json!({})),
            (2, json!({ "mode": "grad_op" })),
            (2, json!({ "offload": true })),
            (4, json!({ "shard_ranks": 2 })),
        ] {
            for (parts, recompute, together) in
                [(1, Recompute::None, 0), (2, Recompute::Full, 0), (4, Recompute::Every(2), 1)]
            {
                let cut = Cut { parts, recompute, together, ..Cut::fsdp(ranks, sharder.clone()) };
                let found = train(&options, &cut);
                assert_close(&found, &expected, 1e-6, &cut);
                assert_first_norms_are_close(&found, &expected, &cut);
            }
        }
    }
}

fn assert_close(found: &Came, expected: &Came, tolerance: f64, cut: &Cut) {
    for (step, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        let off = (found - expected).abs() / expected.abs();
        assert!(off <= tolerance, "loss of step {}: {found}, not {expected}: {cut:?}", step + 1);
    }
}

/// Norms as long as rounding has not grown through the steps: Adam turns the sign of a tiny gradient into a full move.
fn assert_first_norms_are_close(found: &Came, expected: &Came, cut: &Cut) {
    for (step, (found, expected)) in found.norms.iter().zip(&expected.norms).take(3).enumerate() {
        let off = (found - expected).abs() / expected.abs();
        assert!(off <= 1e-6, "norm of step {}: {found}, not {expected}: {cut:?}", step + 1);
    }
}

#[test]
fn losses_and_clipped_norms_are_those_of_one_rank_for_every_cut() {
    let expected = train(&json!({}), &Cut::one());
    assert!(expected.losses[19] < expected.losses[0] - 0.2, "nothing was learned: {:?}", expected.losses);
    assert!(expected.norms.iter().any(|norm| *norm > 0.5), "nothing was clipped: {:?}", expected.norms);
    for ranks in [1, 2, 4] {
        for parts in [1, 4] {
            for recompute in [Recompute::None, Recompute::Full, Recompute::Every(2)] {
                for together in [0, 1] {
                    let cut = Cut { parts, recompute, together, ..Cut::fsdp(ranks, json!({})) };
                    let found = train(&json!({}), &cut);
                    assert_close(&found, &expected, 1e-6, &cut);
                    assert_first_norms_are_close(&found, &expected, &cut);
                }
            }
        }
    }
}

#[test]
fn uneven_ranks_and_every_way_to_shard_give_the_same_losses() {
    let expected = train(&json!({}), &Cut::one());
    let cuts = [
        Cut { parts: 4, ..Cut::fsdp(2, json!({})) },
        Cut { parts: 2, ..Cut::fsdp(3, json!({})) },
        Cut { parts: 2, together: 1, ..Cut::fsdp(2, json!({ "mode": "grad_op" })) },
        Cut { recompute: Recompute::Full, ..Cut::fsdp(4, json!({ "mode": "grad_op" })) },
        Cut { parts: 2, ..Cut::fsdp(4, json!({ "shard_ranks": 2 })) },
        Cut::fsdp(4, json!({ "shard_ranks": 1 })),
        Cut::fsdp(2, json!({ "offload": true })),
        Cut { parts: 4, together: 2, ..Cut::one() },
    ];
    for cut in cuts {
        let found = train(&json!({}), &cut);
        assert_close(&found, &expected, 1e-6, &cut);
        assert_first_norms_are_close(&found, &expected, &cut);
    }
}

#[test]
fn one_rank_of_fsdp_is_single_bit_for_bit() {
    for extra in [json!({}), json!({ "sine": { "learnable": ["frequency"] }, "norm": "layer" })] {
        for (parts, recompute) in [(1, Recompute::None), (4, Recompute::Full)] {
            for compute in [Kind::Float, Kind::BFloat16] {
                let single = Cut { parts, recompute, compute, ..Cut::one() };
                let sharded = Cut { sharder: ("fsdp", json!({})), ..single.clone() };
                assert_eq!(train(&extra, &sharded), train(&extra, &single), "{sharded:?}");
            }
        }
    }
}

#[test]
fn frozen_parameters_stay_where_they_are() {
    let extra = json!({ "sine": { "learnable": ["frequency"] } });
    let model = model(&extra);
    let before = parameters(model.as_ref(), 3);
    let after = train(&extra, &Cut::fsdp(2, json!({}))).weights;
    let expected = train(&extra, &Cut::one());
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    let mut frozen = 0;
    for (spec, before) in specs.zip(before.iter().flatten()) {
        let moved = after[&spec.name] != *before;
        assert_eq!(moved, spec.trainable, "{}", spec.name);
        frozen += i32::from(!spec.trainable);
        let off = (&after[&spec.name] - &expected.weights[&spec.name]).abs().max().double_value(&[]);
        assert!(off < 1e-4, "{}: {off}", spec.name);
    }
    assert_eq!(frozen, 6);
}

#[test]
fn bf16_on_the_wire_changes_losses_by_its_rounding_only() {
    let exact = train(&json!({}), &Cut { compute: Kind::BFloat16, ..Cut::fsdp(2, json!({ "wire": "fp32" })) });
    let cut = Cut { compute: Kind::BFloat16, ..Cut::fsdp(2, json!({})) };
    let found = train(&json!({}), &cut);
    assert_close(&found, &exact, 0.02, &cut);
    let fp32 = train(&json!({}), &Cut::one());
    assert_close(&found, &fp32, 0.05, &cut);
}

/// Trains as a case says, on as many ranks as it says; gives what it expects beside what came out.
fn trajectory(case: &Case, options: &Value, ranks: usize, prefix: &str) -> Result<Vec<Pair>, String> {
    let train = &case.config["train"];
    let number = |key: &str| train[key].as_f64().unwrap_or_else(|| panic!("{}: train.{key}", case.name));
    let (batch, seq, steps) = (number("batch") as i64, number("seq") as i64, number("steps") as u64);
    let model = registry::model("waveresnet", options).map_err(|e| e.to_string())?;
    let settings = json!({
        "lr": number("lr"), "betas": train["betas"], "eps": number("eps"),
        "weight_decay": number("weight_decay"), "groups": "all",
    });
    let schedule =
        Schedule { warmup: Span::Steps(number("warmup") as u64), decay: Decay::Cosine, stable: None, floor: 0.0 };
    let total = number("schedule_total") as u64;
    let clip = number("grad_clip");
    let cut = Cut::fsdp(ranks, json!({}));
    let came = ranks::run(ranks, |group| {
        let (weights, io) = (case.read("weights"), case.read("io"));
        let mut sharder = placed(&cut, Arc::clone(&group));
        sharder.install(model.segments()).unwrap();
        for shard in sharder.shards() {
            let name = shard.spec.name.clone();
            shard.fill(&weights[&name]);
        }
        let mut optimizer = registry::optimizer("adamw", &settings).unwrap();
        let stepper = Stepper { executor: Executor::default(), clip, label_smoothing: 0.0 };
        let (mut losses, mut norms, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for step in 1..=steps {
            // Rank r takes the rows from r · batch / ranks on.
            let share = batch / group.size() as i64;
            let first = (step as i64 - 1) * batch + group.rank() as i64 * share;
            let row = |row: i64| io["in.tokens"].narrow(0, (first + row) * seq, seq + 1);
            let rows = Tensor::stack(&(0..share).map(row).collect::<Vec<_>>(), 0);
            let micro = MicroBatch {
                ids: rows.narrow(1, 0, seq).contiguous(),
                labels: rows.narrow(1, 1, seq).contiguous(),
                documents: None,
            };
            let moment = Moment { rate: schedule.factor(step, total), ..Moment::plain(step) };
            let (sharder, optimizer) = (sharder.as_mut(), optimizer.as_mut());
            let outcome = stepper.step(model.as_ref(), sharder, optimizer, &[micro], moment).unwrap();
            losses.push(outcome.loss);
            norms.push(outcome.gradient_norm as f32);
            own.push(outcome.micro_losses[0] as f32);
        }
        (losses, norms, own, whole(sharder.as_mut(), model.as_ref()))
    });
    let by_rank: Vec<Tensor> = came.iter().map(|(_, _, own, _)| Tensor::from_slice(own)).collect();
    let (losses, norms, _, weights) = &came[0];
    let mut found = BTreeMap::from([
        (format!("out.{prefix}loss"), Tensor::from_slice(losses)),
        (format!("out.{prefix}grad_norm"), Tensor::from_slice(norms)),
    ]);
    if prefix.is_empty() {
        found.insert("out.rank_loss".into(), Tensor::stack(&by_rank, 0));
    }
    found.extend(weights.iter().map(|(name, value)| (format!("out.{prefix}final.{name}"), value.copy())));
    let mine = |name: &str| name.starts_with("out.single_") != prefix.is_empty() && name.starts_with("out.");
    let mut pairs = Vec::new();
    for (name, expected) in case.read("io").into_iter().filter(|(name, _)| mine(name)) {
        let found = found.remove(&name).ok_or_else(|| format!("{}: nothing to compare `{name}` with", case.name))?;
        pairs.push((name, expected, found));
    }
    Ok(pairs)
}

#[test]
fn golden_psann_fsdp2_trajectories() {
    let mut compared = 0;
    for (case, options) in waveresnet_cases("psann", "fsdp2") {
        let world = case.config["world"].as_u64().unwrap() as usize;
        for (ranks, prefix) in [(world, ""), (1, "single_")] {
            let pairs = trajectory(&case, &options, ranks, prefix).unwrap_or_else(|problem| panic!("{problem}"));
            assert!(pairs.len() > 3, "{}: nothing to compare", case.name);
            case.compare(&pairs).unwrap_or_else(|problem| panic!("{ranks} ranks\n{problem}"));
        }
        compared += 1;
    }
    assert!(compared > 0 || std::env::var_os("PSANN_FIXTURES").is_some());
}
