//! bf16 on the CPU: every fused operation is its formula in double precision, but for the rounding of what goes in and out.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use psann_torch::autograd::{gradients, leaf};
use psann_torch::linear::{embedding, linear, scaled_add};
use psann_torch::loss::{LossOptions, linear_cross_entropy};
use psann_torch::norm::rms_norm;
use psann_torch::rotary::rotate;
use psann_torch::sine::{Bounds, Decay, damped_sine, damped_sine_linear};
use tch::{Device, Kind, Tensor};

/// Half a unit in the last place of bf16, relative.
const ROUNDING: f64 = 1.0 / 256.0;

/// Values between -1 and 1 that follow from their number.
fn draw(shape: &[i64], seed: i64, kind: Kind) -> Tensor {
    let count: i64 = shape.iter().product();
    let index = Tensor::arange(count, (Kind::Double, Device::Cpu));
    ((index * 12.9898 + seed as f64).sin() * 43758.5453).frac().view(shape).to_kind(kind)
}

fn wide(tensor: &Tensor) -> Tensor {
    tensor.detach().to_kind(Kind::Double).set_requires_grad(true)
}

fn narrow(tensor: &Tensor) -> Tensor {
    leaf(tensor, true).unwrap()
}

fn assert_close(found: &Tensor, expected: &Tensor, roundings: f64, what: &str) {
    let most = expected.abs().max().double_value(&[]);
    let off = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
    assert!(off <= roundings * ROUNDING * most.max(1e-12), "{what}: off by {off:.2e} of {most:.2e}");
}

/// Compares an operation and all its gradients with the formula, and one thread with two.
fn check(
    name: &str,
    inputs: &[Tensor],
    roundings: f64,
    operation: impl Fn(&[Tensor]) -> Tensor,
    formula: impl Fn(&[Tensor]) -> Tensor,
) {
    let run = |threads| {
        psann_torch::threads::set(threads);
        let leaves: Vec<Tensor> = inputs.iter().map(narrow).collect();
        let output = operation(&leaves);
        let gradient = draw(&output.size(), 7, output.kind());
        let found = gradients(&output, &gradient, &leaves.iter().collect::<Vec<_>>()).unwrap();
        (output.detach(), gradient, found)
    };
    let (output, gradient, found) = run(1);
    let (again, _, found_again) = run(2);
    assert!(output.equal(&again), "{name}: threads change the result");
    let leaves: Vec<Tensor> = inputs.iter().map(wide).collect();
    let expected = formula(&leaves);
    assert_eq!(output.kind(), Kind::BFloat16, "{name}");
    assert_close(&output, &expected, roundings, name);
    let expected = gradients(&expected, &gradient.to_kind(Kind::Double), &leaves.iter().collect::<Vec<_>>()).unwrap();
    for (index, ((found, again), expected)) in found.iter().zip(&found_again).zip(&expected).enumerate() {
        let Some(expected) = expected else { continue };
        let found = found.as_ref().unwrap();
        assert!(found.equal(again.as_ref().unwrap()), "{name}: threads change gradient {index}");
        assert_close(found, expected, 4.0 * roundings, &format!("{name}: gradient {index}"));
    }
}

fn softplus(tensor: &Tensor) -> Tensor {
    (tensor.exp() + 1.0).log()
}

fn sine_formula(z: &Tensor, [a, f, d]: [&Tensor; 3]) -> Tensor {
    softplus(a) * (-softplus(d) * z.abs()).exp() * ((softplus(f) + 1e-6) * z).sin()
}

/// Two sizes: whole vectors, and remainders everywhere.
const SIZES: [(i64, i64); 2] = [(64, 64), (37, 29)];

#[test]
fn sines_norms_and_sums_are_their_formulas() {
    for (rows, width) in SIZES {
        let x = draw(&[rows, width], 1, Kind::BFloat16);
        let vector = |seed| draw(&[width], seed, Kind::Float);
        let sine = [x.copy(), vector(2), vector(3), vector(4)];
        check(
            "sine",
            &sine,
            1.0,
            |i| damped_sine(&i[0], &i[1], &i[2], &i[3], Decay::Abs, &Bounds::default()).unwrap(),
            |i| sine_formula(&i[0], [&i[1], &i[2], &i[3]]),
        );
        check(
            "norm",
            &[x.copy(), vector(5)],
            1.0,
            |i| rms_norm(&i[0], &i[1], 1e-6).unwrap(),
            |i| {
                &i[0]
                    * (&i[0] * &i[0]).mean_dim([-1_i64].as_slice(), true, Kind::Double).g_add_scalar(1e-6).rsqrt()
                    * &i[1]
            },
        );
        let (m, alpha) = (draw(&[rows, width], 6, Kind::BFloat16), draw(&[1], 3, Kind::Float));
        check("sum", &[x, alpha, m], 1.0, |i| scaled_add(&i[0], &i[1], &i[2]).unwrap(), |i| &i[0] + &i[1] * &i[2]);
    }
}

#[test]
fn maps_are_their_formulas_and_weights_get_fp32_gradients() {
    for (rows, width) in SIZES {
        let out = width + 3;
        let (x, weight) = (draw(&[rows, width], 1, Kind::BFloat16), draw(&[out, width], 2, Kind::BFloat16));
        let bias = draw(&[out], 3, Kind::Float);
        let inputs = [x.copy(), weight.copy(), bias.copy()];
        let formula = |i: &[Tensor]| i[0].matmul(&i[1].tr()) + &i[2];
        check("linear", &inputs, 2.0, |i| linear(&i[0], &i[1], Some(&i[2])).unwrap(), formula);
        let leaves: Vec<Tensor> = inputs.iter().map(narrow).collect();
        let y = linear(&leaves[0], &leaves[1], Some(&leaves[2])).unwrap();
        let found = gradients(&y, &draw(&y.size(), 4, Kind::BFloat16), &[&leaves[1], &leaves[2]]).unwrap();
        assert!(found.iter().all(|gradient| gradient.as_ref().unwrap().kind() == Kind::Float));
        check(
            "map",
            &[x.copy(), weight.copy()],
            2.0,
            |i| linear(&i[0], &i[1], None).unwrap(),
            |i| i[0].matmul(&i[1].tr()),
        );

        let vector = |seed| draw(&[width], seed, Kind::Float);
        let inputs = [x.copy(), vector(5), vector(6), vector(7), weight.copy(), bias];
        check(
            "sine and map",
            &inputs,
            3.0,
            |i| damped_sine_linear(&i[0], [&i[1], &i[2], &i[3]], Decay::Abs, &Bounds::default(), &i[4], &i[5]).unwrap(),
            |i| sine_formula(&i[0], [&i[1], &i[2], &i[3]]).matmul(&i[4].tr()) + &i[5],
        );
        let ids = Tensor::from_slice(&[0_i64, 3, 3, out - 1, 1]).view([1, 5]);
        check(
            "embedding",
            &[weight],
            1.0,
            |i| embedding(&i[0], &ids).unwrap(),
            |i| i[0].index_select(0, &ids.view([-1])).view([1, 5, width]),
        );
    }
}

#[test]
fn rotations_turn_in_fp32() {
    for size in [8, 12] {
        let x = draw(&[2, 5, 3, size], 1, Kind::BFloat16);
        let angles = draw(&[5, size / 2], 2, Kind::Float) * 3.0;
        let (cosine, sine) = (angles.cos(), angles.sin());
        let (c, s) = (cosine.to_kind(Kind::Double).unsqueeze(1), sine.to_kind(Kind::Double).unsqueeze(1));
        check(
            "rotation",
            &[x],
            1.0,
            |i| rotate(&i[0], &cosine, &sine).unwrap(),
            |i| {
                let pairs = i[0].view([2, 5, 3, size / 2, 2]);
                let (even, odd) = (pairs.select(-1, 0), pairs.select(-1, 1));
                Tensor::stack(&[&even * &c - &odd * &s, &odd * &c + &even * &s], -1).view([2, 5, 3, size])
            },
        );
    }
}

#[test]
fn the_loss_is_fp32_and_its_gradients_go_into_an_fp32_buffer() {
    let (rows, width, classes) = (37, 29, 61);
    let (hidden, weight) = (draw(&[rows, width], 1, Kind::BFloat16), draw(&[classes, width], 2, Kind::BFloat16));
    let labels = Tensor::arange(rows, (Kind::Int64, Device::Cpu)).remainder(classes);
    let buffer = Tensor::zeros([classes, width], (Kind::Float, Device::Cpu));
    let options = LossOptions { scale: 1.0 / rows as f64, ..LossOptions::default() };
    let found = linear_cross_entropy(&hidden, &weight, &labels, Some(&buffer), &options).unwrap();
    let (h, w) = (wide(&hidden), wide(&weight));
    let expected = h.matmul(&w.tr()).cross_entropy_for_logits(&labels);
    assert!((found.sum / rows as f64 - expected.double_value(&[])).abs() < 2.0 * ROUNDING);
    let one = Tensor::ones([], (Kind::Double, Device::Cpu));
    let gradient = gradients(&expected, &one, &[&h, &w]).unwrap();
    assert_close(found.hidden_gradient.as_ref().unwrap(), gradient[0].as_ref().unwrap(), 4.0, "hidden");
    assert_close(&buffer, gradient[1].as_ref().unwrap(), 4.0, "weight");
}
