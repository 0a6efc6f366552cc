//! What tch lacks of libtorch: gradients with a given output gradient, fused kernels with their backward passes, and
//! memory figures. All `unsafe` and all C++ of psann live here.
//!
//! Fused kernels run on fp32 and bf16 CPU tensors, with fp32 arithmetic inside. Other devices and dtypes take composed
//! operations with the same formulas.
//!
//! | module | what |
//! |---|---|
//! | [`autograd`] | gradients of one output with respect to chosen inputs |
//! | [`sine`] | the damped sine |
//! | [`linear`] | linear maps, embeddings, the residual sum |
//! | [`norm`] | RMS norm |
//! | [`rotary`] | rotary positions |
//! | [`loss`] | vocabulary projection and cross-entropy, a few rows at a time |
//! | [`inference`] | forward passes whose bits do not depend on what is computed beside them |
//! | [`optimizer`] | steps of AdamW, 8-bit AdamW and Adafactor; stochastic rounding; squared sums |
//! | [`bytes`], [`storage`] | a tensor's memory |
//! | [`memory`], [`threads`] | what the process uses |
//! | [`distributed`] | groups of processes |

pub mod autograd;
pub mod bytes;
pub mod distributed;
mod ffi;
pub mod inference;
pub mod linear;
pub mod loss;
pub mod memory;
pub mod norm;
pub mod optimizer;
pub mod rotary;
pub mod sine;
pub mod storage;
pub mod threads;

/// The version of libtorch that psann was compiled against, `2.13.0`; the build refuses any other.
pub fn libtorch_version() -> String {
    ffi::libtorch_version()
}
