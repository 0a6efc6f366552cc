//! Texts that a network reads bit by bit. [`Sequence`]: what it remembers of one of them; [`Step`]: what it reads next;
//! [`Session`]: some texts that are read in step.

use psann_core::model::Cache;
use psann_core::pass::{Pass, Past, Run};
use psann_core::{Error, Result};
use psann_torch::inference;
use tch::{Kind, Tensor};

use crate::network::Network;

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

impl Network<'_> {
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

#[cfg(test)]
mod tests {
    use psann_core::model::{ForwardContext, logits};

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
}
