//! The arithmetic of optimizers: one pass over value, gradient and state instead of a dozen.
//!
//! | module | what |
//! |---|---|
//! | [`adamw`] | AdamW with fp32 moments |
//! | [`adamw8bit`], [`codes`] | AdamW with moments of 8 bits in blocks |
//! | [`factored`] | Adafactor's second moments of a matrix |
//! | [`rounding`] | fp32 to bf16 without bias |

pub mod adamw;
pub mod adamw8bit;
pub mod codes;
pub mod factored;
mod ffi;
mod maps;
pub mod rounding;

pub use adamw::{AdamW, adamw_step};
use psann_core::Result;
use tch::{Device, Kind, Tensor};

/// Sum of squares in double precision; does not depend on the number of threads.
pub fn squared_sum(x: &Tensor) -> Result<f64> {
    ffi::squared_sum(x)
}

/// Whether the kernels can read `tensor` as plain memory.
fn is_plain(tensor: &Tensor, kind: Kind) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == kind && tensor.is_contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squared_sums_are_exact_enough_and_the_same_for_any_thread_count() {
        tch::manual_seed(1);
        let x = Tensor::randn([300_001], (Kind::Float, Device::Cpu));
        let exact = f64::try_from(x.to_kind(Kind::Double).square().sum(Kind::Double)).unwrap();
        let found = squared_sum(&x).unwrap();
        assert!((found - exact).abs() < 1e-6 * exact);
        let threads = crate::threads::get();
        crate::threads::set(1);
        assert_eq!(squared_sum(&x).unwrap(), found);
        crate::threads::set(threads);
    }
}
