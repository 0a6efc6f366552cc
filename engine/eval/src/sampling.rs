//! From logits to the next token.
//!
//! The order is the field's: repetition penalty, temperature, top-k, top-p, softmax, one draw. Sums are double
//! precision and candidates are ordered by logit and then id, so nothing depends on how a sort treats equals.
//!
//! A draw is a function of (seed, stream, position) and of nothing else: no generator is carried along, so a text
//! is the same whatever else is generated beside it, as far as the logits agree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use psann_core::{Error, Result};

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 safer, above 1 bolder. 0 or less always takes the likeliest token.
    pub temperature: f64,
    /// Only tokens at least as likely as the k-th likeliest may be chosen; 0 is off.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability may be chosen; 0 or less, and 1 or more, are off.
    pub top_p: f64,
    /// What becomes of the token that reaches `top_p`.
    pub top_p_rule: TopPRule,
    /// Positive logits of tokens that occurred are divided by it, negative ones multiplied, once each (Keskar et al.
    /// 2019, arXiv:1909.05858); 1 is off.
    pub repetition_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 0, top_p: 0.95, top_p_rule: TopPRule::KeepCrossing, repetition_penalty: 1.0 }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, ..Self::default() }
    }

    /// Fails on values that make no sense, naming the option.
    pub fn check(&self) -> Result<()> {
        let wrong = |name: &str, expected: &str, found: f64| {
            Err(Error::usage(format!("option `{name}` must be {expected}, found {found}")))
        };
        if !self.temperature.is_finite() {
            return wrong("temperature", "a finite number", self.temperature);
        }
        if self.top_p.is_nan() {
            return wrong("top_p", "a number from 0 to 1", self.top_p);
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return wrong("repetition_penalty", "above 0", self.repetition_penalty);
        }
        Ok(())
    }
}

/// What becomes of the token whose probability takes the running sum across `top_p`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopPRule {
    /// It may still be chosen, as Holtzman et al. 2020 (arXiv:1904.09751) define the nucleus and most software does.
    #[default]
    KeepCrossing,
    /// It may not, unless it is the likeliest of all, as psannlm 2.0.1 does.
    DropCrossing,
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// Its logit after the penalty and the temperature.
    pub logit: f32,
    /// The probability that it is chosen.
    pub probability: f64,
}

/// Divides the logits of tokens in `seen` that favour them, and multiplies those that do not, once each.
pub fn penalise(logits: &mut [f32], seen: &[u32], penalty: f64) {
    if penalty == 1.0 {
        return;
    }
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            let factor = if *logit > 0.0 { 1.0 / penalty } else { penalty };
            *logit = (f64::from(*logit) * factor) as f32;
        }
    }
}

/// The tokens that may be chosen, likeliest first. Logits of minus infinity are never among them.
///
/// With a temperature of 0 or less there is one: the likeliest, and of equals the one with the lowest id.
///
/// # Errors
/// When a logit is not a number, or none is above minus infinity.
pub fn candidates(logits: &[f32], sampling: &Sampling) -> Result<Vec<Candidate>> {
    if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return Err(Error::new("the model's logits are not finite")
            .hint("its weights are damaged, or its training diverged; see the losses in metrics.jsonl"));
    }
    let likeliest =
        likeliest(logits).ok_or_else(|| Error::new("no token may be chosen: every logit is minus infinity"))?;
    if sampling.temperature <= 0.0 {
        let (id, logit) = (likeliest as u32, logits[likeliest]);
        return Ok(vec![Candidate { id, logit, probability: 1.0 }]);
    }
    // The reference's floor: below it the division would overflow to infinities.
    let temperature = sampling.temperature.max(1e-5) as f32;
    let scaled = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
    let mut kept: Vec<Candidate> =
        scaled.map(|(id, logit)| Candidate { id: id as u32, logit: logit / temperature, probability: 0.0 }).collect();
    let filters = sampling.top_p > 0.0 && sampling.top_p < 1.0;
    if sampling.top_k > 0 && sampling.top_k < kept.len() {
        keep_top_k(&mut kept, sampling.top_k);
    }
    if filters {
        keep_top_p(&mut kept, sampling.top_p, sampling.top_p_rule);
    } else {
        kept.sort_unstable_by(order);
    }
    let top = kept[0].logit;
    let mut sum = 0.0;
    for candidate in &mut kept {
        candidate.probability = weight(candidate.logit, top);
        sum += candidate.probability;
    }
    for candidate in &mut kept {
        candidate.probability /= sum;
    }
    Ok(kept)
}

/// The candidate at `uniform` (0 to 1, 1 excluded) of the way through their probabilities.
///
/// # Errors
/// When there are no candidates.
pub fn choose(candidates: &[Candidate], uniform: f64) -> Result<u32> {
    let mut rest = uniform;
    for candidate in candidates {
        if rest < candidate.probability {
            return Ok(candidate.id);
        }
        rest -= candidate.probability;
    }
    // Rounding may leave a crumb beyond the last one.
    candidates.last().map(|candidate| candidate.id).ok_or_else(|| Error::new("there is no token to choose from"))
}

/// The number in [0, 1) that decides the token at `position` of text number `stream`.
///
/// The first 53 bits of a hash: any two keys give unrelated numbers, and nothing has to be stored or replayed.
pub fn uniform(seed: u64, stream: u64, position: u64) -> f64 {
    let mut key = [0_u8; 24];
    for (slot, number) in key.chunks_exact_mut(8).zip([seed, stream, position]) {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    let hash = blake3::hash(&key);
    let mut first = [0_u8; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Index of the largest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > best.map_or(f32::NEG_INFINITY, |(_, top)| top) {
            best = Some((index, *logit));
        }
    }
    best.map(|(index, _)| index)
}

fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn weight(logit: f32, top: f32) -> f64 {
    (f64::from(logit) - f64::from(top)).exp()
}

/// Drops what is less likely than the k-th; equals of the k-th stay, so that no id is favoured.
fn keep_top_k(kept: &mut Vec<Candidate>, k: usize) {
    let (_, at, _) = kept.select_nth_unstable_by(k - 1, order);
    let least = at.logit;
    kept.retain(|candidate| candidate.logit >= least);
}

/// Keeps the nucleus, sorted. The nucleus is mostly tiny beside the vocabulary, so growing prefixes are selected and
/// sorted until one reaches `p`, in place of a sort of everything for every token.
fn keep_top_p(kept: &mut Vec<Candidate>, p: f64, rule: TopPRule) {
    const FIRST: usize = 64;
    const GROWTH: usize = 8;
    let top = kept.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = kept.iter().map(|candidate| weight(candidate.logit, top)).sum();
    let mut size = FIRST;
    loop {
        let end = size.min(kept.len());
        if end < kept.len() {
            kept.select_nth_unstable_by(end - 1, order);
        }
        kept[..end].sort_unstable_by(order);
        let mut sum = 0.0;
        let crossing = kept[..end].iter().position(|candidate| {
            sum += weight(candidate.logit, top) / total;
            // Keeping: the first that reaches p ends the nucleus. Dropping: the first beyond p falls out.
            match rule {
                TopPRule::KeepCrossing => sum >= p,
                TopPRule::DropCrossing => sum > p,
            }
        });
        if let Some(crossing) = crossing {
            let keep = match rule {
                TopPRule::KeepCrossing => crossing + 1,
                TopPRule::DropCrossing => crossing.max(1),
            };
            kept.truncate(keep);
            return;
        }
        if end == kept.len() {
            return;
        }
        size *= GROWTH;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_probabilities(probabilities: &[f64]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() as f32).collect()
    }

    fn ids(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        candidates(logits, sampling).unwrap().iter().map(|candidate| candidate.id).collect()
    }

    fn plain() -> Sampling {
        Sampling { temperature: 1.0, top_p: 1.0, ..Sampling::default() }
    }

    #[test]
    fn the_token_that_crosses_p_stays_or_goes_by_the_rule() {
        let logits = of_probabilities(&[0.05, 0.5, 0.15, 0.3]);
        let keep = Sampling { top_p: 0.81, ..plain() };
        assert_eq!(ids(&logits, &keep), [1, 3, 2]);
        let drop = Sampling { top_p_rule: TopPRule::DropCrossing, ..keep };
        assert_eq!(ids(&logits, &drop), [1, 3]);
        // The likeliest always stays, however small p is.
        assert_eq!(ids(&logits, &Sampling { top_p: 0.01, ..drop }), [1]);
    }

    #[test]
    fn equals_of_the_kth_stay_and_ids_order_equals() {
        let logits = [1.0, 3.0, 2.0, 2.0, 0.0];
        assert_eq!(ids(&logits, &Sampling { top_k: 2, ..plain() }), [1, 2, 3]);
        assert_eq!(ids(&[2.0, 5.0, 5.0], &Sampling::greedy()), [1]);
    }

    #[test]
    fn the_penalty_makes_seen_tokens_less_likely_whatever_their_sign_and_only_once() {
        let mut logits = [2.0, -1.0, 2.0, 4.0];
        penalise(&mut logits, &[0, 1, 0, 1, 99], 2.0);
        assert_eq!(logits, [1.0, -2.0, 2.0, 4.0]);
    }

    #[test]
    fn temperature_sharpens() {
        let logits = of_probabilities(&[0.2, 0.8]);
        let first = |temperature| candidates(&logits, &Sampling { temperature, ..plain() }).unwrap()[0].probability;
        assert!((first(1.0) - 0.8).abs() < 1e-6);
        assert!((first(0.5) - 0.64 / 0.68).abs() < 1e-6);
        assert!(first(2.0) < 0.7);
    }

    #[test]
    fn draws_follow_the_probabilities_and_differ_by_seed_stream_and_position() {
        let candidates = candidates(&of_probabilities(&[0.2, 0.7, 0.1]), &plain()).unwrap();
        let mut counts = [0_u32; 3];
        for position in 0..10_000 {
            counts[choose(&candidates, uniform(7, 0, position)).unwrap() as usize] += 1;
        }
        // Five standard deviations of a binomial of 10,000.
        for (count, expected) in counts.into_iter().zip([2000.0, 7000.0, 1000.0]) {
            assert!((f64::from(count) - expected).abs() < 230.0, "{counts:?}");
        }
        let keys = [uniform(1, 0, 0), uniform(0, 1, 0), uniform(0, 0, 1), uniform(0, 0, 0)];
        assert!(keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 1));
        // Pinned: a changed draw would change every text a seed has given so far.
        assert_eq!(uniform(0, 0, 0), 0.485_451_619_418_143_3);
    }

    #[test]
    fn damaged_logits_are_an_error() {
        let error = candidates(&[0.0, f32::NAN], &plain()).unwrap_err();
        assert!(error.to_string().contains("not finite"));
        assert!(candidates(&[f32::NEG_INFINITY; 3], &Sampling::greedy()).is_err());
        assert_eq!(ids(&[f32::NEG_INFINITY, 0.0], &plain()), [1], "a banned token is no candidate");
    }

    proptest! {
        #[test]
        fn the_nucleus_is_the_one_of_a_full_sort(logits in prop::collection::vec(-6.0_f32..6.0, 1..900), p in 0.01..0.999_f64) {
            let found = candidates(&logits, &Sampling { top_p: p, ..plain() }).unwrap();
            let all = candidates(&logits, &plain()).unwrap();
            let mut sum = 0.0;
            let size = all.iter().take_while(|candidate| { let before = sum; sum += candidate.probability; before < p }).count();
            // Two ways to sum may disagree by one token where p falls on a boundary.
            prop_assert!(found.len().abs_diff(size) <= 1);
            for (candidate, of_all) in found.iter().zip(&all) {
                prop_assert_eq!(candidate.id, of_all.id);
            }
            let total: f64 = found.iter().map(|candidate| candidate.probability).sum();
            prop_assert!((total - 1.0).abs() < 1e-9);
        }
    }
}
