//! RMS norm: `y = x · (scale / sqrt(mean(x²) + eps))` over the last axis.

use psann_core::{Error, Result};
use tch::Tensor;

use crate::ffi;

/// Normalises x `[.., width]` with scale `[width]`. Differentiable in both; keeps x and one number per row. Statistics
/// are fp32 whatever the dtype of x.
pub fn rms_norm(x: &Tensor, scale: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.size().last().copied().unwrap_or(0);
    if scale.size() != [width] || scale.device() != x.device() {
        return Err(Error::new(format!(
            "the RMS norm of {:?} on {:?} needs a scale of shape [{width}] there, not {:?} on {:?}",
            x.size(),
            x.device(),
            scale.size(),
            scale.device()
        )));
    }
    ffi::rms_norm(x, scale, eps)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::rms_norm;
    use crate::autograd::gradients;

    #[test]
    fn fused_equals_the_formula_in_double_precision() {
        for (rows, width) in [(1, 1), (5, 30), (70, 64)] {
            tch::manual_seed(rows + width);
            let x = Tensor::randn([2, rows, width], (Kind::Double, Device::Cpu)).set_requires_grad(true);
            let scale = Tensor::randn([width], (Kind::Double, Device::Cpu)).set_requires_grad(true);
            let gradient = Tensor::randn([2, rows, width], (Kind::Double, Device::Cpu));
            let mean = (&x * &x).mean_dim([-1_i64].as_slice(), true, Kind::Double);
            let expected = &x * (&scale / (mean + 1e-6).sqrt());
            let expected_gradients = gradients(&expected, &gradient, &[&x, &scale]).unwrap();

            for kind in [Kind::Float, Kind::Double] {
                // Double takes the composed path; both must agree.
                let x = x.detach().to_kind(kind).set_requires_grad(true);
                let scale = scale.detach().to_kind(kind).set_requires_grad(true);
                let y = rms_norm(&x, &scale, 1e-6).unwrap();
                let found = gradients(&y, &gradient.to_kind(kind), &[&x, &scale]).unwrap();
                let close = |found: &Tensor, expected: &Tensor| {
                    let most = f64::try_from(expected.abs().max()).unwrap().max(1.0);
                    f64::try_from((found.to_kind(Kind::Double) - expected).abs().max()).unwrap() < 2e-6 * most
                };
                assert!(close(&y, &expected));
                for (found, expected) in found.iter().zip(&expected_gradients) {
                    assert!(close(found.as_ref().unwrap(), expected.as_ref().unwrap()), "{rows} {width} {kind:?}");
                }
            }
        }
    }
}
