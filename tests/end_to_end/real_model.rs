//! A real model on real text against another program. `tests/real_model/run.sh` fetches both and runs this.

use std::fs;
use std::path::PathBuf;

use psann_core::Tokenizer;
use psann_eval::network::Network;
use psann_eval::session::Session;
use psann_train::checkpoint::load_model;
use serde_json::Value;
// Linking the crate registers its plugins.
use psann_plugins_nn as _;

#[test]
#[ignore = "needs what tests/real_model/run.sh fetches"]
#[expect(clippy::print_stderr, reason = "the figure is what the test is run for")]
fn real_model_log_probabilities_are_those_of_numpy() {
    let Some(folder) = std::env::var_os("PSANN_REAL_MODEL").map(PathBuf::from) else {
        eprintln!("\n==== SKIPPED: the real model was not tested; tests/real_model/run.sh fetches it ====\n");
        return;
    };
    let loaded = load_model(&folder.join("model")).unwrap();
    let network = Network::new(loaded.model.as_ref(), &loaded.parameters).unwrap();
    let tokenizer = psann_data::tokenizer::open(&folder.join("model")).unwrap();
    let (mut worst, mut tokens) = (0.0_f64, 0);
    let expected = fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let lines: Vec<Value> = expected.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 50);
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(serde_json::from_value::<Vec<u32>>(line["ids"].clone()).unwrap(), ids, "ids of {text:?}");
        let logits = Session::new(network).feed_all(&[&ids]).unwrap().get(0);
        let theirs: Vec<f64> = serde_json::from_value(line["log_probabilities"].clone()).unwrap();
        assert_eq!(theirs.len(), ids.len() - 1);
        for (place, expected) in theirs.iter().enumerate() {
            let row = Vec::<f32>::try_from(logits.get(place as i64)).unwrap();
            let off = (log_probability(&row, ids[place + 1]) - expected).abs();
            assert!(off < 1e-4, "token {} of {text:?}: off by {off}", place + 1);
            worst = worst.max(off);
        }
        tokens += theirs.len();
    }
    eprintln!("{} texts, {tokens} tokens: log-probabilities differ by {worst:.1e} at most", lines.len());
}

/// Logarithm of the probability of `token`.
fn log_probability(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    f64::from(logits[token as usize] - most) - sum.ln()
}
