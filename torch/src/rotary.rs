//! Rotary positions: two features of a head turn by the position times a frequency. Models differ in which two.

use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use crate::ffi;

/// Rotates x `[batch, time, heads, size]` by tables `[time, size / 2]` or `[batch, time, size / 2]`, fp32 and contiguous;
/// features 2i and 2i + 1 turn with frequency i.
///
/// Differentiable in x; the backward pass is the opposite rotation and keeps the tables only.
pub fn rotate(x: &Tensor, cosine: &Tensor, sine: &Tensor) -> Result<Tensor> {
    rotated(x, cosine, sine, false)
}

/// Like [`rotate`], but features i and i + size / 2 turn with frequency i, as in Llama and its relatives.
pub fn rotate_halves(x: &Tensor, cosine: &Tensor, sine: &Tensor) -> Result<Tensor> {
    rotated(x, cosine, sine, true)
}

fn rotated(x: &Tensor, cosine: &Tensor, sine: &Tensor, halves: bool) -> Result<Tensor> {
    let size = x.size();
    let fits = match (size.as_slice(), cosine.size().as_slice()) {
        ([_, time, _, width], [rows, half]) => rows == time && half * 2 == *width,
        ([batch, time, _, width], [sequences, rows, half]) => sequences == batch && rows == time && half * 2 == *width,
        _ => false,
    };
    if !fits || cosine.size() != sine.size() || cosine.kind() != Kind::Float || sine.kind() != Kind::Float {
        return Err(Error::new(format!(
            "rotary tables of shape {:?} and {:?} do not fit x of shape {size:?} [batch, time, heads, size]",
            cosine.size(),
            sine.size()
        )));
    }
    ffi::rotate(x, &cosine.contiguous(), &sine.contiguous(), halves)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{rotate, rotate_halves};
    use crate::autograd::gradients;

    #[test]
    fn a_rotation_keeps_lengths_and_its_gradient_turns_back() {
        tch::manual_seed(3);
        let (batch, time, heads, size) = (2, 5, 3, 8);
        let x = Tensor::randn([batch, time, heads * size], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let angles = Tensor::randn([time, size / 2], (Kind::Float, Device::Cpu));
        let (cosine, sine) = (angles.cos(), angles.sin());
        let view = x.view([batch, time, heads, size]);
        let y = rotate(&view, &cosine, &sine).unwrap();
        let norm = |t: &Tensor| f64::try_from(t.square().sum(Kind::Double)).unwrap();
        assert!((norm(&x) - norm(&y)).abs() < 1e-3);
        let back = gradients(&y, &y.detach(), &[&x]).unwrap().remove(0).unwrap();
        assert!(f64::try_from((back - x.detach()).abs().max()).unwrap() < 1e-5);
    }

    #[test]
    fn strided_input_and_tables_per_sequence_give_the_same_numbers() {
        tch::manual_seed(4);
        let (batch, time, heads, size) = (2, 3, 2, 4);
        let x = Tensor::randn([batch, heads, time, size], (Kind::Float, Device::Cpu)).transpose(1, 2);
        let angles = Tensor::randn([time, size / 2], (Kind::Float, Device::Cpu));
        let expected = rotate(&x.contiguous(), &angles.cos(), &angles.sin()).unwrap();
        let each = angles.unsqueeze(0).expand([batch, time, size / 2], false);
        let close = |found: Tensor| {
            f64::try_from((found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max()).unwrap() < 1e-6
        };
        assert!(close(rotate(&x, &angles.cos(), &angles.sin()).unwrap()));
        assert!(close(rotate(&x, &each.cos(), &each.sin()).unwrap()));
        assert!(close(rotate(&x.to_kind(Kind::Double), &angles.cos(), &angles.sin()).unwrap()));
    }

    #[test]
    fn halves_turn_as_the_same_pairs_put_side_by_side() {
        tch::manual_seed(5);
        let (batch, time, heads, size) = (2, 3, 2, 8);
        let apart = |x: &Tensor| x.view([batch, time, heads, size / 2, 2]).transpose(-1, -2).reshape(x.size());
        let x = Tensor::randn([batch, time, heads, size], (Kind::Float, Device::Cpu));
        let angles = Tensor::randn([time, size / 2], (Kind::Float, Device::Cpu));
        let (cosine, sine) = (angles.cos() * 1.1, angles.sin() * 1.1);
        for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Double, 1e-6), (Kind::BFloat16, 0.02)] {
            let x = x.to_kind(kind);
            let leaf = apart(&x).set_requires_grad(true);
            let y = rotate_halves(&leaf, &cosine, &sine).unwrap();
            let expected = apart(&rotate(&x, &cosine, &sine).unwrap());
            let off = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
            assert!(off(&y, &expected) <= tolerance, "{kind:?}");
            // The rotation back, times the square of the factor.
            let back = gradients(&y, &y.detach(), &[&leaf]).unwrap().remove(0).unwrap();
            assert!(off(&back, &(leaf.detach() * 1.21)) <= 4.0 * tolerance, "{kind:?}");
        }
    }

    #[test]
    fn tables_of_another_length_are_refused() {
        let x = Tensor::zeros([1, 3, 2, 4], (Kind::Float, Device::Cpu));
        let table = Tensor::zeros([4, 2], (Kind::Float, Device::Cpu));
        assert!(rotate(&x, &table, &table).is_err());
    }
}
