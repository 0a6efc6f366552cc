//! Vectors of single rules.

use psann_eval::harness::metrics::choice::{first_largest, first_largest_per};
use psann_eval::harness::metrics::{Measured, Metric, statistics};
use psann_eval::harness::results::hash;
use psann_eval::harness::task::{clean, detokenize, fill_gap, split_last_word};
use psann_eval::python::MersenneTwister;
use psann_eval::python::text::{capitalize, count_words, split_trailing_space};
use psann_eval::windows::rolling;
use psann_golden::rows;
use serde_json::{Value, json};

use super::cases::SET;
use super::{assert_none, near};

/// The 32-bit words of a number in decimal digits, the lowest first; its sign is left out.
fn words(decimal: &str) -> Vec<u32> {
    let mut words: Vec<u32> = Vec::new();
    for digit in decimal.trim_start_matches('-').chars() {
        let mut carry = u64::from(digit.to_digit(10).unwrap());
        for word in &mut words {
            carry += u64::from(*word) * 10;
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            words.push(carry as u32);
        }
    }
    words
}

#[test]
fn golden_lmeval_rng() {
    let lines = rows::lines(SET, "t0/rng.jsonl.zst");
    let mut failures = Vec::new();
    for line in &lines {
        let seed = line["seed"].as_str().unwrap();
        let mut random = MersenneTwister::from_key(&words(seed));
        if let Ok(seed) = seed.parse::<i64>() {
            assert_eq!(MersenneTwister::new(seed).u32(), random.clone().u32());
        }
        for call in line["calls"].as_array().unwrap() {
            let count = call["values"].as_array().unwrap().len();
            let n = call["n"].as_u64().unwrap_or_default();
            let found: Value = match call["op"].as_str().unwrap() {
                "u32" => (0..count).map(|_| random.u32()).collect(),
                "random" => (0..count).map(|_| random.random()).collect(),
                "sample" => json!(random.sample(n, call["k"].as_u64().unwrap() as usize)),
                "choices" => (0..count).map(|_| random.choice(n as usize)).collect(),
                "below" => (0..count).map(|_| random.below(n)).collect(),
                "shuffle" => {
                    let mut items: Vec<u64> = (0..n).collect();
                    random.shuffle(&mut items);
                    json!(items)
                }
                other => panic!("operation `{other}`"),
            };
            if found != call["values"] {
                failures.push(format!("seed {seed}: {call}\n  found {found}"));
            }
        }
    }
    assert_none(lines.len(), &failures);
}

#[test]
fn golden_lmeval_strings() {
    let lines = rows::lines(SET, "t0/strings.jsonl.zst");
    let mut failures = Vec::new();
    for line in &lines {
        let input = &line["input"];
        let text = input.as_str().unwrap_or_default();
        let found = match line["rule"].as_str().unwrap() {
            "wikitext" => {
                assert_eq!(json!(count_words(text)), line["words"], "{text:?}");
                assert_eq!(json!(text.len()), line["bytes"], "{text:?}");
                json!(detokenize(text))
            }
            "hellaswag_clean" => json!(clean(text)),
            "capitalize" => json!(capitalize(text)),
            "move_whitespace" => {
                let (context, moved) = split_trailing_space(input[0].as_str().unwrap());
                json!([context, format!("{moved}{}", input[1].as_str().unwrap())])
            }
            "winogrande" => json!(fill_gap(text, ["A", "B b "]).unwrap()),
            "lambada" => json!(split_last_word(text)),
            "doc_hash" => json!(hash::document(input.as_object().unwrap())),
            other => panic!("rule `{other}`"),
        };
        if found != line["output"] {
            failures.push(format!("{line}\n  found {found}"));
        }
    }
    assert_none(lines.len(), &failures);
}

#[test]
fn golden_lmeval_windows() {
    let lines = rows::lines(SET, "t0/windows.jsonl.zst");
    let mut failures = Vec::new();
    for line in &lines {
        let (length, most) = (line["length"].as_u64().unwrap() as usize, line["max_length"].as_u64().unwrap() as usize);
        let windows = rolling(length + 1, most, most).into_iter();
        // The prefix stands before id 0.
        let found: Value =
            windows.map(|w| json!([w.start as i64 - 1, w.length, w.scored, w.start + w.length - w.scored])).collect();
        if found != line["windows"] {
            failures.push(format!("{line}\n  found {found}"));
        }
    }
    assert_none(lines.len(), &failures);
}

#[test]
fn golden_lmeval_metrics() {
    let lines = rows::lines(SET, "t0/metrics.jsonl.zst");
    let mut failures = Vec::new();
    for line in &lines {
        let args = &line["args"];
        let list = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<f64>>();
        let weighted = |value: &Value| -> Vec<Measured> {
            let pairs = value.as_array().unwrap().iter();
            pairs.map(|p| Measured::weighted(p[0].as_f64().unwrap(), p[1].as_u64().unwrap(), false)).collect()
        };
        let found = match line["metric"].as_str().unwrap() {
            "perplexity" => statistics::perplexity(&list(&args[0])),
            "weighted_perplexity" => Metric::WordPerplexity.aggregate(&weighted(&args[0]), 0).value,
            "bits_per_byte" => Metric::BitsPerByte.aggregate(&weighted(&args[0]), 0).value,
            "mean" => statistics::mean(&list(&args[0])),
            "mean_stderr" => statistics::mean_error(&list(&args[0])),
            "bootstrap_stderr_perplexity" => {
                statistics::bootstrap_error(&list(&args[0]), args[1].as_u64().unwrap() as usize)
            }
            "argmax" => first_largest(&list(&args[0])) as f64,
            "argmax_norm" => {
                let lengths: Vec<usize> = list(&args[1]).into_iter().map(|length| length as usize).collect();
                first_largest_per(&list(&args[0]), &lengths) as f64
            }
            other => panic!("metric `{other}`"),
        };
        if !near(found, line["value"].as_f64().unwrap(), 1e-12) {
            failures.push(format!("{line}\n  found {found}"));
        }
    }
    assert_none(lines.len(), &failures);
}
