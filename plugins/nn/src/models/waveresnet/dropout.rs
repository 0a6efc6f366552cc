//! Dropout by counter: whether a value is dropped follows from the key and the value's index, so that a block that is
//! computed again drops the same values, and nothing about a generator has to be saved.

use tch::{Kind, Tensor};

/// Drops a share `rate` of x and scales the rest up; x itself without a key.
pub fn dropout(x: Tensor, rate: f64, key: Option<u64>, place: u64) -> Tensor {
    let Some(key) = key.filter(|_| rate > 0.0) else { return x };
    let kept = keep_mask(&x, rate, mix(key ^ mix(place))).to_kind(x.kind());
    x * kept * (1.0 / (1.0 - rate))
}

/// True where the value stays.
fn keep_mask(x: &Tensor, rate: f64, key: u64) -> Tensor {
    let count = x.numel() as i64;
    let index = Tensor::arange(count, (Kind::Int64, x.device())).view(x.size().as_slice());
    // A round of multiply and xor-shift over 62-bit integers spreads the index over the high bits.
    let mut hash = index * 0x2545_F491_4F6C_DD1D_i64 + (key & (i64::MAX as u64)) as i64;
    hash = hash.bitwise_xor_tensor(&hash.bitwise_right_shift_tensor_scalar(29));
    hash *= 0x2127_599B_F432_5C37_i64;
    let high = hash.bitwise_and(0x7FFF_FFFF_0000_0000_i64).to_kind(Kind::Double) / (1_u64 << 63) as f64;
    high.ge(rate)
}

/// SplitMix64's finaliser.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn the_key_decides_and_the_share_is_right() {
        let x = Tensor::ones([200, 500], (Kind::Float, Device::Cpu));
        let dropped = |key, place| dropout(x.shallow_clone(), 0.25, Some(key), place);
        assert!(dropped(1, 2).equal(&dropped(1, 2)));
        assert!(!dropped(1, 2).equal(&dropped(1, 3)));
        assert!(!dropped(1, 2).equal(&dropped(2, 2)));
        let zeros = f64::try_from(dropped(9, 9).eq(0.0).to_kind(Kind::Double).mean(Kind::Double)).unwrap();
        assert!((zeros - 0.25).abs() < 0.01, "{zeros}");
        // Neighbours are dropped independently: no row or column keeps all or nothing.
        let by_row = dropped(9, 9).eq(0.0).to_kind(Kind::Double).mean_dim([1_i64].as_slice(), false, Kind::Double);
        assert!(f64::try_from(by_row.max()).unwrap() < 0.35 && f64::try_from(by_row.min()).unwrap() > 0.15);
        assert!((f64::try_from(dropped(9, 9).mean(Kind::Double)).unwrap() - 1.0).abs() < 0.02);
        assert!(dropout(x.shallow_clone(), 0.25, None, 2).equal(&x));
    }
}
