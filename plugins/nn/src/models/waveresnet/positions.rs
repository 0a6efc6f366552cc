//! Position tables. All are computed in fp32 from first principles and shared by the layers of a pass.

use tch::{Device, Kind, Tensor};

/// Positions 0, 1, … of ids: int64 `[time]`; with document numbers `[batch, time]`, positions that restart at each
/// document: `[batch, time]`.
pub fn positions(time: i64, documents: Option<&Tensor>, device: Device) -> Tensor {
    let plain = Tensor::arange(time, (Kind::Int64, device));
    let Some(documents) = documents else { return plain };
    // The start of a document is where its number changes; the running maximum of starts is the document's own.
    let changes = documents.narrow(1, 1, time - 1).not_equal_tensor(&documents.narrow(1, 0, time - 1));
    let first = changes.zeros_like().narrow(1, 0, 1.min(time));
    let changes = if time > 1 { Tensor::cat(&[first, changes], 1) } else { documents.zeros_like().to_kind(Kind::Bool) };
    let starts = (plain.unsqueeze(0) * changes.to_kind(Kind::Int64)).cummax(1).0;
    plain.unsqueeze(0) - starts
}

/// Cosines and sines `[.., size / 2]` of rotary positions `[..]`.
pub fn rotary(positions: &Tensor, size: i64, theta: f64) -> (Tensor, Tensor) {
    let half = size / 2;
    let exponents = Tensor::arange(half, (Kind::Float, positions.device())) / half as f64;
    let frequencies = Tensor::full_like(&exponents, theta).pow(&exponents).reciprocal();
    let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * frequencies;
    (angles.cos(), angles.sin())
}

/// The fixed table `[.., width]` of positions `[..]`: sines at even features, cosines at odd ones.
pub fn sinusoidal(positions: &Tensor, width: i64) -> Tensor {
    let exponents = Tensor::arange_start_step(0, width, 2, (Kind::Float, positions.device()));
    let frequencies = (exponents * (-(10_000.0_f64).ln() / width as f64)).exp();
    let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * frequencies;
    let mut shape = angles.size();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    Tensor::stack(&[angles.sin(), angles.cos()], -1).reshape(shape)
}

/// Slopes of the ALiBi bias, one per head: fp32 `[heads]`.
pub fn alibi_slopes(heads: i64, device: Device) -> Tensor {
    let slopes: Vec<f32> = slopes(heads).into_iter().map(|slope| slope as f32).collect();
    Tensor::from_slice(&slopes).to_device(device)
}

fn slopes(heads: i64) -> Vec<f64> {
    let base = |count: i64| 2.0_f64.powf(-(2.0_f64.powf(-((count as f64).log2() - 3.0))));
    let whole = 1_i64 << heads.max(1).ilog2();
    let mut slopes: Vec<f64> = (1..=whole).map(|power| base(whole).powi(power as i32)).collect();
    let finer = base(2 * whole);
    slopes.extend((0..heads - whole).map(|index| finer.powi(2 * index as i32 + 1)));
    slopes
}

/// The ALiBi bias `[heads, time, time]`: −slope · distance back.
pub fn alibi_bias(heads: i64, time: i64, device: Device) -> Tensor {
    let positions = Tensor::arange(time, (Kind::Float, device));
    let distance = (positions.unsqueeze(-1) - positions).clamp_min(0.0);
    alibi_slopes(heads, device).view([heads, 1, 1]) * -distance
}

/// Whether a query may look at a key: bool `[time, time]`, or `[batch, 1, time, time]` with documents kept apart.
pub fn visible(time: i64, documents: Option<&Tensor>, device: Device) -> Tensor {
    let causal = Tensor::ones([time, time], (Kind::Bool, device)).tril(0);
    match documents {
        None => causal,
        Some(documents) => {
            let same = documents.unsqueeze(2).eq_tensor(&documents.unsqueeze(1));
            same.logical_and(&causal).unsqueeze(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_restart_at_each_document() {
        let documents = Tensor::from_slice2(&[[0_i64, 0, 1, 1, 1], [3, 4, 4, 4, 9]]);
        let found = positions(5, Some(&documents), Device::Cpu);
        assert!(found.equal(&Tensor::from_slice2(&[[0_i64, 1, 0, 1, 2], [0, 0, 1, 2, 0]])));
        assert!(positions(2, None, Device::Cpu).equal(&Tensor::from_slice(&[0_i64, 1])));
    }

    #[test]
    fn slopes_of_a_number_of_heads_that_is_no_power_of_two() {
        let expected = [0.25, 0.0625, 1.0 / 64.0, 1.0 / 256.0, 0.5, 0.125];
        assert!(slopes(6).iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12));
    }
}
