//! Files that the Python reference wrote: read whole, with the logits and moments that it had; bad ones refused.

use std::collections::BTreeMap;

use psann_core::model::{ForwardContext, ParameterSpec, logits};
use psann_core::{Error, Model};
use psann_golden::{Case, Pair, cases, waveresnet_options};
use psann_train::reference::{Imported, ReadOptions, read};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

/// Every file of the case with what is said of it.
fn files(case: &Case) -> Vec<(String, Value)> {
    case.config["files"].as_object().unwrap().iter().map(|(name, about)| (name.clone(), about.clone())).collect()
}

fn text<'a>(about: &'a Value, key: &str) -> &'a str {
    about[key].as_str().unwrap_or_default()
}

/// What the tensors of a file are called after.
fn stem(name: &str) -> &str {
    name.strip_suffix(".pt").unwrap_or(name)
}

/// Whether the file must be refused.
fn is_bad(about: &Value) -> bool {
    text(about, "expect").starts_with("refuse") || waveresnet_options(about).is_err()
}

/// What a user has to say of a file that holds no configuration.
fn options(about: &Value) -> ReadOptions {
    let schema = text(about, "schema");
    let knows = schema.starts_with("psannlm.") || schema.starts_with("HEAD model");
    let mut model = serde_json::Map::new();
    if !knows && let Ok(all) = waveresnet_options(about) {
        for key in ["n_heads", "positional_encoding", "sine"] {
            model.insert(key.into(), all[key].clone());
        }
        if all.get("wave").is_some() {
            model.insert("wave".into(), json!({ "dilation_growth": all["wave"]["dilation_growth"] }));
        }
    }
    ReadOptions { model, optimizer: true }
}

fn import(case: &Case, name: &str, about: &Value) -> Result<Imported, Error> {
    read(&case.directory.join(name), &options(about))
}

fn network(imported: Imported, name: &str) -> (Box<dyn Model>, Vec<Vec<Tensor>>) {
    let mut by_name: BTreeMap<String, Tensor> = imported.parameters.into_iter().collect();
    let mut take = |spec: &ParameterSpec| by_name.remove(&spec.name).unwrap_or_else(|| panic!("{name}: {}", spec.name));
    let segments = imported.model.segments().iter();
    let parameters = segments.map(|segment| segment.parameters.iter().map(&mut take).collect()).collect();
    assert!(by_name.is_empty(), "{name}: {:?}", by_name.keys());
    (imported.model, parameters)
}

#[test]
fn golden_psann_checkpoint_logits() {
    let mut failures = Vec::new();
    for case in cases("psann", "checkpoint") {
        let io = case.read("io");
        let mut pairs: Vec<Pair> = Vec::new();
        for (name, about) in files(&case) {
            if is_bad(&about) {
                continue;
            }
            let imported = import(&case, &name, &about).unwrap_or_else(|e| panic!("{name}: {e}"));
            let (model, parameters) = network(imported, &name);
            let ids = &io[&format!("in.ids.{}", stem(&name))];
            let found =
                tch::no_grad(|| logits(model.as_ref(), &parameters, ids, &mut ForwardContext::default())).unwrap();
            let key = format!("out.logits.{}", stem(&name));
            pairs.push((key.clone(), io[&key].shallow_clone(), found));
        }
        assert!(!pairs.is_empty());
        failures.extend(case.compare(&pairs).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn golden_psann_checkpoint_optimizer_state() {
    let mut failures = Vec::new();
    for case in cases("psann", "checkpoint") {
        let io = case.read("io");
        let mut pairs: Vec<Pair> = Vec::new();
        for (name, about) in files(&case) {
            let key = format!("out.optim.{}", stem(&name));
            let Some(expected) = io.get(&key) else { continue };
            let imported = import(&case, &name, &about).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(imported.step, about["state"]["step"].as_u64().unwrap(), "{name}");
            let tokens = about["data_state"]["tokens_per_step"].as_u64().unwrap() * imported.step;
            assert_eq!(imported.tokens, tokens, "{name}");
            let optimizer = imported.optimizer.unwrap();
            assert_eq!(optimizer.step, imported.step, "{name}");
            if about["optimizer_group"].is_object() {
                let group = &about["optimizer_group"];
                assert_eq!(optimizer.options["lr"], group["initial_lr"], "{name}");
                assert_eq!(optimizer.options["betas"], group["betas"], "{name}");
                assert_eq!(optimizer.options["weight_decay"], group["weight_decay"], "{name}");
            }
            let sums: Vec<f64> = imported
                .parameters
                .iter()
                .enumerate()
                .flat_map(|(index, (parameter, _))| {
                    let sum = |state: &str| {
                        let name = format!("{parameter}.{state}");
                        let found = optimizer.tensors.iter().find(|(of, _)| *of == name);
                        found.map_or(f64::NAN, |(_, tensor)| tensor.sum(Kind::Double).double_value(&[]))
                    };
                    [index as f64, sum("exp_avg"), sum("exp_avg_sq")]
                })
                .collect();
            let found = Tensor::from_slice(&sums).view([-1, 3]);
            pairs.push((key, expected.shallow_clone(), found));
        }
        failures.extend(case.compare(&pairs).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn golden_psann_checkpoint_refusals_name_file_and_entry() {
    for case in cases("psann", "checkpoint") {
        for (name, about) in files(&case).into_iter().filter(|(_, about)| is_bad(about)) {
            let Err(error) = import(&case, &name, &about) else { panic!("{name} was read") };
            let message = error.to_string();
            assert!(message.contains(&name), "{message}");
            // What the description says that the message must name, and what stands for the rest of it.
            let expect = text(&about, "expect");
            let named = expect.split_once("name ").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
            if let Some(entry) = named.filter(|entry| entry.contains('.')) {
                assert!(message.contains(entry), "{name}: {message}");
            }
            for (said, part) in [("truncated", "cut short"), ("function", "no part of a checkpoint")] {
                assert!(!expect.contains(said) || message.contains(part), "{name}: {message}");
            }
            if expect.contains("both shapes") {
                assert_eq!(message.matches('[').count(), 2, "{name}: {message}");
            }
            if let Err(reason) = waveresnet_options(&about)
                && about["model"].is_object()
            {
                assert!(message.contains("not built") || message.contains(&reason), "{name}: {message}");
            }
        }
    }
}

#[test]
fn golden_psann_checkpoint_files_of_trainers_without_a_configuration_are_never_guessed() {
    for case in cases("psann", "checkpoint") {
        for (name, about) in files(&case) {
            if !text(&about, "note").contains("must be supplied") {
                continue;
            }
            let error = read(&case.directory.join(&name), &ReadOptions::default()).map(drop).unwrap_err();
            assert!(error.hint_text().unwrap_or_default().contains("heads"), "{name}: {error}");
        }
    }
}

#[test]
fn golden_psann_checkpoint_greedy_texts_and_tokenizers() {
    for case in cases("psann", "checkpoint") {
        for (name, about) in files(&case) {
            let Some(texts) = about["greedy_with_reference_prompt_layout"].as_array() else { continue };
            let imported = import(&case, &name, &about).unwrap_or_else(|e| panic!("{name}: {e}"));
            let characters = about["tokenizer"]["vocabulary"].as_array().unwrap();
            let files = imported.tokenizer.as_ref().unwrap();
            let tokenizer: Value = serde_json::from_str(&files.json).unwrap();
            for (index, character) in characters.iter().enumerate() {
                assert_eq!(tokenizer["model"]["vocab"][character.as_str().unwrap()], index as u64 + 4, "{name}");
            }
            let (model, parameters) = network(imported, &name);
            for expected in texts {
                let ids = |key: &str| -> Vec<i64> { serde_json::from_value(expected[key].clone()).unwrap() };
                let mut sequence = ids("prompt_ids");
                let start = sequence.len();
                let wanted = ids("greedy_ids");
                for _ in 0..wanted.len() {
                    let input = Tensor::from_slice(&sequence).unsqueeze(0);
                    let scores =
                        tch::no_grad(|| logits(model.as_ref(), &parameters, &input, &mut ForwardContext::default()))
                            .unwrap();
                    sequence.push(scores.select(0, 0).select(0, -1).argmax(-1, false).int64_value(&[]));
                }
                assert_eq!(sequence[start..], wanted, "{name}: {}", expected["prompt"]);
            }
        }
    }
}

#[test]
fn golden_psann_checkpoint_optimizer_state_is_read_only_when_asked_for() {
    for case in cases("psann", "checkpoint") {
        for (name, about) in files(&case) {
            if is_bad(&about) {
                continue;
            }
            let without = ReadOptions { optimizer: false, ..options(&about) };
            let imported = read(&case.directory.join(&name), &without).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(imported.optimizer.is_none(), "{name}");
        }
    }
}
