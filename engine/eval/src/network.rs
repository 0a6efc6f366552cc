//! [`Network`]: a model together with its parameters, as everything that only computes forward needs them;
//! [`Sequence`]: what it remembers of one text; [`Session`]: some texts that are read in step.
//!
//! All of it computes without gradients, in passes over tokens of several texts (see [`Pass`]), and no row of logits that
//! nobody asked for: at 50 thousand tokens of vocabulary the last matrix product is the dearest of all. On the CPU not a
//! bit of a text's logits depends on which others are in its pass.

use std::cell::RefCell;

use psann_core::model::{self, Cache, ForwardContext};
use psann_core::pass::{Pass, Past, Run};
use psann_core::{Error, Model, Result, Sharder};
use psann_torch::inference;
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

    /// Reads the tokens of all steps in one pass; gives the logits of what follows the last token of each, fp32
    /// `[steps, vocabulary]`.
    ///
    /// # Errors
    /// When a step has no token, or one beyond the vocabulary.
    pub fn advance(&self, steps: &mut [Step<'_>]) -> Result<Tensor> {
        let ends = |steps: &[Step<'_>]| -> Vec<i64> {
            let mut end = 0;
            steps
                .iter()
                .map(|step| {
                    end += step.tokens.len() as i64;
                    end - 1
                })
                .collect()
        };
        let last = ends(steps);
        self.logits_of(steps, Some(&last))
    }

    /// Reads the tokens of all steps; gives the logits of what follows the wanted ones, fp32 `[wanted, vocabulary]`.
    fn logits_of(&self, steps: &mut [Step<'_>], wanted: Option<&[i64]>) -> Result<Tensor> {
        let (mut ids, mut runs) = (Vec::new(), Vec::new());
        for (index, step) in steps.iter().enumerate() {
            let start = ids.len() as i64;
            ids.extend_from_slice(step.tokens);
            runs.push(Run { tokens: start..ids.len() as i64, past: Past::Cache(index) });
        }
        let caches = steps.iter_mut().map(|step| std::mem::take(&mut step.sequence.cache)).collect();
        let mut pass = Pass::new(runs, caches)?;
        let logits = self.project(&ids, &mut pass, wanted, |hidden, weight| {
            Ok(inference::linear(hidden, weight, None)?.to_kind(Kind::Float))
        });
        // Also after a failure: a sequence without its cache would be one without a past.
        for (step, cache) in steps.iter_mut().zip(std::mem::take(&mut pass.caches)) {
            step.sequence.cache = cache;
        }
        logits
    }
}

/// Stores the matrices of a model in bf16, which halves their memory and what every token reads. Vectors stay fp32, as
/// kernels want them, and so do activations on the CPU.
pub fn store_in_half(parameters: &mut [Vec<Tensor>]) {
    for value in parameters.iter_mut().flatten().filter(|value| value.dim() > 1) {
        *value = value.to_kind(Kind::BFloat16);
    }
}

/// What a network remembers of one text. A clone goes its own way from there.
#[derive(Debug, Clone)]
pub struct Sequence {
    cache: Cache,
}

impl Sequence {
    /// A text of which nothing has been read.
    pub fn new(network: Network<'_>) -> Self {
        Self { cache: Cache::new(network.model.segments().len()) }
    }

    /// Tokens read so far.
    pub fn length(&self) -> usize {
        self.cache.length as usize
    }

    /// What is kept of them.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// Tokens that a text reads next, at least one.
#[derive(Debug)]
pub struct Step<'a> {
    /// The text.
    pub sequence: &'a mut Sequence,
    /// The tokens.
    pub tokens: &'a [u32],
}

/// A network that has read some texts in step. A clone goes its own way from there: several continuations share the work
/// on what comes before them.
#[derive(Clone)]
pub struct Session<'a> {
    network: Network<'a>,
    rows: Vec<Sequence>,
}

impl<'a> Session<'a> {
    /// A session that has read nothing.
    pub fn new(network: Network<'a>) -> Self {
        Self { network, rows: Vec::new() }
    }

    /// Tokens read so far.
    pub fn length(&self) -> usize {
        self.rows.first().map_or(0, Sequence::length)
    }

    /// The texts.
    pub fn rows(&self) -> &[Sequence] {
        &self.rows
    }

    /// Reads as many tokens of each text; gives the logits of what follows the last of them, fp32 `[texts, vocabulary]`.
    ///
    /// # Errors
    /// When the number of texts changes, they get different numbers of tokens, or an id is beyond the vocabulary.
    pub fn feed(&mut self, rows: &[&[u32]]) -> Result<Tensor> {
        let network = self.network;
        network.advance(&mut self.steps(rows)?)
    }

    /// Like [`Session::feed`], with the logits of what follows each token: fp32 `[texts, time, vocabulary]`.
    pub fn feed_all(&mut self, rows: &[&[u32]]) -> Result<Tensor> {
        let network = self.network;
        let logits = network.logits_of(&mut self.steps(rows)?, None)?;
        Ok(logits.view([rows.len() as i64, -1, logits.size()[1]]))
    }

    fn steps<'s>(&'s mut self, rows: &[&'s [u32]]) -> Result<Vec<Step<'s>>> {
        if self.rows.is_empty() {
            self.rows = rows.iter().map(|_| Sequence::new(self.network)).collect();
        }
        let time = rows.first().map_or(0, |row| row.len());
        if rows.len() != self.rows.len() || time == 0 || rows.iter().any(|row| row.len() != time) {
            return Err(Error::new(format!("a session of {} texts reads as many tokens of each", self.rows.len())));
        }
        Ok(self.rows.iter_mut().zip(rows).map(|(sequence, tokens)| Step { sequence, tokens }).collect())
    }
}

#[cfg(test)]
mod tests {
    use psann_core::model::logits;

    use super::*;
    use crate::testing::{Toy, close};

    #[test]
    fn a_session_gives_the_logits_of_one_forward_however_the_text_is_cut() {
        let toy = Toy::new(11);
        let network = toy.network();
        let rows: [&[u32]; 2] = [&[1, 5, 2, 9, 0, 7, 3], &[4, 4, 8, 10, 6, 1, 2]];
        let ids = network.ids(&rows).unwrap();
        let whole = logits(&toy.model, &toy.parameters, &ids, &mut ForwardContext::default()).unwrap();
        let all = Session::new(network).feed_all(&rows).unwrap();
        assert!(close(&all, &whole, 1e-5));
        for cuts in [vec![1, 1, 1, 1, 1, 1, 1], vec![3, 1, 3], vec![7]] {
            let mut session = Session::new(network);
            for length in cuts {
                let start = session.length();
                let logits = session.feed(&rows.map(|row| &row[start..start + length])).unwrap();
                assert!(close(&logits, &whole.select(1, (start + length - 1) as i64), 1e-5));
            }
        }
    }

    #[test]
    fn texts_of_different_lengths_advance_together() {
        let toy = Toy::new(11);
        let network = toy.network();
        let alone = |ids: &[u32]| Session::new(network).feed(&[ids]).unwrap().squeeze_dim(0);
        let (mut first, mut second) = (Sequence::new(network), Sequence::new(network));
        let _ = network.advance(&mut [Step { sequence: &mut first, tokens: &[1, 2, 3] }]).unwrap();
        let mut steps = [Step { sequence: &mut first, tokens: &[4] }, Step { sequence: &mut second, tokens: &[9, 8] }];
        let logits = network.advance(&mut steps).unwrap();
        assert!(close(&logits.get(0), &alone(&[1, 2, 3, 4]), 1e-5));
        assert!(close(&logits.get(1), &alone(&[9, 8]), 1e-5));
        assert_eq!((first.length(), second.length()), (4, 2));
        let refused = network.advance(&mut [Step { sequence: &mut first, tokens: &[11] }]);
        assert!(refused.is_err());
        assert_eq!(first.length(), 4, "a step that failed leaves what was there");
    }

    #[test]
    fn clones_of_a_session_do_not_disturb_each_other() {
        let toy = Toy::new(11);
        let network = toy.network();
        let mut session = Session::new(network);
        let feed = |session: &mut Session<'_>, ids: &[u32]| session.feed(&[ids]).unwrap();
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
        assert!(Session::new(toy.network()).feed(&[&[1], &[1, 2]]).is_err());
        let other = Toy::new(12);
        let error = Network::new(&toy.model, &other.parameters).err().unwrap();
        assert!(error.to_string().contains("embed.weight"), "{error}");
    }
}
