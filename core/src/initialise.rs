//! Executes a model's [`Draw`]s: the same seed gives the same weights, bit for bit, as the reference gives.

use std::collections::BTreeMap;
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
/// # Errors
/// As [`initialise_each`].
pub fn initialise(model: &dyn Model, seed: i64) -> Result<Vec<Vec<Tensor>>> {
    let mut values: Vec<Vec<Tensor>> =
        model.segments().iter().map(|segment| segment.parameters.iter().map(|_| Tensor::new()).collect()).collect();
    initialise_each(model, seed, |segment, parameter, value| {
        values[segment][parameter] = value;
        Ok(())
    })?;
    Ok(values)
}

/// Draws the parameters of `model` on the CPU in fp32 and hands over each as soon as it is final (segment, parameter,
/// value), so that nobody has to hold more of the model than they keep.
///
/// The draws go through libtorch's own generator, whose stream the reference's seeds are about; it is seeded anew here.
///
/// # Errors
/// When the model leaves out a parameter, draws one in another shape, or `take` fails.
pub fn initialise_each(
    model: &dyn Model,
    seed: i64,
    mut take: impl FnMut(usize, usize, Tensor) -> Result<()>,
) -> Result<()> {
    let _no_gradients = tch::no_grad_guard();
    // The generator is the process's: two draws at once would take each other's numbers.
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    let draws = model.initialisation();
    let last: BTreeMap<(usize, usize), usize> =
        draws.iter().enumerate().filter_map(|(index, draw)| Some((draw.target?, index))).collect();
    for (index, segment) in model.segments().iter().enumerate() {
        if let Some(missing) = (0..segment.parameters.len()).find(|parameter| !last.contains_key(&(index, *parameter)))
        {
            return Err(Error::new(format!("the model never initialises `{}`", segment.parameters[missing].name)));
        }
    }
    for (index, draw) in draws.iter().enumerate() {
        let drawn = execute(draw);
        let (Some(target), Some(drawn)) = (draw.target, drawn) else { continue };
        if last.get(&target) != Some(&index) {
            continue;
        }
        let (segment, parameter) = target;
        let spec = &model.segments()[segment].parameters[parameter];
        if drawn.size() != spec.shape {
            return Err(Error::new(format!("the model initialises `{}` with shape {:?}", spec.name, drawn.size())));
        }
        take(segment, parameter, drawn)?;
    }
    Ok(())
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
