//! Gradients with a given output gradient. tch seeds every backward pass with ones, which cannot walk a model block by
//! block from its end.

use psann_core::{Error, Result};
use tch::Tensor;

use crate::ffi;

/// A leaf of a new graph on the memory of `value`. Its gradient keeps the dtype in which it is computed: that of a bf16
/// matrix may be fp32.
pub fn leaf(value: &Tensor, trainable: bool) -> Result<Tensor> {
    ffi::leaf(value, trainable)
}

/// Gradients of `sum(output * output_gradient)` with respect to each of `inputs`, and frees the graph.
///
/// An input that the output does not depend on gets `None`. All inputs must require gradients.
pub fn gradients(output: &Tensor, output_gradient: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    if output.size() != output_gradient.size() {
        return Err(Error::new(format!(
            "an output of shape {:?} cannot have a gradient of shape {:?}",
            output.size(),
            output_gradient.size()
        )));
    }
    if let Some(index) = inputs.iter().position(|input| !input.requires_grad()) {
        return Err(Error::new(format!("input {index} of a gradient does not require one")));
    }
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    ffi::gradients(output, output_gradient, inputs)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::gradients;

    #[test]
    fn the_output_gradient_weighs_the_result_and_unused_inputs_get_none() {
        let x = Tensor::from_slice(&[1.0_f32, 2.0]).set_requires_grad(true);
        let unused = Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let y = &x * &x;
        let found = gradients(&y, &Tensor::from_slice(&[1.0_f32, 10.0]), &[&x, &unused]).unwrap();
        assert_eq!(Vec::<f32>::try_from(found[0].as_ref().unwrap()).unwrap(), [2.0, 40.0]);
        assert!(found[1].is_none());
    }

    #[test]
    fn shapes_that_do_not_fit_and_failures_of_libtorch_are_errors() {
        let x = Tensor::from_slice(&[1.0_f32]).set_requires_grad(true);
        let y = &x * 2.0;
        assert!(gradients(&y, &Tensor::from_slice(&[1.0_f32, 2.0]), &[&x]).is_err());
        let one = Tensor::from_slice(&[1.0_f32]);
        assert!(gradients(&one, &one, &[&x]).unwrap_err().to_string().contains("libtorch"));
    }
}
