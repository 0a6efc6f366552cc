//! Executes a model's [`Draw`]s: the same seed gives the same weights, bit for bit, as the reference gives.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::model::{Draw, Model, Values};
use crate::{Error, Result};

/// Smallest fp32 difference from one; the reference keeps activation vectors above it.
const EPSILON: f64 = f32::EPSILON as f64;

/// Held while libtorch's generator is seeded and drawn from.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Draws all parameters of `model` on the CPU in fp32, one list per segment.
///
/// The draws go through libtorch's own generator, whose stream the reference's seeds are about; it is seeded anew here.
pub fn initialise(model: &dyn Model, seed: i64) -> Result<Vec<Vec<Tensor>>> {
    let _no_gradients = tch::no_grad_guard();
    // The generator is the process's: two draws at once would take each other's numbers.
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    let segments = model.segments();
    let mut values: Vec<Vec<Option<Tensor>>> =
        segments.iter().map(|segment| segment.parameters.iter().map(|_| None).collect()).collect();
    for draw in model.initialisation() {
        let drawn = execute(&draw);
        if let (Some((segment, parameter)), Some(drawn)) = (draw.target, drawn) {
            values[segment][parameter] = Some(drawn);
        }
    }
    let mut initialised = Vec::with_capacity(segments.len());
    for (segment, values) in segments.iter().zip(values) {
        let mut of_segment = Vec::with_capacity(values.len());
        for (spec, value) in segment.parameters.iter().zip(values) {
            let value = value.ok_or_else(|| Error::new(format!("the model never initialises `{}`", spec.name)))?;
            if value.size() != spec.shape {
                return Err(Error::new(format!("the model initialises `{}` with shape {:?}", spec.name, value.size())));
            }
            of_segment.push(value);
        }
        initialised.push(of_segment);
    }
    Ok(initialised)
}

/// The raw value whose softplus is `value`, which is kept at or above fp32 epsilon.
pub fn inverse_softplus(value: f64) -> f64 {
    let value = value.max(EPSILON);
    // ln(expm1(v)), in a form that does not overflow.
    value + (-(-value).exp_m1()).ln()
}

fn execute(draw: &Draw) -> Option<Tensor> {
    let mut space = Tensor::empty(draw.shape.as_slice(), (Kind::Float, Device::Cpu));
    match draw.values {
        Values::Normal { mean, std } => Some(space.normal_(mean, std)),
        Values::Uniform { low, high } => Some(space.uniform_(low, high)),
        Values::Constant(value) => draw.target.map(|_| space.fill_(value)),
        Values::InverseSoftplusNormal { mean, std } => {
            let value = space.normal_(mean, std).clamp_min(EPSILON);
            Some(&value + (-(-&value).expm1()).log())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::inverse_softplus;

    #[test]
    fn the_inverse_softplus_of_large_and_small_values_is_finite() {
        for (value, raw) in
            [(1.0, 0.541_324_854), (0.01, -4.600_166_321), (0.0, -15.942_384_72), (20.0, 20.0), (1000.0, 1000.0)]
        {
            assert!((inverse_softplus(value) - raw).abs() < 1e-6, "{value}");
        }
    }
}
