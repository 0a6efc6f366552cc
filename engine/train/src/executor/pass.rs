//! One walk of a group of micro-batches through the chain and back.

use psann_core::model::{ForwardContext, ParameterSpec};
use psann_core::{Error, Model, Result, Sharder};
use psann_torch::loss::{LossOptions, linear_cross_entropy};
use tch::{Kind, Tensor};

use super::leaves::{GradientSum, Leaves};
use super::{
    MicroBatch, Recompute, StepLoss, StepSettings, flat, gather, gather_head, last_segment, release_head, timed,
};

/// Everything one walk uses.
pub struct Pass<'a> {
    pub model: &'a dyn Model,
    pub sharder: &'a mut dyn Sharder,
    pub recompute: Recompute,
    pub settings: StepSettings,
    /// Number of the group's first micro-batch within the step.
    pub first: u64,
    pub loss: &'a mut StepLoss,
}

/// What the forward pass leaves of one micro-batch at one segment.
struct Kept {
    /// Input of the segment; a leaf of the graph where there is one.
    input: Tensor,
    graph: Option<Graph>,
}

/// Gradient of a vocabulary matrix that an earlier segment owns, where the sharder has no buffer for it.
struct Tied {
    segment: usize,
    parameter: usize,
    gradient: Tensor,
}

struct Graph {
    output: Tensor,
    leaves: Leaves,
}

impl Pass<'_> {
    /// Adds loss and gradients of `group`.
    pub fn run(&mut self, group: &[MicroBatch]) -> Result<()> {
        let last = last_segment(self.model)?;
        let mut states: Vec<Tensor> = group.iter().map(|micro| micro.ids.shallow_clone()).collect();
        let mut kept = Vec::with_capacity(last);
        for segment in 0..last {
            kept.push(self.forward(segment, &mut states, group)?);
        }
        let (mut gradients, mut tied) = self.head(last, states, group)?;
        while let Some(of_segment) = kept.pop() {
            let segment = kept.len();
            let more = tied.take_if(|tied| tied.segment == segment);
            gradients = self.backward(segment, of_segment, gradients, more, group)?;
        }
        Ok(())
    }

    /// Moves `states` through one segment.
    fn forward(&mut self, segment: usize, states: &mut [Tensor], group: &[MicroBatch]) -> Result<Vec<Kept>> {
        let parameters = self.gather(segment, Some(segment + 1))?;
        let again = self.computes_again(segment);
        let mut kept = Vec::with_capacity(group.len());
        for (number, (state, micro)) in states.iter_mut().zip(group).enumerate() {
            let mut context = context(micro, self.dropout_key(number));
            let model = self.model;
            let one = timed(&mut self.loss.time.forward, || -> Result<Kept> {
                if again {
                    let output = tch::no_grad(|| model.forward(segment, &parameters, state, &mut context))?;
                    return Ok(Kept { input: std::mem::replace(state, output), graph: None });
                }
                let (input, graph) = build(model, segment, &parameters, state, &mut context)?;
                *state = graph.output.detach();
                Ok(Kept { input, graph: Some(graph) })
            })?;
            kept.push(one);
        }
        // A kept graph goes on using the weights: they stay until its backward pass, come back into the same tensors for
        // it, or are not looked at again.
        if again || self.sharder.refills() || !self.model.backward_needs_weights(segment) {
            drop(parameters);
            self.sharder.release(segment);
        }
        Ok(kept)
    }

    /// Whether the forward pass forgets the activations of `segment`.
    fn computes_again(&self, segment: usize) -> bool {
        self.recompute.applies_to(segment) && self.model.backward_needs_weights(segment)
    }

    /// Whether the weights of `segment` must be brought together for its backward pass.
    fn comes_back(&self, segment: usize) -> bool {
        self.model.backward_needs_weights(segment) && (self.recompute.applies_to(segment) || self.sharder.refills())
    }

    /// The last segment and the loss, both ways; gives the gradients of its inputs, and that of the vocabulary matrix
    /// where it goes to an earlier segment.
    fn head(
        &mut self,
        segment: usize,
        states: Vec<Tensor>,
        group: &[MicroBatch],
    ) -> Result<(Vec<Tensor>, Option<Tied>)> {
        let before = segment - 1;
        let next = self.comes_back(before).then_some(before);
        let (model, sharder) = (self.model, &mut *self.sharder);
        let parameters = timed(&mut self.loss.time.exchange, || gather_head(model, sharder, segment, next))?;
        let own = &self.model.segments()[segment].parameters;
        let tied = self.model.tied_vocabulary();
        let specs: Vec<ParameterSpec> = own.iter().chain(tied.map(|at| self.spec(at))).cloned().collect();
        // Where the gradient of a parameter goes: the tied one stands behind the segment's own.
        let owner = |index: usize| tied.filter(|_| index == own.len()).unwrap_or((segment, index));
        let options = LossOptions {
            label_smoothing: self.settings.label_smoothing,
            scale: self.settings.scale,
            ..LossOptions::default()
        };
        let mut sum = GradientSum::default();
        let mut input_gradients = Vec::with_capacity(group.len());
        for (state, micro) in states.into_iter().zip(group) {
            let (model, sharder, loss) = (self.model, &mut *self.sharder, &mut *self.loss);
            let gradients = timed(&mut loss.time.head, || {
                let leaves = Leaves::new(&specs, &parameters)?;
                let input = leaf(&state);
                let projection = model.project(&leaves.parameters, &input)?;
                let weight = projection.weight;
                let trainable = specs[weight].trainable;
                let (home, place) = owner(weight);
                let buffer = if trainable { sharder.gradient_buffer(home, place)? } else { None };
                let labels = micro.labels.reshape([-1]);
                let rows = flat(&projection.hidden);
                let found = linear_cross_entropy(&rows, &parameters[weight], &labels, buffer.as_ref(), &options)?;
                drop(rows);
                let hidden_gradient = found.hidden_gradient.ok_or_else(|| Error::new("the loss gave no gradient"))?;
                let hidden_gradient = hidden_gradient.view_as(&projection.hidden);
                let (input_gradient, mut gradients) =
                    leaves.gradients(&projection.hidden, &hidden_gradient, Some(&input), Some(weight))?;
                if trainable {
                    gradients[weight] = found.weight_gradient;
                }
                sum.add(gradients);
                input_gradients.push(input_gradient.ok_or_else(|| ignores_its_input(model, segment))?);
                Ok::<_, Error>((found.sum, found.targets))
            })?;
            self.loss.sum += gradients.0;
            self.loss.targets += gradients.1;
            self.loss.micro.push(gradients);
        }
        drop(parameters);
        let mut sums = sum.take();
        let gradient = if tied.is_some() { sums.pop().flatten() } else { None };
        let model = self.model;
        self.reduce(segment, sums, |sharder| release_head(model, sharder, segment))?;
        let tied = tied.zip(gradient);
        let tied = tied.map(|((segment, parameter), gradient)| Tied { segment, parameter, gradient });
        Ok((input_gradients, tied))
    }

    fn spec(&self, (segment, parameter): (usize, usize)) -> &ParameterSpec {
        &self.model.segments()[segment].parameters[parameter]
    }

    /// Takes the gradients of a segment's outputs to those of its inputs; the first segment's inputs are token ids and
    /// have none. `more` is added to the gradients of its weights.
    fn backward(
        &mut self,
        segment: usize,
        kept: Vec<Kept>,
        gradients: Vec<Tensor>,
        more: Option<Tied>,
        group: &[MicroBatch],
    ) -> Result<Vec<Tensor>> {
        let parameters = if self.comes_back(segment) {
            let next = segment.checked_sub(1).filter(|next| self.comes_back(*next));
            self.gather(segment, next)?
        } else {
            Vec::new()
        };
        let model = self.model;
        let mut sum = GradientSum::default();
        let mut input_gradients = Vec::with_capacity(group.len());
        for (number, ((kept, gradient), micro)) in kept.into_iter().zip(gradients).zip(group).enumerate() {
            let (input, graph) = if let Some(graph) = kept.graph {
                (kept.input, graph)
            } else {
                let mut context = context(micro, self.dropout_key(number));
                timed(&mut self.loss.time.recompute, || build(model, segment, &parameters, &kept.input, &mut context))?
            };
            let (input_gradient, of_weights) = timed(&mut self.loss.time.backward, || {
                let leaf = (segment > 0).then_some(&input);
                let found = graph.leaves.gradients(&graph.output, &gradient, leaf, None);
                drop((graph, gradient));
                found
            })?;
            timed(&mut self.loss.time.backward, || sum.add(of_weights));
            if segment > 0 {
                input_gradients.push(input_gradient.ok_or_else(|| ignores_its_input(model, segment))?);
            }
        }
        drop(parameters);
        let mut sums = sum.take();
        if let Some(Tied { parameter, gradient, .. }) = more {
            sums[parameter] = Some(match sums[parameter].take() {
                Some(own) => gradient.to_kind(Kind::Float) + own.to_kind(Kind::Float),
                None => gradient,
            });
        }
        self.reduce(segment, sums, |sharder| sharder.release(segment))?;
        Ok(input_gradients)
    }

    fn gather(&mut self, segment: usize, next: Option<usize>) -> Result<Vec<Tensor>> {
        let sharder = &mut *self.sharder;
        timed(&mut self.loss.time.exchange, || gather(sharder, segment, next))
    }

    fn reduce(
        &mut self,
        segment: usize,
        sums: Vec<Option<Tensor>>,
        release: impl FnOnce(&mut dyn Sharder),
    ) -> Result<()> {
        let sharder = &mut *self.sharder;
        timed(&mut self.loss.time.exchange, || {
            sharder.reduce(segment, sums)?;
            release(sharder);
            Ok(())
        })
    }

    /// Key of one micro-batch's masks.
    fn dropout_key(&self, number: usize) -> Option<u64> {
        // The odd constant of a 64-bit Weyl sequence: keys of neighbouring micro-batches share no pattern.
        self.settings
            .dropout_key
            .map(|key| key.wrapping_add((self.first + number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// Runs a segment with a graph of its own; gives the leaf it starts from.
fn build(
    model: &dyn Model,
    segment: usize,
    parameters: &[Tensor],
    input: &Tensor,
    context: &mut ForwardContext<'_>,
) -> Result<(Tensor, Graph)> {
    let leaves = Leaves::new(&model.segments()[segment].parameters, parameters)?;
    let input = if segment == 0 { input.shallow_clone() } else { leaf(input) };
    let output = model.forward(segment, &leaves.parameters, &input, context)?;
    Ok((input, Graph { output, leaves }))
}

fn leaf(state: &Tensor) -> Tensor {
    state.detach().set_requires_grad(true)
}

/// What a segment is told in training.
pub fn context(micro: &MicroBatch, dropout_key: Option<u64>) -> ForwardContext<'_> {
    ForwardContext { pass: None, documents: micro.documents.as_ref(), dropout_key }
}

fn ignores_its_input(model: &dyn Model, segment: usize) -> Error {
    Error::new(format!("segment `{}` does not depend on its input", model.segments()[segment].name))
}
