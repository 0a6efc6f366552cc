//! Generation and sampling against the reference software's numbers. Every case of a kind is taken; what is not built is
//! listed as skipped by name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::ops::Range;

use psann_core::tokenizer::SpecialTokens;
use psann_core::{Model, Result, Tokenizer, registry};
use psann_eval::sampling::{self, Sampling, TopPRule};
use psann_eval::session::{Sequence, Session};
use psann_eval::{GenerateOptions, Generator, Network};
use psann_golden::{Case, Pair, cases, waveresnet_cases};
// Linked for its registrations.
use psann_plugins_nn as _;
use tch::{Kind, Tensor};

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn parameters(model: &dyn Model, weights: &BTreeMap<String, Tensor>) -> Vec<Vec<Tensor>> {
    let value =
        |name: &str| weights.get(name).unwrap_or_else(|| panic!("`{name}` is not in the state dict")).shallow_clone();
    let segments = model.segments().iter();
    segments.map(|segment| segment.parameters.iter().map(|spec| value(&spec.name)).collect()).collect()
}

#[test]
fn golden_psann_generate() {
    let mut failures = Vec::new();
    let mut tested = 0;
    for (case, options) in waveresnet_cases("psann", "generate") {
        let model = registry::model("waveresnet", &options).unwrap();
        let parameters = parameters(model.as_ref(), &case.read("weights"));
        let network = Network::new(model.as_ref(), &parameters).unwrap();
        if let Err(message) = case.compare(&generate(&case, network)) {
            failures.push(message);
        }
        tested += 1;
    }
    assert!(tested > 0, "no case was tested");
    assert_none(&failures);
}

fn generate(case: &Case, network: Network<'_>) -> Vec<Pair> {
    let io = case.read("io");
    let (prompts, tokens) = (&io["in.input_ids"], &io["out.tokens"]);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut add = |name: &str, found: Tensor| pairs.push((name.to_owned(), io[name].shallow_clone(), found));

    let (prompts, tokens) = (rows(prompts), rows(tokens));
    add("out.prefill_logits", Session::new(network).feed_all(&slices(&prompts, 0, prompts[0].len())).unwrap());
    let (prompt, new) = (prompts[0].len(), tokens[0].len());

    // Rows of one batch share a session; each step reads the reference's own choice, so that one near tie cannot
    // change everything behind it.
    let mut session = Session::new(network);
    let mut steps = vec![session.feed(&slices(&prompts, 0, prompt)).unwrap()];
    for step in 0..new {
        let logits = session.feed(&slices(&tokens, step, 1)).unwrap();
        if step + 1 < new {
            steps.push(logits);
        }
    }
    assert_eq!(session.length(), prompt + new);
    add("out.step_logits", Tensor::stack(&steps, 0));
    add_cache(case, &session, &io, &mut add);

    let whole: Vec<Vec<u32>> = prompts.iter().zip(&tokens).map(|(a, b)| [a.as_slice(), b].concat()).collect();
    add("out.full_logits", Session::new(network).feed_all(&slices(&whole, 0, prompt + new)).unwrap());
    let mut session = Session::new(network);
    let chunks = case.config["chunks"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize);
    let chunked: Vec<Tensor> =
        chunks.map(|length| session.feed_all(&slices(&whole, session.length(), length)).unwrap()).collect();
    add("out.chunked_logits", Tensor::cat(&chunked, 1));

    // The product's own loop, one prompt at a time.
    let tokenizer = Bare(network.model.vocabulary() as usize);
    let generator = Generator::new(network, &tokenizer).unwrap();
    let options = GenerateOptions { tokens: new, sampling: Sampling::greedy(), ..GenerateOptions::default() };
    let chosen: Vec<Tensor> = prompts
        .iter()
        .map(|ids| {
            let prompt = generator.read_ids(ids.clone()).unwrap();
            let generated =
                generator.continue_prompt(&prompt, &options, 0, &mut |_| ControlFlow::Continue(())).unwrap();
            Tensor::from_slice(&generated.tokens.iter().map(|token| i64::from(*token)).collect::<Vec<_>>())
        })
        .collect();
    add("out.tokens", Tensor::stack(&chosen, 0));
    pairs
}

/// Ids `[rows, time]` as lists.
fn rows(ids: &Tensor) -> Vec<Vec<u32>> {
    let row = |row: i64| Vec::<i64>::try_from(ids.get(row)).unwrap().into_iter().map(|id| id as u32).collect();
    (0..ids.size()[0]).map(row).collect()
}

/// Some columns of all rows.
fn slices(rows: &[Vec<u32>], first: usize, count: usize) -> Vec<&[u32]> {
    rows.iter().map(|row| &row[first..first + count]).collect()
}

/// Keys and values of each block, which are the first two tensors that its segment keeps.
fn add_cache(case: &Case, session: &Session<'_>, io: &BTreeMap<String, Tensor>, add: &mut dyn FnMut(&str, Tensor)) {
    let layers = case.config["model"]["n_layers"].as_u64().unwrap() as usize;
    for layer in 0..layers {
        for (part, index) in [("k", 0), ("v", 1)] {
            let name = format!("out.cache.{layer}.{part}");
            // A cache may keep room for what comes; it holds [time, heads, size], the reference [heads, time, size].
            let time = io[&name].size()[2];
            assert_eq!(session.length() as i64, time);
            let of_row = |row: &Sequence| row.cache().segments[layer + 1][index].narrow(0, 0, time).transpose(0, 1);
            add(&name, Tensor::stack(&session.rows().iter().map(of_row).collect::<Vec<_>>(), 0));
        }
    }
}

/// Says nothing: the reference's cases are ids without text.
struct Bare(usize);

impl Tokenizer for Bare {
    fn encode(&self, _: &str) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        Ok(vec![Vec::new(); texts.len()])
    }

    fn encode_markup(&self, text: &str, _: bool) -> Result<Vec<u32>> {
        self.encode(text)
    }

    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        Ok(text.chars().enumerate().map(|(at, _)| (0, at..at + 1)).collect())
    }

    fn spelling(&self, id: u32) -> Option<String> {
        self.decode(&[id]).ok()
    }

    fn decode(&self, _: &[u32]) -> Result<String> {
        Ok(String::new())
    }

    fn vocabulary(&self) -> usize {
        self.0
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens::default()
    }

    fn identity(&self) -> String {
        "bare".into()
    }
}

#[test]
fn golden_psann_sampling() {
    let mut failures = Vec::new();
    let cases = cases("psann", "sampling");
    assert!(!cases.is_empty(), "no case was tested");
    for case in cases {
        let io = case.read("io");
        let logits = Vec::<Vec<f32>>::try_from(io["in.logits"].to_kind(Kind::Float)).unwrap();
        let settings = case.config["settings"].as_array().unwrap();
        let mut pairs: Vec<Pair> = Vec::new();
        for (index, setting) in settings.iter().enumerate() {
            let sampling = Sampling {
                temperature: setting["temperature"].as_f64().unwrap(),
                top_k: setting["top_k"].as_u64().unwrap_or(0) as usize,
                top_p: setting["top_p"].as_f64().unwrap_or(1.0),
                top_p_rule: TopPRule::DropCrossing,
                repetition_penalty: 1.0,
            };
            let (mut filtered, mut probabilities) = (Vec::new(), Vec::new());
            for row in &logits {
                let mut kept = vec![f32::NEG_INFINITY; row.len()];
                let mut chances = vec![0.0_f32; row.len()];
                for candidate in sampling::candidates(row, &sampling).unwrap() {
                    kept[candidate.id as usize] = candidate.logit;
                    chances[candidate.id as usize] = candidate.probability as f32;
                }
                filtered.push(Tensor::from_slice(&kept));
                probabilities.push(Tensor::from_slice(&chances));
            }
            for (name, found) in [("filtered", filtered), ("probs", probabilities)] {
                let name = format!("out.{name}.{index}");
                pairs.push((name.clone(), io[&name].shallow_clone(), Tensor::stack(&found, 0)));
            }
        }
        if let Err(message) = case.compare(&pairs) {
            failures.push(message);
        }
    }
    assert_none(&failures);
}
