//! Stochastic rounding of fp32 to bf16: up with the probability of what is cut off, so that the mean is kept and moves far
//! below a bf16's last place still add up.
//!
//! The random bits of an element follow from a key and the element's number in its parameter. Who holds the element, and
//! with how many threads, changes nothing.

use psann_core::{Error, Result};
use tch::{Kind, Tensor};

use super::{ffi, is_plain};

/// Rounds `value` (fp32) into `into` (bf16, same shape). `first_element` is the number of the first element within the
/// flattened parameter; take another `key` for every step and parameter. A finite number stays finite.
pub fn round(value: &Tensor, into: &mut Tensor, key: u64, first_element: i64) -> Result<()> {
    if value.size() != into.size() || value.kind() != Kind::Float || into.kind() != Kind::BFloat16 {
        return Err(Error::new(format!(
            "stochastic rounding of {:?} {:?} into {:?} {:?}: fp32 into bf16 of the same shape is what it can",
            value.kind(),
            value.size(),
            into.kind(),
            into.size()
        )));
    }
    if is_plain(value, Kind::Float) && is_plain(into, Kind::BFloat16) {
        return ffi::round_stochastic(value, into, key, first_element);
    }
    let rounded = composed(value, key, first_element);
    into.copy_(&rounded);
    Ok(())
}

/// The kernel's arithmetic on int64, whose products wrap without harm to the low 32 bits.
fn composed(value: &Tensor, key: u64, first_element: i64) -> Tensor {
    const WORD: i64 = 0xffff_ffff;
    const EXPONENT: i64 = 0x7f80_0000;
    let mixed = |x: Tensor| {
        let x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(16));
        let x = (x * 0x7feb_352d_i64).bitwise_and(WORD);
        let x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(15));
        let x = (x * 0x846c_a68b_i64).bitwise_and(WORD);
        x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(16))
    };
    let (inner, outer) = ((key & 0xffff_ffff) as i64, (key >> 32) as i64);
    let elements = Tensor::arange(value.numel() as i64, (Kind::Int64, value.device())) + first_element;
    let low = mixed(elements.bitwise_and(WORD).bitwise_xor(inner));
    let high = mixed(elements.bitwise_right_shift_tensor_scalar(32).bitwise_and(WORD)).bitwise_xor(outer);
    let random = mixed(low.bitwise_xor_tensor(&high)).bitwise_right_shift_tensor_scalar(16);

    let bits = value.flatten(0, -1).view_dtype(Kind::Int).to_kind(Kind::Int64).bitwise_and(WORD);
    let up = &bits + random;
    let overflows = up.bitwise_and(EXPONENT).eq(EXPONENT);
    let least = bits.where_self(&overflows, &up);
    let magnitude = bits.bitwise_and(0x7fff_ffff);
    let finite = least.where_self(&magnitude.lt(EXPONENT), &bits);
    let quiet = bits.bitwise_or_tensor(&bits.full_like(0x0040_0000_i64 as f64));
    let result = quiet.where_self(&magnitude.gt(EXPONENT), &finite).bitwise_right_shift_tensor_scalar(16);
    // int64 to int16 keeps the low bits.
    result.to_kind(Kind::Int16).view_dtype(Kind::BFloat16).view_as(value)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn rounded(value: &Tensor, key: u64, first: i64) -> Tensor {
        let mut into = value.to_kind(Kind::BFloat16);
        round(value, &mut into, key, first).unwrap();
        into
    }

    #[test]
    fn means_are_kept() {
        // A quarter and nine tenths of the way between neighbours of 1, and far below half a step.
        for part in [0.25, 0.9, 0.002] {
            let step = 2.0_f64.powi(-7);
            let value = Tensor::full([1_000_000], 1.0 + part * step, (Kind::Float, Device::Cpu));
            let mean = ((rounded(&value, 7, 0).to_kind(Kind::Double) - 1.0) / step).mean(Kind::Double);
            let deviation = (part * (1.0 - part) / 1e6_f64).sqrt();
            assert!((mean.double_value(&[]) - part).abs() < 5.0 * deviation, "{part}: {}", mean.double_value(&[]));
        }
    }

    #[test]
    fn keys_and_elements_are_independent_of_one_another() {
        let half = Tensor::full([1 << 16], 1.0 + 2.0_f64.powi(-8), (Kind::Float, Device::Cpu));
        let ups = |key: u64, first: i64| rounded(&half, key, first).gt(1.0).to_kind(Kind::Double) * 2.0 - 1.0;
        let agreement = |a: &Tensor, b: &Tensor| (a * b).mean(Kind::Double).double_value(&[]);
        let base = ups(1, 0);
        // Keys next to each other, in either half, and neighbours 1, 2 and 2^32 elements away.
        for other in [ups(2, 0), ups(1 | 1 << 32, 0), ups(1, 1), ups(1, 2), ups(1, 1 << 32)] {
            assert!(agreement(&base, &other).abs() < 5.0 / 256.0);
        }
    }

    #[test]
    fn splits_and_threads_change_nothing() {
        tch::manual_seed(5);
        let value = Tensor::randn([100_000], (Kind::Float, Device::Cpu));
        // The upper half of the element number changes within the tensor.
        let first = (1_i64 << 32) - 50_000;
        let whole = rounded(&value, 9, first);
        assert_eq!(whole, composed(&value, 9, first));
        let mut parts = Vec::new();
        for (begin, length) in [(0, 1), (1, 49_999), (50_000, 50_000)] {
            parts.push(rounded(&value.narrow(0, begin, length), 9, first + begin));
        }
        assert_eq!(Tensor::cat(&parts, 0), whole);
        let threads = crate::threads::get();
        crate::threads::set(3);
        assert_eq!(rounded(&value, 9, first), whole);
        crate::threads::set(threads);
        assert_ne!(rounded(&value, 10, first), whole);
    }

    #[test]
    fn numbers_that_are_none_stay_so_and_finite_ones_stay_finite() {
        let odd =
            [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)];
        let value = Tensor::from_slice(&odd.repeat(1000));
        for found in [rounded(&value, 3, 0), composed(&value, 3, 0)] {
            let found: Vec<f32> = Vec::try_from(found.to_kind(Kind::Float)).unwrap();
            for (found, given) in found.iter().zip(odd.iter().cycle()) {
                assert!(found == given || found.is_nan() && given.is_nan(), "{given} became {found}");
            }
        }
        let most = Tensor::full([1000], f64::from(f32::MAX), (Kind::Float, Device::Cpu));
        assert_eq!(rounded(&most, 3, 0).isinf().any(), Tensor::from(false));
        let exact = Tensor::from_slice(&[0.0_f32, -0.0, 1.0, -2.5].repeat(100));
        assert_eq!(rounded(&exact, 3, 0).to_kind(Kind::Float), exact);
    }

    #[test]
    fn other_kinds_and_shapes_are_refused() {
        let value = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        assert!(round(&value, &mut value.copy(), 0, 0).is_err());
        assert!(round(&value, &mut Tensor::zeros([3], (Kind::BFloat16, Device::Cpu)), 0, 0).is_err());
    }
}
