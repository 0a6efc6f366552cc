//! Values in 8 bits: the dynamic maps of bitsandbytes (Dettmers et al. 2022), 256 values whose steps grow with the value.
//!
//! A block of values is divided by its largest magnitude, and each quotient becomes the code of the nearest value of a map:
//! one for both signs, one for what is never negative. The maps are stored as bits, because the arithmetic they once came
//! from gives other last bits on other processors.

use std::sync::LazyLock;

use tch::{Kind, Tensor};

use super::maps::{NEVER_NEGATIVE, POSITIVE};

/// One map between codes and values.
#[derive(Debug)]
pub struct CodeMap {
    values: [f32; 256],
    /// Code `c` is nearest to everything above `thresholds[c - 1]` and up to `thresholds[c]`.
    thresholds: [f64; 255],
    /// For the fused kernel; `CodeMap` of `optimizer_kernels.h` says how these are read.
    wide: [f64; 256],
    bins: Vec<u32>,
    midpoints: Vec<f64>,
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
    CodeMap::new(&values, 127)
});

/// For values from 0 to 1; code 0 is zero.
pub static UNSIGNED: LazyLock<CodeMap> = LazyLock::new(|| CodeMap::new(&NEVER_NEGATIVE.map(f32::from_bits), 0));

/// How a quotient becomes a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The nearest value of the map; what is below zero never becomes zero.
    Nearest,
    /// By a table of 65 536 equal bins, bit for bit as bitsandbytes does on the CPU. To compare with it; it loses what is
    /// small beside its block.
    Bins,
}

/// `kBinShift` of `optimizer_kernels.h`, and its least and greatest bins.
const BIN_SHIFT: u32 = 16;
const BINS: std::ops::RangeInclusive<u32> = (127 - 24) << 7..=127 << 7;
const LOW: u32 = (1 << BIN_SHIFT) - 1;

impl CodeMap {
    fn new(values: &[f32; 256], zero: usize) -> Self {
        let mut thresholds = [0.0; 255];
        for (code, threshold) in thresholds.iter_mut().enumerate() {
            // Exact: neighbours are within a factor of four of one another, or one of them is zero.
            let middle = f64::midpoint(f64::from(values[code]), f64::from(values[code + 1]));
            // A tie goes to the even code, as the binary search of the CUDA kernels ends on one.
            *threshold = if code % 2 == 1 { middle.next_down() } else { middle };
        }
        let mut midpoints = thresholds[zero..].to_vec();
        // The last value has no next one.
        midpoints.push(f64::INFINITY);
        let marks: Vec<u32> = thresholds[zero..].iter().map(|threshold| mark(*threshold)).collect();
        let bins = BINS.map(|bin| {
            let place = marks.partition_point(|mark| mark >> BIN_SHIFT < bin);
            let inside = marks.get(place).filter(|mark| **mark >> BIN_SHIFT == bin);
            (place as u32) << 24 | inside.map_or(LOW, |mark| mark & LOW)
        });
        Self { values: *values, thresholds, wide: values.map(f64::from), bins: bins.collect(), midpoints }
    }

    /// The value of each code, ascending.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    pub(super) fn wide(&self) -> &[f64; 256] {
        &self.wide
    }

    pub(super) fn bins(&self) -> &[u32] {
        &self.bins
    }

    /// One more than there are places from zero on.
    pub(super) fn midpoints(&self) -> &[f64] {
        &self.midpoints
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
            let near = (f64::midpoint(middle, 1.0) * 65535.0) as u32;
            (near.saturating_sub(1)..65536).find(|bin| place(*bin) > middle).unwrap_or(65536)
        };
        self.values.windows(2).map(|pair| first(middle(pair))).collect()
    }
}

/// Bits of the greatest fp32 up to `threshold`; of the next one when that is the last of its bin, so that both neighbours
/// of the threshold are looked at twice.
fn mark(threshold: f64) -> u32 {
    let near = threshold as f32;
    let below = if f64::from(near) > threshold { near.next_down() } else { near };
    let bits = below.to_bits();
    if bits & LOW == LOW { bits + 1 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_one_threshold_at_most() {
        for (map, zero) in [(&*SIGNED, 127), (&*UNSIGNED, 0)] {
            assert!(map.values.is_sorted());
            assert!(map.thresholds[zero] > f64::from(f32::from_bits(*BINS.start() << BIN_SHIFT)));
            // From one bin to the next, the place grows by what is inside.
            for pair in map.bins.windows(2) {
                assert_eq!((pair[1] >> 24) - (pair[0] >> 24), u32::from(pair[0] & LOW != LOW), "{pair:?}");
            }
            assert_eq!(map.bins.last().unwrap() >> 24, 255 - zero as u32);
            assert_eq!(map.midpoints.len(), 256 - zero);
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
