//! [`Network`]: a model together with its parameters, as everything that only computes forward needs them.
//!
//! It computes without gradients, in passes over tokens of several texts (see [`Pass`]), and no row of logits that
//! nobody asked for: at 50 thousand tokens of vocabulary the last matrix product is the dearest of all. On the CPU not a
//! bit of a text's logits depends on which others are in its pass.

use std::cell::RefCell;

use psann_core::model::{self, ForwardContext};
use psann_core::pass::Pass;
use psann_core::{Error, Model, Result, Sharder};
use tch::{Device, Kind, Tensor};

/// A model and its parameters. All of them share one device.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// The network.
    pub model: &'a dyn Model,
    weights: Weights<'a>,
}

#[derive(Clone, Copy)]
enum Weights<'a> {
    Here(&'a [Vec<Tensor>]),
    Elsewhere(&'a dyn Parameters),
}

/// Parameters that are not all here at once.
pub trait Parameters {
    /// Where they are computed with.
    fn device(&self) -> Device;

    /// The parameters of a segment, in spec order.
    fn gather(&self, segment: usize) -> Result<Vec<Tensor>>;

    /// Says that a segment's parameters are not needed for now.
    fn release(&self, segment: usize);
}

/// The parameters of a model in training. Every rank computes as many passes as the others, since each pass brings the
/// segments together on all of them.
pub struct Sharded<'a> {
    sharder: RefCell<&'a mut dyn Sharder>,
    device: Device,
}

impl<'a> Sharded<'a> {
    /// Those that `sharder` holds, computed with on `device`.
    pub fn new(sharder: &'a mut dyn Sharder, device: Device) -> Self {
        Self { sharder: RefCell::new(sharder), device }
    }
}

impl Parameters for Sharded<'_> {
    fn device(&self) -> Device {
        self.device
    }

    fn gather(&self, segment: usize) -> Result<Vec<Tensor>> {
        self.sharder.borrow_mut().gather(segment)
    }

    fn release(&self, segment: usize) {
        self.sharder.borrow_mut().release(segment);
    }
}

impl<'a> Network<'a> {
    /// Puts a model and its parameters together.
    ///
    /// # Errors
    /// When the parameters are not those that the model lists.
    pub fn new(model: &'a dyn Model, parameters: &'a [Vec<Tensor>]) -> Result<Self> {
        let segments = model.segments();
        if segments.is_empty() || parameters.len() != segments.len() {
            return Err(Error::new(format!(
                "the model has {} segments, parameters are given for {}",
                segments.len(),
                parameters.len()
            )));
        }
        for (segment, values) in segments.iter().zip(parameters) {
            if values.len() != segment.parameters.len() {
                return Err(Error::new(format!(
                    "segment `{}` has {} parameters, {} are given",
                    segment.name,
                    segment.parameters.len(),
                    values.len()
                )));
            }
            for (spec, value) in segment.parameters.iter().zip(values) {
                if spec.shape != value.size() {
                    return Err(Error::new(format!(
                        "parameter `{}` has shape {:?}, given is {:?}",
                        spec.name,
                        spec.shape,
                        value.size()
                    )));
                }
            }
        }
        Ok(Self { model, weights: Weights::Here(parameters) })
    }

    /// A model whose parameters come together segment by segment.
    ///
    /// # Errors
    /// When the model has no segment.
    pub fn elsewhere(model: &'a dyn Model, parameters: &'a dyn Parameters) -> Result<Self> {
        if model.segments().is_empty() {
            return Err(Error::new("a model has no segments"));
        }
        Ok(Self { model, weights: Weights::Elsewhere(parameters) })
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        match self.weights {
            Weights::Here(parameters) => parameters.iter().flatten().next().map_or(Device::Cpu, Tensor::device),
            Weights::Elsewhere(parameters) => parameters.device(),
        }
    }

    /// A hash of the weights and of `beside`, in hex; equal weights of another dtype have another hash.
    ///
    /// # Errors
    /// When the parameters are elsewhere.
    pub fn digest(&self, beside: &str) -> Result<String> {
        let Weights::Here(parameters) = self.weights else {
            return Err(Error::new("the weights of a model in training have no hash"));
        };
        let mut hash = blake3::Hasher::new();
        hash.update(beside.as_bytes());
        for (segment, values) in self.model.segments().iter().zip(parameters) {
            for (spec, value) in segment.parameters.iter().zip(values) {
                hash.update(format!("\n{} {:?} {:?}\n", spec.name, spec.shape, value.kind()).as_bytes());
                let here = value.to_device(Device::Cpu).contiguous();
                hash.update(psann_torch::bytes::of(&here)?);
            }
        }
        Ok(hash.finalize().to_hex().to_string())
    }

    /// Does `work` with the parameters of a segment.
    fn with_segment<T>(&self, segment: usize, work: impl FnOnce(&[Tensor]) -> Result<T>) -> Result<T> {
        match self.weights {
            Weights::Here(parameters) => work(&parameters[segment]),
            Weights::Elsewhere(parameters) => {
                let gathered = parameters.gather(segment)?;
                let done = work(&gathered);
                drop(gathered);
                parameters.release(segment);
                done
            }
        }
    }

    /// Rows of ids as int64 `[rows, time]` on the network's device.
    ///
    /// # Errors
    /// When the rows differ in length, are empty, or hold an id beyond the vocabulary: looking it up would read
    /// foreign memory.
    pub fn ids(&self, rows: &[&[u32]]) -> Result<Tensor> {
        let time = rows.first().map_or(0, |row| row.len());
        if time == 0 || rows.iter().any(|row| row.len() != time) {
            return Err(Error::new("token ids must come in rows of one length, at least 1"));
        }
        let flat: Vec<i64> = rows.iter().flat_map(|row| row.iter().map(|id| i64::from(*id))).collect();
        let vocabulary = self.model.vocabulary();
        if let Some(wrong) = flat.iter().find(|id| **id >= vocabulary) {
            return Err(Error::new(format!("token {wrong} is outside of the model's vocabulary of {vocabulary}"))
                .hint("use the tokenizer that the model was trained with"));
        }
        let ids = Tensor::from_slice(&flat).view([rows.len() as i64, time as i64]);
        Ok(ids.to_device(self.device()))
    }

    /// Computes the runs of a pass over `ids` up to the vocabulary matrix, and does `work` with the hidden states of those
    /// tokens that `wanted` names (places in the pass, all if `None`), `[tokens, width]`, and that matrix.
    ///
    /// # Errors
    /// When the pass has not as many tokens as there are ids, or one of them is beyond the vocabulary.
    pub fn project<T>(
        &self,
        ids: &[u32],
        pass: &mut Pass,
        wanted: Option<&[i64]>,
        work: impl FnOnce(&Tensor, &Tensor) -> Result<T>,
    ) -> Result<T> {
        if pass.tokens() != ids.len() as i64 {
            return Err(Error::new(format!("a pass over {} tokens is given {}", pass.tokens(), ids.len())));
        }
        tch::no_grad(|| {
            let mut state = self.ids(&[ids])?;
            let last = self.model.segments().len() - 1;
            for segment in 0..last {
                let mut context = ForwardContext { pass: Some(&mut *pass), ..ForwardContext::default() };
                state = self.with_segment(segment, |parameters| {
                    self.model.forward(segment, parameters, &state, &mut context)
                })?;
            }
            pass.remember_lengths();
            if let Some(places) = wanted {
                state = state.index_select(1, &Tensor::from_slice(places).to_device(state.device()));
            }
            if let Weights::Here(parameters) = self.weights {
                let (hidden, weight) = model::project(self.model, parameters, &state)?;
                return work(&hidden.squeeze_dim(0), weight);
            }
            self.with_segment(last, |own| {
                let finish = |tied: Option<&Tensor>| {
                    let all: Vec<Tensor> = own.iter().chain(tied).map(Tensor::shallow_clone).collect();
                    let projection = self.model.project(&all, &state)?;
                    work(&projection.hidden.squeeze_dim(0), &all[projection.weight])
                };
                match self.model.tied_vocabulary() {
                    Some((segment, parameter)) => self.with_segment(segment, |others| finish(Some(&others[parameter]))),
                    None => finish(None),
                }
            })
        })
    }
}

/// Stores the matrices of a model in bf16, which halves their memory and what every token reads. Vectors stay fp32, as
/// kernels want them, and so do activations on the CPU.
pub fn store_in_half(parameters: &mut [Vec<Tensor>]) {
    for value in parameters.iter_mut().flatten().filter(|value| value.dim() > 1) {
        *value = value.to_kind(Kind::BFloat16);
    }
}

/// Whether matrices are stored in bf16.
pub fn is_stored_in_half(parameters: &[Vec<Tensor>]) -> bool {
    parameters.iter().flatten().any(|value| value.kind() == Kind::BFloat16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::testing::Toy;

    #[test]
    fn ids_beyond_the_vocabulary_and_parameters_that_do_not_fit_are_refused() {
        let toy = Toy::new(11);
        let error = toy.network().ids(&[&[3, 11]]).unwrap_err();
        assert!(error.to_string().contains("token 11"), "{error}");
        assert!(toy.network().ids(&[&[]]).is_err());
        assert!(toy.network().ids(&[&[1], &[1, 2]]).is_err());
        assert!(Session::new(toy.network()).feed(&[&[1], &[1, 2]]).is_err());
        let other = Toy::new(12);
        let error = Network::new(&toy.model, &other.parameters).err().unwrap();
        assert!(error.to_string().contains("embed.weight"), "{error}");
    }
}
