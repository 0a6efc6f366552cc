//! Memory of a tensor that comes and goes while the tensor stays: an autograd graph may hold weights whose values are
//! elsewhere until its backward pass.

use psann_core::Result;
use tch::Tensor;

use crate::ffi;

/// Frees the memory behind `tensor` and all views of it. Nobody may read or write them until [`refill`].
pub fn empty(tensor: &Tensor) -> Result<()> {
    ffi::storage_empty(tensor)
}

/// Gives `tensor`, emptied before, memory of the old size with undefined content; views of it see the same memory. Write
/// it through [`Tensor::data`], whose writes autograd does not count: to a graph the values are those it saw.
pub fn refill(tensor: &Tensor) -> Result<()> {
    ffi::storage_refill(tensor)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use crate::autograd::gradients;

    #[test]
    fn a_graph_outlives_the_memory_of_its_weights() {
        let x = Tensor::from_slice(&[2.0_f32, 3.0]).set_requires_grad(true);
        let weight = Tensor::from_slice(&[5.0_f32, 7.0]);
        let y = &x * &weight.detach().set_requires_grad(true);
        super::empty(&weight).unwrap();
        super::refill(&weight).unwrap();
        tch::no_grad(|| weight.data().copy_(&Tensor::from_slice(&[5.0_f32, 7.0])));
        let found = gradients(&y, &Tensor::ones([2], (Kind::Float, Device::Cpu)), &[&x]).unwrap();
        assert_eq!(Vec::<f32>::try_from(found[0].as_ref().unwrap()).unwrap(), [5.0, 7.0]);
    }

    #[test]
    fn memory_is_freed_in_between() {
        let bytes = 64 << 20;
        let tensor = Tensor::ones([bytes / 4], (Kind::Float, Device::Cpu));
        let full = crate::memory::resident();
        super::empty(&tensor).unwrap();
        if full > 0 {
            assert!(crate::memory::resident() + (60 << 20) <= full);
        }
        super::refill(&tensor).unwrap();
        assert_eq!(tensor.fill(1.5).double_value(&[7]), 1.5);
    }
}
