//! [`Network`]: a model together with its parameters, as everything that only computes forward needs them, and
//! [`Session`]: a network in the middle of a text.
//!
//! Both compute without gradients, and neither computes a row of logits that nobody asked for: at 50 thousand tokens of
//! vocabulary the last matrix product is the dearest of all.

use psann_core::model::{self, Cache, ForwardContext};
use psann_core::{Error, Model, Result};
use tch::{Device, Kind, Tensor};

/// A model and its parameters, one list a segment in spec order. All of them share one device and dtype.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// The network.
    pub model: &'a dyn Model,
    /// Its parameters.
    pub parameters: &'a [Vec<Tensor>],
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
        Ok(Self { model, parameters })
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.parameters.iter().flatten().next().map_or(Device::Cpu, Tensor::device)
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

    /// What the last segment makes of ids `[batch, time]` before its product with the vocabulary matrix:
    /// `[batch, time, width]`, and that matrix.
    pub fn project(&self, ids: &Tensor) -> Result<(Tensor, &'a Tensor)> {
        tch::no_grad(|| {
            let states = model::hidden_states(self.model, self.parameters, ids, &mut ForwardContext::default())?;
            self.project_states(&states)
        })
    }

    fn project_states(&self, states: &Tensor) -> Result<(Tensor, &'a Tensor)> {
        let last = &self.parameters[self.parameters.len() - 1];
        let projection = self.model.project(last, states)?;
        Ok((projection.hidden, &last[projection.weight]))
    }
}

/// A network that has read some tokens and remembers them in a key-value cache. A clone goes its own way from there:
/// several continuations share the work on what comes before them.
#[derive(Clone)]
pub struct Session<'a> {
    network: Network<'a>,
    cache: Cache,
}

impl<'a> Session<'a> {
    /// A session that has read nothing.
    pub fn new(network: Network<'a>) -> Self {
        Self { network, cache: Cache::new(network.model.segments().len()) }
    }

    /// Tokens read so far.
    pub fn length(&self) -> usize {
        self.cache.length as usize
    }

    /// Reads ids `[batch, time]`; gives the logits of what follows the last of them, fp32 `[batch, vocabulary]`.
    pub fn feed(&mut self, ids: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let states = self.states(ids)?;
            let last = states.narrow(1, states.size()[1] - 1, 1);
            Ok(self.logits(&last)?.squeeze_dim(1))
        })
    }

    /// Reads ids `[batch, time]`; gives the logits of what follows each of them, fp32 `[batch, time, vocabulary]`.
    pub fn feed_all(&mut self, ids: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let states = self.states(ids)?;
            self.logits(&states)
        })
    }

    /// What the session keeps of what it read.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    fn states(&mut self, ids: &Tensor) -> Result<Tensor> {
        let mut context = ForwardContext { cache: Some(&mut self.cache), ..ForwardContext::default() };
        model::hidden_states(self.network.model, self.network.parameters, ids, &mut context)
    }

    fn logits(&self, states: &Tensor) -> Result<Tensor> {
        let (hidden, weight) = self.network.project_states(states)?;
        Ok(hidden.matmul(&weight.tr()).to_kind(Kind::Float))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, close};

    #[test]
    fn a_session_gives_the_logits_of_one_forward_however_the_text_is_cut() {
        let toy = Toy::new(11);
        let network = toy.network();
        let ids = network.ids(&[&[1, 5, 2, 9, 0, 7, 3], &[4, 4, 8, 10, 6, 1, 2]]).unwrap();
        let whole = Session::new(network).feed_all(&ids).unwrap();
        for cuts in [vec![1, 1, 1, 1, 1, 1, 1], vec![3, 1, 3], vec![7]] {
            let mut session = Session::new(network);
            for length in cuts {
                let start = session.length() as i64;
                let logits = session.feed(&ids.narrow(1, start, length)).unwrap();
                assert!(close(&logits, &whole.select(1, start + length - 1), 1e-5));
            }
        }
    }

    #[test]
    fn clones_of_a_session_do_not_disturb_each_other() {
        let toy = Toy::new(11);
        let network = toy.network();
        let mut session = Session::new(network);
        let feed = |session: &mut Session<'_>, ids: &[u32]| session.feed(&network.ids(&[ids]).unwrap()).unwrap();
        let _ = feed(&mut session, &[1, 2, 3]);
        let mut other = session.clone();
        let _ = feed(&mut other, &[9, 9]);
        let continued = feed(&mut session, &[4]);
        assert!(close(&continued, &feed(&mut Session::new(network), &[1, 2, 3, 4]), 1e-5));
    }

    #[test]
    fn ids_beyond_the_vocabulary_and_parameters_that_do_not_fit_are_refused() {
        let toy = Toy::new(11);
        let error = toy.network().ids(&[&[3, 11]]).unwrap_err();
        assert!(error.to_string().contains("token 11"), "{error}");
        assert!(toy.network().ids(&[&[]]).is_err());
        assert!(toy.network().ids(&[&[1], &[1, 2]]).is_err());
        let other = Toy::new(12);
        let error = Network::new(&toy.model, &other.parameters).err().unwrap();
        assert!(error.to_string().contains("embed.weight"), "{error}");
    }
}
