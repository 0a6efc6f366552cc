//! AdamW with fp32 moments.

use psann_core::{Error, Result};
use tch::Tensor;

use super::ffi;

/// Settings of one AdamW step; `psann_moments` in C++.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Factor on the gradient.
    pub gradient_scale: f64,
    /// 1-based number of this step.
    pub step: i64,
}

/// Moves `value` and its moments in place, in PyTorch's order: decay, moments, move. All are of one shape; moments fp32.
pub fn adamw_step(
    value: &mut Tensor,
    gradient: &Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    settings: AdamW,
) -> Result<()> {
    let shape = value.size();
    if gradient.size() != shape || first.size() != shape || second.size() != shape {
        return Err(Error::new(format!(
            "AdamW of a value {shape:?} got a gradient {:?} and moments {:?}, {:?}",
            gradient.size(),
            first.size(),
            second.size()
        )));
    }
    ffi::adamw(value, gradient, first, second, &settings)
}

/// The same step by ATen's own fused kernel, to be measured against. All tensors are contiguous fp32.
pub fn aten_adamw_step(
    value: &mut Tensor,
    gradient: &mut Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    settings: AdamW,
) -> Result<()> {
    ffi::aten_adamw(value, gradient, first, second, &settings)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn fused_steps_follow_the_formula() {
        for elements in [1, 7, 5000] {
            tch::manual_seed(elements);
            let draw = || Tensor::randn([elements], (Kind::Float, Device::Cpu));
            let (mut value, mut first, mut second) = (draw(), draw().zeros_like(), draw().zeros_like());
            let mut wide: Vec<Tensor> = [&value, &first, &second].map(|t| t.to_kind(Kind::Double)).into();
            for step in 1..=5 {
                let gradient = draw();
                let s = AdamW {
                    lr: 0.01,
                    beta1: 0.9,
                    beta2: 0.95,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    step,
                    gradient_scale: 0.5,
                };
                adamw_step(&mut value, &gradient, &mut first, &mut second, s).unwrap();
                let g = gradient.to_kind(Kind::Double) * s.gradient_scale;
                wide[1] = &wide[1] * s.beta1 + &g * (1.0 - s.beta1);
                wide[2] = &wide[2] * s.beta2 + &g * &g * (1.0 - s.beta2);
                let (c1, c2) = (1.0 - s.beta1.powi(step as i32), 1.0 - s.beta2.powi(step as i32));
                let denominator = (&wide[2] / c2).sqrt() + s.eps;
                wide[0] = &wide[0] * (1.0 - s.lr * s.weight_decay) - &wide[1] / denominator * (s.lr / c1);
            }
            for (found, expected) in [&value, &first, &second].into_iter().zip(&wide) {
                let difference = f64::try_from((found.to_kind(Kind::Double) - expected).abs().max()).unwrap();
                assert!(difference < 1e-6, "{difference}");
            }
        }
    }
}
