//! The toy language models of the golden set: logits are hashes of the ids before them.

use std::cell::RefCell;
use std::collections::HashMap;

use psann_core::Tokenizer;
use psann_eval::harness::{Answer, Request, Scored};
use psann_golden::rows;
use serde_json::Value;

use super::cases::SET;

const G: u64 = 0x9E37_79B9_7F4A_7C15;

/// One prediction: the logarithm that normalises it, and the first of the likeliest ids.
#[derive(Clone, Copy)]
struct Prediction {
    normaliser: f64,
    best: u32,
}

pub struct Toy<'a> {
    tokenizer: &'a dyn Tokenizer,
    seed: u64,
    window: Option<usize>,
    bonus: f64,
    ascii_bonus: f64,
    memory: HashMap<[u32; 4], u32>,
    known: RefCell<HashMap<(u64, Option<u32>), Prediction>>,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn step(h: u64, id: u32) -> u64 {
    mix(h.wrapping_add(G) ^ u64::from(id))
}

impl<'a> Toy<'a> {
    pub fn new(name: &str, tokenizer: &'a dyn Tokenizer) -> Self {
        let toy = rows::value(SET, "toy.json");
        let seed = toy["toys"][name]["seed"].as_str().unwrap();
        let mut memory = HashMap::new();
        for text in toy["memory"].as_array().unwrap() {
            let ids = tokenizer.encode_markup(text.as_str().unwrap(), false).unwrap();
            for window in ids.windows(5) {
                memory.insert([window[0], window[1], window[2], window[3]], window[4]);
            }
        }
        Self {
            tokenizer,
            seed: u64::from_str_radix(seed.trim_start_matches("0x"), 16).unwrap(),
            window: toy["toys"][name]["window"].as_u64().map(|window| window as usize),
            bonus: toy["bonus"].as_f64().unwrap(),
            ascii_bonus: toy["ascii_bonus"].as_f64().unwrap(),
            memory,
            known: RefCell::default(),
        }
    }

    fn logit(&self, h: u64, remembered: Option<u32>, id: u32) -> f64 {
        let r = mix(h.wrapping_add((u64::from(id) + 1).wrapping_mul(G)));
        let mut logit = (r >> 42) as f64 / f64::from(1 << 20);
        if id == 10 || (32..=126).contains(&id) {
            logit += self.ascii_bonus;
        }
        if remembered == Some(id) {
            logit += self.bonus;
        }
        logit
    }

    fn predict(&self, h: u64, remembered: Option<u32>) -> Prediction {
        if let Some(known) = self.known.borrow().get(&(h, remembered)) {
            return *known;
        }
        let logits: Vec<f64> =
            (0..self.tokenizer.vocabulary() as u32).map(|id| self.logit(h, remembered, id)).collect();
        let mut best = 0;
        for (id, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = id;
            }
        }
        let largest = logits[best];
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let prediction = Prediction { normaliser: largest + sum.ln(), best: best as u32 };
        self.known.borrow_mut().insert((h, remembered), prediction);
        prediction
    }

    /// State and remembered id behind `input`; `whole` is the state of all of it.
    fn state(&self, input: &[u32], whole: u64) -> (u64, Option<u32>) {
        let h = match self.window {
            None => whole,
            Some(window) => input[input.len().saturating_sub(window)..].iter().fold(self.seed, |h, id| step(h, *id)),
        };
        let key = input.last_chunk::<4>();
        (h, key.and_then(|key| self.memory.get(key).copied()))
    }

    /// Log-likelihood, and whether greedy decoding gives the same.
    pub fn score(&self, scored: &Scored) -> (f64, bool) {
        let mut input = scored.context.clone();
        let mut whole = input.iter().fold(self.seed, |h, id| step(h, *id));
        let (mut sum, mut greedy) = (0.0, true);
        for id in &scored.continuation {
            let (h, remembered) = self.state(&input, whole);
            let prediction = self.predict(h, remembered);
            sum += self.logit(h, remembered, *id) - prediction.normaliser;
            greedy &= prediction.best == *id;
            input.push(*id);
            whole = step(whole, *id);
        }
        (sum, greedy)
    }

    fn generate(&self, context: &[u32], stop: &[String], tokens: usize) -> String {
        let mut input = context.to_vec();
        let mut whole = input.iter().fold(self.seed, |h, id| step(h, *id));
        let mut text = String::new();
        while input.len() < context.len() + tokens {
            let (h, remembered) = self.state(&input, whole);
            let next = self.predict(h, remembered).best;
            if Some(next) == self.tokenizer.special().eos {
                break;
            }
            input.push(next);
            whole = step(whole, next);
            text = self.tokenizer.decode(&input[context.len()..]).unwrap();
            if let Some(end) = stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
                text.truncate(end);
                break;
            }
        }
        text
    }

    pub fn answer(&self, request: &Request) -> Answer {
        match request {
            Request::Score(scored) => {
                let (log_likelihood, is_greedy) = self.score(scored);
                Answer::Score { log_likelihood, is_greedy }
            }
            Request::Rolling { windows } => {
                Answer::Rolling { log_likelihood: windows.iter().map(|window| self.score(window).0).sum() }
            }
            Request::Generate { context, stop, tokens, .. } => {
                Answer::Generated { text: self.generate(context, stop, *tokens) }
            }
        }
    }
}

/// The first sixteen digits of the hash of ids.
pub fn ids_sha(ids: impl Iterator<Item = u32>) -> Value {
    use sha2::{Digest, Sha256};
    let bytes: Vec<u8> = ids.flat_map(u32::to_le_bytes).collect();
    Value::from(&format!("{:x}", Sha256::digest(bytes))[..16])
}
