//! Values in 8 bits: the dynamic maps of bitsandbytes (Dettmers et al. 2022), 256 values whose steps grow with the value.
//!
//! A block of values is divided by its largest magnitude, and each quotient becomes the code of the nearest value of a map:
//! one for both signs, one for what is never negative. The maps are stored as bits, because the arithmetic they once came
//! from gives other last bits on other processors.

use std::sync::LazyLock;

use tch::{Kind, Tensor};

/// One map between codes and values.
#[derive(Debug)]
pub struct CodeMap {
    values: [f32; 256],
    /// Code `c` is nearest to everything above `thresholds[c - 1]` and up to `thresholds[c]`.
    thresholds: [f64; 255],
    /// For the fused kernel; `CodeMap` of `optimizer_kernels.h` says how it is read.
    bins: Vec<u32>,
}

/// For values of both signs, from -0.993 to 1; code 127 is zero.
pub static SIGNED: LazyLock<CodeMap> = LazyLock::new(|| {
    let mut values = [0.0; 256];
    for (place, bits) in POSITIVE.iter().enumerate() {
        values[128 + place] = f32::from_bits(*bits);
        if place < 127 {
            values[126 - place] = -f32::from_bits(*bits);
        }
    }
    CodeMap::new(values, 127)
});

/// For values from 0 to 1; code 0 is zero.
pub static UNSIGNED: LazyLock<CodeMap> = LazyLock::new(|| CodeMap::new(NEVER_NEGATIVE.map(f32::from_bits), 0));

/// How a quotient becomes a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The nearest value of the map; what is below zero never becomes zero.
    Nearest,
    /// By a table of 65 536 equal bins, bit for bit as bitsandbytes does on the CPU. To compare with it; it loses what is
    /// small beside its block.
    Bins,
}

/// `kKeyShift`, `kBinShift` and `kLeast` of `optimizer_kernels.h`, which says what they mean.
const KEY_SHIFT: u32 = 27;
const BIN_SHIFT: u32 = 19;
const LEAST: f64 = 1.0 / (1 << 24) as f64;

fn key(magnitude: f64) -> u32 {
    (((magnitude.to_bits() - LEAST.to_bits()) >> KEY_SHIFT) as u32) << 1
}

impl CodeMap {
    fn new(values: [f32; 256], zero: usize) -> Self {
        let mut thresholds = [0.0; 255];
        let mut keys = Vec::new();
        for (code, threshold) in thresholds.iter_mut().enumerate() {
            // Exact: neighbours are within a factor of four of one another, or one of them is zero.
            let middle = f64::midpoint(f64::from(values[code]), f64::from(values[code + 1]));
            // A tie goes to the even code, as the binary search of the CUDA kernels ends on one.
            let odd = code % 2 == 1;
            *threshold = if odd { middle.next_down() } else { middle };
            if code >= zero {
                keys.push(key(middle) - u32::from(odd));
            }
        }
        let low = (1 << BIN_SHIFT) - 1;
        let bins = (0..=key(1.0) >> BIN_SHIFT).map(|bin| {
            let place = keys.partition_point(|key| key >> BIN_SHIFT < bin);
            let inside = keys.get(place).filter(|key| **key >> BIN_SHIFT == bin);
            (place as u32) << 24 | inside.map_or(low, |key| key & low)
        });
        Self { values, thresholds, bins: bins.collect() }
    }

    /// The value of each code, ascending.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    pub(super) fn bins(&self) -> &[u32] {
        &self.bins
    }

    /// Values of `codes`, uint8 of any shape.
    pub fn decode(&self, codes: &Tensor) -> Tensor {
        let values = Tensor::from_slice(&self.values).to_device(codes.device());
        values.index_select(0, &codes.flatten(0, -1).to_kind(Kind::Int64)).view_as(codes)
    }

    /// Codes of `quotients` in [-1, 1], fp32 or fp64.
    pub fn encode(&self, quotients: &Tensor, rounding: Rounding) -> Tensor {
        let (found, bounds) = match rounding {
            Rounding::Nearest => (quotients.to_kind(Kind::Double), self.thresholds.to_vec()),
            Rounding::Bins => {
                // Arithmetic in fp32, as there: the bin is part of the result.
                let bin = ((quotients.clamp(-1.0, 1.0) + 1.0) * 0.5 * 65535.0 + 0.5).trunc();
                let bounds = self.first_bins().into_iter().map(|first| f64::from(first) - 0.5);
                (bin.to_kind(Kind::Double), bounds.collect())
            }
        };
        let bounds = Tensor::from_slice(&bounds).to_device(quotients.device());
        found.bucketize(&bounds, false, false).to_kind(Kind::Uint8)
    }

    /// For each code but the first, the first bin among 65 536 over [-1, 1] that it or a greater one has.
    pub fn first_bins(&self) -> Vec<u32> {
        let middle = |pair: &[f32]| f64::midpoint(f64::from(pair[0]), f64::from(pair[1]));
        let first = |middle: f64| {
            let place = |bin: u32| f64::from(-1.0 + 2.0 * (bin as f32 / 65535.0));
            let near = ((middle + 1.0) / 2.0 * 65535.0).floor() as u32;
            (near.saturating_sub(1)..).find(|bin| place(*bin) > middle).unwrap_or(u32::MAX)
        };
        self.values.windows(2).map(|pair| first(middle(pair))).collect()
    }
}

/// The values above zero of [`SIGNED`].
#[rustfmt::skip]
const POSITIVE: [u32; 128] = [
    0x3513a3b7, 0x365a1a94, 0x370205ff, 0x37b24206, 0x38378034, 0x388aefb3, 0x38ba1f4b, 0x3923d70b, 0x398ce705, 0x39c7e283,
    0x3a016f01, 0x3a1eecc1, 0x3a3c6a80, 0x3a59e83e, 0x3a7765ff, 0x3aa7ef9d, 0x3af1a9fc, 0x3b1db22d, 0x3b428f5c, 0x3b676c8a,
    0x3b8624dd, 0x3b989374, 0x3bab020d, 0x3bbd70a4, 0x3bcfdf3b, 0x3be24dd3, 0x3bf4bc6a, 0x3c039581, 0x3c0ccccd, 0x3c160418,
    0x3c1f3b64, 0x3c3ae148, 0x3c68f5c3, 0x3c8b851f, 0x3ca28f5d, 0x3cb9999a, 0x3cd0a3d7, 0x3ce7ae15, 0x3cfeb852, 0x3d0ae148,
    0x3d166667, 0x3d21eb85, 0x3d2d70a3, 0x3d38f5c3, 0x3d447ae1, 0x3d500000, 0x3d5b851f, 0x3d670a3d, 0x3d728f5d, 0x3d7e147b,
    0x3d84cccd, 0x3d8a8f5d, 0x3d9051eb, 0x3d96147b, 0x3d9bd70a, 0x3da1999a, 0x3da75c2a, 0x3dad1eb8, 0x3db2e148, 0x3db8a3d7,
    0x3dbe6667, 0x3dc428f7, 0x3dc9eb85, 0x3ddb3334, 0x3df80000, 0x3e0a6666, 0x3e18cccd, 0x3e273333, 0x3e35999a, 0x3e440000,
    0x3e526666, 0x3e60cccd, 0x3e6f3333, 0x3e7d9999, 0x3e860000, 0x3e8d3334, 0x3e946666, 0x3e9b999a, 0x3ea2cccc, 0x3eaa0000,
    0x3eb13333, 0x3eb86666, 0x3ebf999a, 0x3ec6cccc, 0x3ece0000, 0x3ed53333, 0x3edc6666, 0x3ee3999a, 0x3eeacccc, 0x3ef20000,
    0x3ef93332, 0x3f003333, 0x3f03cccc, 0x3f076666, 0x3f0b0000, 0x3f0e999a, 0x3f123334, 0x3f15cccd, 0x3f196666, 0x3f1d0000,
    0x3f20999a, 0x3f243334, 0x3f27cccd, 0x3f2b6666, 0x3f2f0000, 0x3f32999a, 0x3f363334, 0x3f39cccd, 0x3f3d6666, 0x3f410000,
    0x3f44999a, 0x3f483333, 0x3f4bcccd, 0x3f4f6666, 0x3f530000, 0x3f56999a, 0x3f5a3333, 0x3f5dcccd, 0x3f616666, 0x3f650000,
    0x3f68999a, 0x3f6c3333, 0x3f6fcccd, 0x3f736666, 0x3f770000, 0x3f7a999a, 0x3f7e3333, 0x3f800000,
];

/// [`UNSIGNED`].
#[rustfmt::skip]
const NEVER_NEGATIVE: [u32; 256] = [
    0x00000000, 0x34ae7baa, 0x35500998, 0x360e9b38, 0x3692ccf6, 0x36de4c51, 0x3714e5d5, 0x3783126e, 0x37e171a0, 0x381fe868,
    0x384f1800, 0x387e479a, 0x3896bb99, 0x38ae5364, 0x38c5eb31, 0x3906594b, 0x394154ca, 0x397c5049, 0x399ba5e4, 0x39b923a2,
    0x39d6a163, 0x39f41f22, 0x3a08ce71, 0x3a178d50, 0x3a264c30, 0x3a350b10, 0x3a43c9ef, 0x3a5288d0, 0x3a6147af, 0x3a70068e,
    0x3a7ec56e, 0x3a958106, 0x3aba5e35, 0x3adf3b64, 0x3b020c4a, 0x3b147ae1, 0x3b26e978, 0x3b395810, 0x3b4bc6a7, 0x3b5e3540,
    0x3b70a3d7, 0x3b818937, 0x3b8ac082, 0x3b93f7cf, 0x3b9d2f1a, 0x3ba66666, 0x3baf9db2, 0x3bb8d4fd, 0x3bc20c4a, 0x3bcb4395,
    0x3bd47ae1, 0x3bddb22e, 0x3be6e978, 0x3bf020c5, 0x3bf9580f, 0x3c0147ae, 0x3c05e354, 0x3c0a7ef9, 0x3c0f1aa0, 0x3c13b645,
    0x3c1851eb, 0x3c1ced92, 0x3c218937, 0x3c2f5c2a, 0x3c466667, 0x3c5d70a3, 0x3c747ae2, 0x3c85c28f, 0x3c9147af, 0x3c9ccccd,
    0x3ca851eb, 0x3cb3d70b, 0x3cbf5c29, 0x3ccae147, 0x3cd66667, 0x3ce1eb87, 0x3ced70a3, 0x3cf8f5c3, 0x3d023d70, 0x3d080000,
    0x3d0dc28f, 0x3d13851f, 0x3d1947af, 0x3d1f0a3d, 0x3d24cccd, 0x3d2a8f5c, 0x3d3051eb, 0x3d36147b, 0x3d3bd70a, 0x3d41999a,
    0x3d475c28, 0x3d4d1eb8, 0x3d52e147, 0x3d58a3d7, 0x3d5e6667, 0x3d6428f7, 0x3d69eb87, 0x3d6fae15, 0x3d7570a3, 0x3d7b3333,
    0x3d807ae2, 0x3d835c2a, 0x3d863d71, 0x3d891eb8, 0x3d8c0000, 0x3d8ee148, 0x3d91c290, 0x3d94a3d7, 0x3d97851f, 0x3d9a6667,
    0x3d9d47af, 0x3da028f6, 0x3da30a3e, 0x3da5eb85, 0x3da8cccd, 0x3dabae15, 0x3dae8f5c, 0x3db170a4, 0x3db451eb, 0x3db73333,
    0x3dba147b, 0x3dbcf5c3, 0x3dbfd70b, 0x3dc2b852, 0x3dc5999a, 0x3dc87ae2, 0x3dcb5c29, 0x3dd40000, 0x3de26666, 0x3df0cccd,
    0x3dff3333, 0x3e06cccc, 0x3e0e0000, 0x3e153334, 0x3e1c6666, 0x3e23999a, 0x3e2acccc, 0x3e320000, 0x3e393334, 0x3e406666,
    0x3e47999a, 0x3e4ecccc, 0x3e560000, 0x3e5d3334, 0x3e646666, 0x3e6b999a, 0x3e72cccc, 0x3e7a0000, 0x3e809999, 0x3e843333,
    0x3e87cccd, 0x3e8b6666, 0x3e8f0000, 0x3e92999a, 0x3e963333, 0x3e99cccc, 0x3e9d6666, 0x3ea10000, 0x3ea4999a, 0x3ea83333,
    0x3eabcccc, 0x3eaf6666, 0x3eb30000, 0x3eb6999a, 0x3eba3333, 0x3ebdcccc, 0x3ec16666, 0x3ec50000, 0x3ec8999a, 0x3ecc3333,
    0x3ecfcccc, 0x3ed36666, 0x3ed70000, 0x3eda999a, 0x3ede3333, 0x3ee1cccc, 0x3ee56666, 0x3ee90000, 0x3eec999a, 0x3ef03333,
    0x3ef3cccc, 0x3ef76666, 0x3efb0000, 0x3efe9999, 0x3f01199a, 0x3f02e666, 0x3f04b333, 0x3f068000, 0x3f084ccc, 0x3f0a199a,
    0x3f0be666, 0x3f0db334, 0x3f0f8000, 0x3f114ccd, 0x3f13199a, 0x3f14e666, 0x3f16b334, 0x3f188000, 0x3f1a4ccd, 0x3f1c199a,
    0x3f1de666, 0x3f1fb334, 0x3f218000, 0x3f234ccd, 0x3f25199a, 0x3f26e666, 0x3f28b334, 0x3f2a8000, 0x3f2c4ccd, 0x3f2e199a,
    0x3f2fe666, 0x3f31b334, 0x3f338000, 0x3f354ccd, 0x3f37199a, 0x3f38e666, 0x3f3ab334, 0x3f3c8000, 0x3f3e4ccd, 0x3f40199a,
    0x3f41e666, 0x3f43b334, 0x3f458000, 0x3f474ccc, 0x3f49199a, 0x3f4ae666, 0x3f4cb334, 0x3f4e8000, 0x3f504ccc, 0x3f52199a,
    0x3f53e666, 0x3f55b334, 0x3f578000, 0x3f594ccc, 0x3f5b199a, 0x3f5ce666, 0x3f5eb334, 0x3f608000, 0x3f624ccc, 0x3f64199a,
    0x3f65e666, 0x3f67b334, 0x3f698000, 0x3f6b4ccc, 0x3f6d199a, 0x3f6ee666, 0x3f70b334, 0x3f728000, 0x3f744ccc, 0x3f76199a,
    0x3f77e666, 0x3f79b334, 0x3f7b8000, 0x3f7d4ccc, 0x3f7f199a, 0x3f800000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_one_threshold_at_most() {
        for (map, zero) in [(&*SIGNED, 127), (&*UNSIGNED, 0)] {
            assert!(map.values.is_sorted());
            assert!(map.thresholds[zero] > LEAST);
            // From one bin to the next, the place grows by what is inside.
            for pair in map.bins.windows(2) {
                let inside = pair[0] & ((1 << BIN_SHIFT) - 1) != (1 << BIN_SHIFT) - 1;
                let growth = (pair[1] >> 24) - (pair[0] >> 24);
                assert!(growth == 1 || growth == 0 && !inside, "{pair:?}");
            }
            assert_eq!(map.bins.last().unwrap() >> 24, 255 - zero as u32);
        }
    }

    #[test]
    fn every_value_is_its_own_nearest() {
        for map in [&*SIGNED, &*UNSIGNED] {
            let codes = map.encode(&Tensor::from_slice(&map.values), Rounding::Nearest);
            assert_eq!(codes, Tensor::arange(256, (Kind::Uint8, tch::Device::Cpu)));
            assert_eq!(map.decode(&codes), Tensor::from_slice(&map.values));
        }
    }
}
