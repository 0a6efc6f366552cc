//! A segment's weights as leaves of one small graph, and the sums of their gradients over micro-batches.

use psann_core::Result;
use psann_core::model::ParameterSpec;
use psann_torch::autograd;
use tch::{Kind, Tensor};

/// The weights that one graph is built on: fresh views, so that no graph ever meets the leaves of another.
pub struct Leaves {
    /// In spec order; those that are trained require gradients.
    pub parameters: Vec<Tensor>,
    trainable: Vec<usize>,
}

impl Leaves {
    /// Views of `parameters`.
    pub fn new(specs: &[ParameterSpec], parameters: &[Tensor]) -> Result<Self> {
        let leaf = |(spec, value): (&ParameterSpec, &Tensor)| autograd::leaf(value, spec.trainable);
        let trainable = (0..specs.len()).filter(|index| specs[*index].trainable).collect();
        Ok(Self { parameters: specs.iter().zip(parameters).map(leaf).collect::<Result<_>>()?, trainable })
    }

    /// Gradients of `output` with respect to `input` (when it is a leaf) and to the weights, in spec order with `None`
    /// for frozen ones and for `except`.
    pub fn gradients(
        &self,
        output: &Tensor,
        output_gradient: &Tensor,
        input: Option<&Tensor>,
        except: Option<usize>,
    ) -> Result<(Option<Tensor>, Vec<Option<Tensor>>)> {
        let wanted: Vec<usize> = self.trainable.iter().copied().filter(|index| Some(*index) != except).collect();
        let inputs: Vec<&Tensor> =
            input.into_iter().chain(wanted.iter().map(|index| &self.parameters[*index])).collect();
        let mut found = autograd::gradients(output, output_gradient, &inputs)?.into_iter();
        let input_gradient = input.and_then(|_| found.next().flatten());
        let mut by_parameter: Vec<Option<Tensor>> = self.parameters.iter().map(|_| None).collect();
        for (index, gradient) in wanted.into_iter().zip(found) {
            by_parameter[index] = gradient;
        }
        Ok((input_gradient, by_parameter))
    }
}

/// Gradients of one segment, summed over micro-batches in their order; fp32 as soon as there is something to sum.
#[derive(Default)]
pub struct GradientSum {
    sums: Vec<Option<Tensor>>,
    count: usize,
}

impl GradientSum {
    /// Adds the gradients of one micro-batch.
    pub fn add(&mut self, gradients: Vec<Option<Tensor>>) {
        self.count += 1;
        if self.count == 1 {
            self.sums = gradients;
            return;
        }
        for (sum, gradient) in self.sums.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            *sum = Some(match sum.take() {
                // The first tensor came from autograd and may be shared with a graph; a sum of ours may be written to.
                Some(first) if self.count == 2 => first.to_kind(Kind::Float) + gradient.to_kind(Kind::Float),
                Some(mut sum) => sum.g_add_(&gradient.to_kind(Kind::Float)),
                None => gradient.to_kind(Kind::Float).copy(),
            });
        }
    }

    /// The sums, in spec order.
    pub fn take(self) -> Vec<Option<Tensor>> {
        self.sums
    }
}
