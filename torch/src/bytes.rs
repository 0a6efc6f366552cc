//! A tensor's memory as bytes, for writing checkpoints without a copy.

use psann_core::Result;
use tch::Tensor;

use crate::ffi;

/// The bytes of a contiguous CPU tensor, row-major, in this machine's byte order.
///
/// # Errors
/// When the tensor lives on another device or is a strided view.
pub fn of(tensor: &Tensor) -> Result<&[u8]> {
    ffi::bytes(tensor)
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    #[test]
    fn bytes_are_the_values_and_views_are_refused() {
        let x = Tensor::from_slice(&[1.0_f32, -2.0]);
        assert_eq!(super::of(&x).unwrap(), [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        assert!(super::of(&x.view([2, 1]).tr().expand([2, 2], false)).is_err());
    }
}
