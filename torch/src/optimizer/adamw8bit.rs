//! AdamW whose moments are kept in 8 bits (Dettmers et al. 2022): a code per element, a scale per block of 256 elements of
//! the flattened shard.

use psann_core::optimizer::BLOCK;
use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use super::codes::{CodeMap, Rounding, SIGNED, UNSIGNED};
use super::{AdamW, ffi, is_plain};

/// When decoupled weight decay shrinks a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Before the move, as AdamW is defined.
    Before,
    /// After the move, as the CUDA kernels of bitsandbytes do.
    After,
}

/// One moment.
#[derive(Debug)]
pub struct Blocks {
    /// uint8 of the shard's shape.
    pub codes: Tensor,
    /// Largest magnitude of each block, fp32.
    pub scales: Tensor,
}

/// Both moments of one shard.
#[derive(Debug)]
pub struct Moments8bit {
    /// Running mean of the gradient.
    pub first: Blocks,
    /// Running mean of its square.
    pub second: Blocks,
}

impl Moments8bit {
    /// Zero moments for `value`.
    pub fn zeros(value: &Tensor) -> Self {
        let blocks = |zero: i64| Blocks {
            codes: Tensor::full(value.size(), zero, (Kind::Uint8, value.device())),
            scales: Tensor::zeros([blocks_of(value)], (Kind::Float, value.device())),
        };
        Self { first: blocks(127), second: blocks(0) }
    }

    /// Whether these are moments of something of the shape of `value`.
    pub fn fits(&self, value: &Tensor) -> bool {
        [&self.first, &self.second].iter().all(|blocks| {
            blocks.codes.size() == value.size()
                && blocks.codes.kind() == Kind::Uint8
                && blocks.scales.size() == [blocks_of(value)]
                && blocks.scales.kind() == Kind::Float
        })
    }
}

fn blocks_of(value: &Tensor) -> i64 {
    (value.numel() as i64 + BLOCK - 1) / BLOCK
}

/// Moves `value` and its moments in place. The move uses the moments before they are rounded. An element whose gradient, or
/// the gradient's square, is no finite number stays where it is and loses its moments.
pub fn adamw8bit_step(
    value: &mut Tensor,
    gradient: &Tensor,
    moments: &mut Moments8bit,
    settings: AdamW,
    decay: Decay,
    rounding: Rounding,
) -> Result<()> {
    if gradient.size() != value.size() || !moments.fits(value) {
        return Err(Error::new(format!(
            "8-bit AdamW of a value {:?} got a gradient {:?} and moments {:?}",
            value.size(),
            gradient.size(),
            moments.first.codes.size()
        )));
    }
    let plain = is_plain(value, Kind::Float)
        && is_plain(gradient, Kind::Float)
        && [&moments.first, &moments.second]
            .iter()
            .all(|blocks| is_plain(&blocks.codes, Kind::Uint8) && is_plain(&blocks.scales, Kind::Float));
    if plain && rounding == Rounding::Nearest {
        return ffi::adamw8bit(value, gradient, &mut moments.first, &mut moments.second, &settings, decay);
    }
    composed_step(value, gradient, moments, settings, decay, rounding);
    Ok(())
}

fn composed_step(
    value: &mut Tensor,
    gradient: &Tensor,
    moments: &mut Moments8bit,
    settings: AdamW,
    decay: Decay,
    rounding: Rounding,
) {
    let s = settings;
    let correction1 = 1.0 - s.beta1.powi(s.step as i32);
    let root = (1.0 - s.beta2.powi(s.step as i32)).sqrt();
    // The kernel keeps moments in fp64 between roundings to codes; bitsandbytes does not.
    let kind = if rounding == Rounding::Nearest { Kind::Double } else { Kind::Float };
    let g = gradient.to_kind(kind) * s.gradient_scale;
    let first = decode(&SIGNED, &moments.first, kind) * s.beta1 + &g * (1.0 - s.beta1);
    let second = decode(&UNSIGNED, &moments.second, kind) * s.beta2 + &g * (1.0 - s.beta2) * &g;
    let sound = second.le(f64::from(f32::MAX));
    let none = second.zeros_like();
    let first = first.where_self(&sound, &none);
    let second = second.where_self(&sound, &none);
    let step = &first / (second.sqrt() / root + s.eps) * (s.lr / correction1);
    let keep = 1.0 - s.lr * s.weight_decay;
    let moved = match decay {
        Decay::Before => &*value * keep - step,
        Decay::After => (&*value - step) * keep,
    };
    let moved = moved.where_self(&sound, &value.to_kind(kind));
    value.copy_(&moved);
    encode(&SIGNED, &first, &mut moments.first, rounding);
    encode(&UNSIGNED, &second, &mut moments.second, rounding);
}

/// The elements of `x` in rows of a block each, the last filled up with zeros.
fn in_blocks(x: &Tensor) -> Tensor {
    let missing = blocks_of(x) * BLOCK - x.numel() as i64;
    x.flatten(0, -1).constant_pad_nd([0, missing]).view([-1, BLOCK])
}

fn out_of_blocks(blocks: &Tensor, like: &Tensor) -> Tensor {
    blocks.flatten(0, -1).narrow(0, 0, like.numel() as i64).view_as(like)
}

fn decode(map: &CodeMap, blocks: &Blocks, kind: Kind) -> Tensor {
    let values = in_blocks(&map.decode(&blocks.codes)).to_kind(kind) * blocks.scales.unsqueeze(-1).to_kind(kind);
    out_of_blocks(&values, &blocks.codes)
}

fn encode(map: &CodeMap, x: &Tensor, blocks: &mut Blocks, rounding: Rounding) {
    let rows = in_blocks(x);
    let scales = rows.abs().amax([1].as_slice(), false);
    let divisors = scales.where_self(&scales.gt(0.0), &scales.ones_like()).unsqueeze(-1);
    let quotients = &rows * divisors.reciprocal();
    let codes = out_of_blocks(&map.encode(&quotients, rounding), x);
    let codes = match rounding {
        // What is below zero never becomes zero, code 127 of the map of both signs.
        Rounding::Nearest if map.values()[0] < 0.0 => {
            let lost = x.signbit().logical_and(&codes.eq(127));
            codes - lost.to_kind(Kind::Uint8)
        }
        Rounding::Bins => codes * out_of_blocks(&scales.gt(0.0).unsqueeze(-1).expand_as(&rows), x),
        Rounding::Nearest => codes,
    };
    blocks.codes.copy_(&codes);
    blocks.scales.copy_(&scales);
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn settings(step: i64) -> AdamW {
        AdamW { lr: 0.003, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, gradient_scale: 0.5, step }
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
    }

    #[test]
    fn the_fused_kernel_follows_the_composed_formula() {
        tch::manual_seed(3);
        for elements in [1_i64, 255, 256, 257, 5000] {
            for decay in [Decay::Before, Decay::After] {
                let draw = || Tensor::randn([elements], (Kind::Float, Device::Cpu));
                let (mut value, mut moments) = (draw(), Moments8bit::zeros(&draw()));
                for step in 1..=6 {
                    let gradient = draw() * Tensor::randn([elements], (Kind::Float, Device::Cpu)).exp();
                    let mut expected = value.copy();
                    let copy = |blocks: &Blocks| Blocks { codes: blocks.codes.copy(), scales: blocks.scales.copy() };
                    let mut theirs = Moments8bit { first: copy(&moments.first), second: copy(&moments.second) };
                    composed_step(&mut expected, &gradient, &mut theirs, settings(step), decay, Rounding::Nearest);
                    let s = settings(step);
                    adamw8bit_step(&mut value, &gradient, &mut moments, s, decay, Rounding::Nearest).unwrap();
                    assert!(distance(&value, &expected) < 1e-6);
                    for (ours, theirs) in [(&moments.first, &theirs.first), (&moments.second, &theirs.second)] {
                        assert!(distance(&(&ours.scales / &theirs.scales), &ours.scales.ones_like()) < 1e-6);
                        // Fused multiplication and addition moves a value across a threshold now and then.
                        let differing = ours.codes.ne_tensor(&theirs.codes).sum(Kind::Int64).int64_value(&[]);
                        assert!(differing * 500 <= elements, "{differing} of {elements} at step {step}");
                        assert!(distance(&ours.codes, &theirs.codes) <= 1.0);
                    }
                }
            }
        }
    }

    #[test]
    fn codes_of_the_kernel_are_those_of_the_nearest_values() {
        // Without momentum the first moment is the gradient itself, with a block's largest magnitude as its scale.
        let mut quotients = vec![1.0_f32];
        for map in [&*SIGNED, &*UNSIGNED] {
            for pair in map.values().windows(2) {
                let middle = f32::midpoint(pair[0], pair[1]);
                quotients.extend([pair[0], middle.next_down(), middle, middle.next_up()]);
            }
        }
        quotients.extend([-1.0, 0.0, -0.0, 1e-9, -1e-9, 5e-8, -2.7e-7, f32::MIN_POSITIVE]);
        for chunk in quotients.chunks(255) {
            let gradient = Tensor::from_slice(&[&[1.0], chunk].concat());
            let (mut value, mut moments) = (gradient.zeros_like(), Moments8bit::zeros(&gradient));
            let s = AdamW { beta1: 0.0, beta2: 0.0, gradient_scale: 1.0, ..settings(1) };
            adamw8bit_step(&mut value, &gradient, &mut moments, s, Decay::Before, Rounding::Nearest).unwrap();
            let nearest = SIGNED.encode(&gradient, Rounding::Nearest);
            let lost = gradient.signbit().logical_and(&nearest.eq(127)).to_kind(Kind::Uint8);
            // -0 + 0 is +0 in the moment.
            let lost = lost * gradient.ne(0.0);
            assert_eq!(moments.first.codes, nearest - lost);
            assert_eq!(moments.second.codes, UNSIGNED.encode(&gradient.square(), Rounding::Nearest));
        }
    }

    #[test]
    fn elements_without_a_finite_gradient_stay_and_the_others_move() {
        let gradient = Tensor::from_slice(&[1.0_f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -2.0]);
        for rounding in [Rounding::Nearest, Rounding::Bins] {
            let mut value = gradient.ones_like();
            let mut moments = Moments8bit::zeros(&value);
            let s = AdamW { gradient_scale: 1.0, ..settings(1) };
            adamw8bit_step(&mut value, &gradient, &mut moments, s, Decay::Before, rounding).unwrap();
            let moved: Vec<bool> = Vec::try_from(value.ne(1.0)).unwrap();
            assert_eq!(moved, [true, false, false, false, false, true]);
            assert_eq!(moments.first.codes.narrow(0, 1, 4).ne(127).any(), Tensor::from(rounding == Rounding::Bins));
            assert_eq!(moments.first.scales.double_value(&[0]) as f32, 0.2);
        }
    }

    #[test]
    fn scales_that_no_step_can_leave_do_no_harm() {
        for scale in [f64::NAN, f64::INFINITY, -1e30] {
            let mut value = Tensor::ones([300], (Kind::Float, Device::Cpu));
            let gradient = value.copy();
            let mut moments = Moments8bit::zeros(&value);
            let _ = moments.first.codes.fill_(3);
            let _ = moments.second.codes.fill_(255);
            let _ = moments.first.scales.fill_(scale);
            let _ = moments.second.scales.fill_(scale);
            for step in 1..=3 {
                let s = settings(step);
                adamw8bit_step(&mut value, &gradient, &mut moments, s, Decay::Before, Rounding::Nearest).unwrap();
            }
        }
    }

    #[test]
    fn moments_of_another_shape_are_refused() {
        let mut value = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let mut moments = Moments8bit::zeros(&value.view([2, 2]));
        let gradient = value.copy();
        let refused =
            adamw8bit_step(&mut value, &gradient, &mut moments, settings(1), Decay::Before, Rounding::Nearest);
        assert!(refused.is_err());
    }
}
