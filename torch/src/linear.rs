//! Linear maps, embeddings and the residual sum with their backward passes.
//!
//! With bf16 weights on the CPU the gradients of weights and biases are fp32 straight from the product that makes them,
//! where the leaf was made by [`crate::autograd::leaf`]: nothing is rounded to bf16 on the way into an fp32 sum, and no
//! pass over memory widens it again. Everywhere else these are libtorch's own operations.

use psann_core::{Error, Result};
use tch::Tensor;

use crate::ffi;

/// `x · weightᵀ + bias` of x `[.., features]`, weight `[out, features]` in the dtype of x, bias `[out]` in that dtype or
/// fp32.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    ffi::linear(x, weight, bias)
}

/// Rows of weight `[classes, width]` by int64 ids of any shape: `[.., width]`.
pub fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    ffi::embedding(weight, ids)
}

/// `x + alpha · m` of two tensors of one shape and a factor `[1]`.
pub fn scaled_add(x: &Tensor, alpha: &Tensor, m: &Tensor) -> Result<Tensor> {
    if x.size() != m.size() || x.kind() != m.kind() || alpha.size() != [1] {
        return Err(Error::new(format!(
            "a sum of {:?} and {:?} with a factor {:?}: shapes must be equal, and the factor one number",
            x.size(),
            m.size(),
            alpha.size()
        )));
    }
    ffi::scaled_add(x, alpha, m)
}
