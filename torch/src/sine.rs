//! The damped sine of PSANN: `y = A · exp(−d · g(z)) · sin(f · z)`, with A, f, d learned per feature.
//!
//! A = softplus(raw), f = softplus(raw) + 1e-6, d = softplus(raw), each clamped to its bounds; g is |z|, max(z, 0) or 0.
//! Composed from single operations it writes five tensors of z's size and keeps them for the backward pass; fused it
//! writes one and keeps z alone.

use psann_core::{Error, Result};
use tch::{Device, Kind, Tensor};

use crate::ffi;

/// What the envelope decays with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// |z|.
    Abs,
    /// max(z, 0).
    Relu,
    /// Nothing: the envelope is the amplitude.
    None,
}

/// Limits of one vector after softplus; a missing side is unbounded.
pub type Limits = (Option<f64>, Option<f64>);

/// Limits of the three vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds {
    /// Of the amplitude.
    pub amplitude: Limits,
    /// Of the frequency.
    pub frequency: Limits,
    /// Of the decay.
    pub decay: Limits,
}

/// Applies the damped sine to z `[.., features]`; the raw vectors are `[features]`. Differentiable in all four.
pub fn damped_sine(
    z: &Tensor,
    amplitude: &Tensor,
    frequency: &Tensor,
    decay: &Tensor,
    mode: Decay,
    bounds: &Bounds,
) -> Result<Tensor> {
    let vectors = [amplitude, frequency, decay];
    check(z, vectors)?;
    ffi::damped_sine(z, vectors, code(mode), &limits(bounds))
}

/// The damped sine of z followed by a linear map: `damped_sine(z) · weightᵀ + bias`, weight `[out, features]`, bias
/// `[out]`. The same numbers as the two apart, but the sine's output is not kept for the backward pass.
pub fn damped_sine_linear(
    z: &Tensor,
    vectors: [&Tensor; 3],
    mode: Decay,
    bounds: &Bounds,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    check(z, vectors)?;
    let (features, out) = (z.size().last().copied().unwrap_or(0), bias.size());
    if weight.size() != [out.first().copied().unwrap_or(0), features] || out.len() != 1 {
        return Err(Error::new(format!(
            "a linear map of {features} features cannot have a weight {:?} and a bias {out:?}",
            weight.size()
        )));
    }
    let on_cpu = [z, weight, bias].into_iter().chain(vectors).all(|tensor| tensor.device() == Device::Cpu);
    let fused = matches!(z.kind(), Kind::Float | Kind::BFloat16) && weight.kind() == z.kind();
    if on_cpu && fused && z.is_contiguous() {
        return ffi::damped_sine_linear(z, vectors, [weight, bias], code(mode), &limits(bounds));
    }
    let y = ffi::damped_sine(z, vectors, code(mode), &limits(bounds))?;
    ffi::linear(&y, weight, Some(bias))
}

fn check(z: &Tensor, vectors: [&Tensor; 3]) -> Result<()> {
    let features = z.size().last().copied().unwrap_or(0);
    for (name, vector) in ["amplitude", "frequency", "decay"].into_iter().zip(vectors) {
        if vector.size() != [features] || vector.device() != z.device() {
            return Err(Error::new(format!(
                "the damped sine of z {:?} on {:?} needs a {name} of shape [{features}] there, not {:?} on {:?}",
                z.size(),
                z.device(),
                vector.size(),
                vector.device()
            )));
        }
    }
    Ok(())
}

fn code(mode: Decay) -> i32 {
    match mode {
        Decay::Abs => 0,
        Decay::Relu => 1,
        Decay::None => 2,
    }
}

/// The six limits in the shim's order, NaN where there is none.
fn limits(bounds: &Bounds) -> [f64; 6] {
    let mut limits = [f64::NAN; 6];
    for (pair, (low, high)) in limits.chunks_mut(2).zip([bounds.amplitude, bounds.frequency, bounds.decay]) {
        pair[0] = low.unwrap_or(f64::NAN);
        pair[1] = high.unwrap_or(f64::NAN);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::gradients;

    /// The formula in double precision, op by op.
    fn composed(z: &Tensor, raw: [&Tensor; 3], mode: Decay, bounds: &Bounds) -> Tensor {
        let clamp = |value: Tensor, (low, high): Limits| match (low, high) {
            (Some(low), Some(high)) => value.clamp(low, high),
            (Some(low), None) => value.clamp_min(low),
            (None, Some(high)) => value.clamp_max(high),
            (None, None) => value,
        };
        let a = clamp(raw[0].softplus(), bounds.amplitude);
        let f = clamp(raw[1].softplus() + 1e-6, bounds.frequency);
        let d = clamp(raw[2].softplus(), bounds.decay);
        let g = match mode {
            Decay::Abs => z.abs(),
            Decay::Relu => z.clamp_min(0.0),
            Decay::None => z.zeros_like(),
        };
        a * (-d * g).exp() * (f * z).sin()
    }

    fn check(rows: i64, features: i64, mode: Decay, bounds: &Bounds, spread: f64) {
        tch::manual_seed(rows * 31 + features);
        let options = (Kind::Double, Device::Cpu);
        let z = (Tensor::randn([rows, features], options) * spread).set_requires_grad(true);
        let raw: Vec<Tensor> = (0..3).map(|_| Tensor::randn([features], options).set_requires_grad(true)).collect();
        let gradient = Tensor::randn([rows, features], options);
        let expected = composed(&z, [&raw[0], &raw[1], &raw[2]], mode, bounds);
        let inputs = [&z, &raw[0], &raw[1], &raw[2]];
        let expected_gradients = gradients(&expected, &gradient, &inputs).unwrap();

        let single = |tensor: &Tensor| tensor.detach().to_kind(Kind::Float).set_requires_grad(true);
        let inputs: Vec<Tensor> = inputs.into_iter().map(single).collect();
        let found = damped_sine(&inputs[0], &inputs[1], &inputs[2], &inputs[3], mode, bounds).unwrap();
        // An argument of size s carries an fp32 rounding error of s * 6e-8 into sine and cosine.
        let tolerance = 2e-6 * (1.0 + spread);
        assert_close(&found, &expected, tolerance, "y");
        let borrowed: Vec<&Tensor> = inputs.iter().collect();
        let found_gradients = gradients(&found, &gradient.to_kind(Kind::Float), &borrowed).unwrap();
        for (index, (found, expected)) in found_gradients.iter().zip(&expected_gradients).enumerate() {
            let zero = Tensor::zeros([features], options);
            assert_close(
                found.as_ref().unwrap(),
                expected.as_ref().unwrap_or(&zero),
                tolerance,
                &format!("gradient {index}"),
            );
        }
    }

    fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
        let most = f64::try_from(expected.abs().max()).unwrap().max(1e-6);
        let difference = f64::try_from((found.to_kind(Kind::Double) - expected).abs().max()).unwrap();
        assert!(difference <= tolerance * most, "{what}: {difference} of {most}");
    }

    #[test]
    fn fused_equals_the_formula_in_double_precision() {
        let bounded =
            Bounds { amplitude: (Some(0.5), Some(1.0)), frequency: (None, Some(0.9)), decay: (Some(0.3), None) };
        for (rows, features) in [(1, 1), (3, 7), (65, 24), (100, 33)] {
            for mode in [Decay::Abs, Decay::Relu, Decay::None] {
                check(rows, features, mode, &Bounds::default(), 2.0);
                check(rows, features, mode, &bounded, 2.0);
            }
        }
        check(40, 16, Decay::None, &Bounds::default(), 300.0);
    }

    #[test]
    fn with_a_linear_map_behind_it_everything_is_as_with_the_two_apart() {
        for mode in [Decay::Abs, Decay::Relu, Decay::None] {
            tch::manual_seed(8);
            let draw = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let (z, weight, bias) = (draw(&[3, 40, 12]), draw(&[5, 12]), draw(&[5]));
            let (a, f, d) = (draw(&[12]), draw(&[12]), draw(&[12]));
            let inputs = [&z, &a, &f, &d, &weight, &bias];
            let gradient = Tensor::randn([3, 40, 5], (Kind::Float, Device::Cpu));
            let y = damped_sine(&z, &a, &f, &d, mode, &Bounds::default()).unwrap();
            let apart = y.linear(&weight, Some(&bias));
            let together = damped_sine_linear(&z, [&a, &f, &d], mode, &Bounds::default(), &weight, &bias).unwrap();
            assert!(together.equal(&apart));
            let expected = gradients(&apart, &gradient, &inputs).unwrap();
            let found = gradients(&together, &gradient, &inputs).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let expected = expected.as_ref().map_or_else(|| d.zeros_like(), Tensor::shallow_clone);
                assert_close(found.as_ref().unwrap(), &expected.to_kind(Kind::Double), 2e-6, "gradient");
            }
        }
        let half = |shape: &[i64]| Tensor::ones(shape, (Kind::BFloat16, Device::Cpu));
        let vector = Tensor::ones([4], (Kind::Float, Device::Cpu));
        let vectors = [&vector, &vector, &vector];
        let bounds = Bounds::default();
        let out =
            damped_sine_linear(&half(&[2, 4]), vectors, Decay::Abs, &bounds, &half(&[3, 4]), &half(&[3])).unwrap();
        assert_eq!((out.kind(), out.size()), (Kind::BFloat16, vec![2, 3]));
        assert!(damped_sine_linear(&half(&[2, 4]), vectors, Decay::Abs, &bounds, &half(&[3, 5]), &half(&[3])).is_err());
    }

    #[test]
    fn zero_has_the_slope_of_the_sine_alone() {
        let z = Tensor::zeros([1, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let raw = Tensor::zeros([8], (Kind::Float, Device::Cpu));
        let y = damped_sine(&z, &raw, &raw, &raw, Decay::Abs, &Bounds::default()).unwrap();
        let slope = gradients(&y, &y.ones_like(), &[&z]).unwrap().remove(0).unwrap();
        let expected = 2.0_f64.ln() * (2.0_f64.ln() + 1e-6);
        assert!((f64::try_from(slope.max()).unwrap() - expected).abs() < 1e-6);
    }

    #[test]
    fn half_precision_takes_the_composed_path_and_stays_close() {
        tch::manual_seed(5);
        let z = Tensor::randn([4, 16], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16).set_requires_grad(true);
        let raw = Tensor::randn([16], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = damped_sine(&z, &raw, &raw, &raw, Decay::Abs, &Bounds::default()).unwrap();
        assert_eq!(y.kind(), Kind::BFloat16);
        let wide = composed(&z.to_kind(Kind::Double), [&raw.to_kind(Kind::Double); 3], Decay::Abs, &Bounds::default());
        assert!(f64::try_from((y.to_kind(Kind::Double) - wide).abs().max()).unwrap() < 0.02);
        let found = gradients(&y, &y.ones_like(), &[&z, &raw]).unwrap();
        assert_eq!(found[0].as_ref().unwrap().kind(), Kind::BFloat16);
        assert_eq!(found[1].as_ref().unwrap().size(), [16]);
    }

    #[test]
    fn vectors_of_another_length_are_refused() {
        let z = Tensor::zeros([2, 8], (Kind::Float, Device::Cpu));
        let raw = Tensor::zeros([7], (Kind::Float, Device::Cpu));
        let error = damped_sine(&z, &raw, &raw, &raw, Decay::Abs, &Bounds::default()).unwrap_err();
        assert!(error.to_string().contains("[8]"), "{error}");
    }
}
