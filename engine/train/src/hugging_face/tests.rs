use std::fs;
use std::path::PathBuf;

use psann_core::model::{ForwardContext, logits};
use psann_core::plan::Component;
use psann_golden::set_directory;
use psann_plugins_nn as _;
use psann_plugins_nn::models::llama::{options::LlamaOptions, rope::Rope};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::*;
use crate::checkpoint::load_model;
use crate::export::{SaveOptions, SavedConfig};
use crate::options::Precision;

/// All folders of the set, sorted.
fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(set_directory("llama")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("config.json").is_file()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn case(name: &str) -> PathBuf {
    set_directory("llama").join(name)
}

fn expected(case: &Path, name: &str) -> Tensor {
    let all = Tensor::read_safetensors(case.join("expected.safetensors")).unwrap();
    all.into_iter().find(|(found, _)| found == name).unwrap().1
}

fn computed(folder: &Path, ids: &Tensor) -> Tensor {
    let loaded = load_model(folder).unwrap();
    tch::no_grad(|| logits(loaded.model.as_ref(), &loaded.parameters, ids, &mut ForwardContext::default()).unwrap())
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// All weights as their files hold them, by name.
fn stored(folder: &Path) -> Vec<(String, Kind, Vec<u8>)> {
    let mut found = crate::checkpoint::find_model(folder).unwrap();
    let names: Vec<(String, Kind)> =
        found.weights.tensors().iter().map(|(name, whole)| (name.clone(), whole.kind)).collect();
    let mut bytes = |name: &str| {
        let mut all = Vec::new();
        let mut put = |bytes: &[u8]| {
            all.extend_from_slice(bytes);
            Ok(())
        };
        found.weights.stream(name, &mut put).unwrap();
        all
    };
    names.into_iter().map(|(name, kind)| (name.clone(), kind, bytes(&name))).collect()
}

#[test]
fn golden_llama_logits_are_those_of_transformers() {
    for case in cases() {
        let off = distance(&computed(&case, &expected(&case, "ids")), &expected(&case, "logits"));
        assert!(off < 1e-5, "{}: off by {off}", case.display());
    }
}

#[test]
fn golden_llama_frequencies_are_those_of_transformers_bit_for_bit() {
    for case in cases() {
        let component = config::read(&case).unwrap();
        let options: LlamaOptions = psann_core::options::parse(&component.options).unwrap();
        let head = options.sizes().unwrap().head;
        let positions = options.max_position_embeddings;
        let rope = Rope::new(options.rope_theta, &options.rope_scaling, head, positions).unwrap();
        let frequencies: Vec<f32> = expected(&case, "frequencies").try_into().unwrap();
        assert_eq!(rope.frequencies, frequencies, "{}", case.display());
        let factor = expected(&case, "attention_factor").double_value(&[0]);
        assert!((rope.attention_factor - factor).abs() < 1e-12, "{}: {factor}", case.display());
    }
}

#[test]
fn golden_llama_folders_are_imported_and_written_again_to_the_bit() {
    for case in cases() {
        let scratch = tempfile::tempdir().unwrap();
        let (imported, written) = (scratch.path().join("imported"), scratch.path().join("written"));
        import(&case, &imported).unwrap();
        let dtype = if stored(&imported)[0].1 == Kind::BFloat16 { Precision::Bf16 } else { Precision::Fp32 };
        // Small, so that there are several files.
        let max_shard_size = psann_core::quantity::Bytes(20_000);
        let options = SaveOptions { dtype, max_shard_size, ..SaveOptions::default() };
        let report = export(&imported, &written, None, &options).unwrap();
        assert_eq!(report.parameters, SavedConfig::read(&imported).unwrap().parameters);
        assert!(written.join("model.safetensors.index.json").is_file());
        let place = case.display();
        assert_eq!(stored(&written), stored(&imported), "{place}");
        if stored(&case)[0].1 != Kind::Half {
            assert_eq!(stored(&written), stored(&case), "{place}");
        }
        let off = distance(&computed(&written, &expected(&case, "ids")), &expected(&case, "logits"));
        assert!(off < 1e-5, "{place}: off by {off}");
        // What the new configuration says is what the old one did.
        let same = |folder: &Path| -> LlamaOptions {
            let mut options: LlamaOptions = psann_core::options::parse(&config::read(folder).unwrap().options).unwrap();
            options.head_dim = Some(options.sizes().unwrap().head);
            let rule = &mut options.rope_scaling;
            let original = rule.original_max_position_embeddings.get_or_insert(options.max_position_embeddings);
            assert!(*original > 0);
            options
        };
        assert_eq!(same(&written), same(&case), "{place}");
    }
}

#[test]
fn a_model_with_few_options_is_written_with_all_that_transformers_needs() {
    let mut component = Component::new(psann_core::registry::Kind::Model, "llama");
    component.options = json!({ "vocab": 40, "d_model": 24, "n_heads": 4, "n_kv_heads": 2, "n_layers": 1,
        "rope_scaling": { "rope_type": "llama3", "factor": 4.0 } });
    let model = psann_core::registry::model("llama", &component.options).unwrap();
    let tokens = TokenizerFolder { bos: Some(3), eos: Some(4), ..TokenizerFolder::default() };
    let config = config::write(&component, model.as_ref(), Kind::BFloat16, &tokens).unwrap();
    let expected = json!({
        "architectures": [
            "LlamaForCausalLM"
        ],
        "model_type": "llama",
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": 3,
        "eos_token_id": 4,
        "pad_token_id": null,
        "head_dim": 6,
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "max_position_embeddings": 2048,
        "mlp_bias": false,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 2048,
            "rope_type": "llama3"
        },
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "torch_dtype": "bfloat16",
        "use_cache": true,
        "vocab_size": 40
    });
    assert_eq!(config, expected);
}

/// A copy of a case that a test changes.
fn copied(name: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(case(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scratch.path().join(path.file_name().unwrap())).unwrap();
    }
    change(scratch.path());
    scratch
}

fn with_config(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    copied(name, |folder| {
        let mut config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
        change(&mut config);
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
    })
}

/// Message and hint.
fn refusal(folder: &Path) -> [String; 2] {
    let error = load_model(folder).err().unwrap();
    [error.message(), error.hint_text().unwrap_or_default()]
        .map(|text| text.replace(&folder.display().to_string(), "DIR"))
}

#[test]
fn what_is_not_supported_is_named() {
    let of = |change: &dyn Fn(&mut Value)| refusal(with_config("plain", change).path());
    assert_eq!(
        of(&|c| c["model_type"] = json!("qwen2")),
        [
            "`DIR/config.json`: models of type `qwen2` are not supported",
            "models of type `llama` are; many others were converted to it"
        ]
    );
    assert_eq!(
        of(&|c| c["hidden_act"] = json!("gelu")),
        ["`DIR/config.json`: `hidden_act` `gelu` is not supported", ""]
    );
    assert_eq!(
        of(&|c| c["rope_parameters"]["rope_type"] = json!("dynamic")),
        [
            "`DIR/config.json`: rotary positions of type `dynamic` are not supported",
            "its frequencies change while a text grows, so cached keys would be wrong"
        ]
    );
    assert_eq!(
        of(&|c| c["quantization_config"] = json!({ "bits": 4 })),
        ["`DIR/config.json`: a model with quantised weights (`quantization_config`) is not supported", ""]
    );
    assert_eq!(
        of(&|c| c["hidden_size"] = json!("wide")),
        ["`DIR/config.json`: it does not describe a llama model", ""]
    );
    assert_eq!(
        of(&|c| c["num_key_value_heads"] = json!(3)),
        [
            "`DIR/config.json`: model `llama`: `n_kv_heads` 3 does not divide `n_heads` 4",
            "each head of keys and values serves the same number of heads"
        ]
    );
}

#[test]
fn missing_extra_and_misshapen_tensors_are_named_with_their_file() {
    let of = |name: &str, change: &dyn Fn(&mut Value)| refusal(with_config(name, change).path());
    assert_eq!(
        of("plain", &|c| c["num_hidden_layers"] = json!(3)),
        ["`DIR` has no tensor `model.layers.2.input_layernorm.weight`", "is it of this model?"]
    );
    assert_eq!(
        of("sharded", &|c| c["num_hidden_layers"] = json!(1)),
        [
            "`DIR/model-00006-of-00007.safetensors`: the model has no parameter `model.layers.1.input_layernorm.weight`",
            "is it of this model?"
        ]
    );
    assert_eq!(
        of("sharded", &|c| c["intermediate_size"] = json!(41)),
        [
            "`DIR/model-00004-of-00007.safetensors`: tensor `model.layers.0.mlp.down_proj.weight` has shape [32, 40], the model needs [32, 41]",
            ""
        ]
    );
    let folder = copied("sharded", |folder| fs::remove_file(folder.join("model-00002-of-00007.safetensors")).unwrap());
    assert_eq!(
        refusal(folder.path()),
        ["cannot read `DIR/model-00002-of-00007.safetensors`", "fetch the folder again"]
    );
    let folder = copied("plain", |folder| fs::remove_file(folder.join("model.safetensors")).unwrap());
    assert_eq!(
        refusal(folder.path()),
        ["`DIR` has neither `model.safetensors` nor `model.safetensors.index.json`", "fetch the folder again"]
    );
    let folder = copied("plain", |folder| {
        let file = folder.join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    });
    assert_eq!(
        refusal(folder.path()),
        ["`DIR/model.safetensors` is damaged: its header does not fit its size", "fetch the folder again"]
    );
    let folder = copied("sharded", |folder| {
        let index = folder.join("model.safetensors.index.json");
        let text = fs::read_to_string(&index).unwrap().replace("model-00001-of", "../model-00001-of");
        fs::write(&index, text).unwrap();
    });
    assert_eq!(
        refusal(folder.path()),
        [
            "`DIR/model.safetensors.index.json`: `../model-00001-of-00007.safetensors` is no name of a file beside it",
            "fetch the folder again"
        ]
    );
}

#[test]
fn tables_of_old_programs_are_passed_over_and_two_different_matrices_are_not_tied() {
    let folder = copied("head_written_too", |folder| {
        let file = folder.join("model.safetensors");
        let mut tensors = Tensor::read_safetensors(&file).unwrap();
        for (name, tensor) in &mut tensors {
            if name == "lm_head.weight" {
                *tensor = &*tensor * 2.0;
            }
        }
        tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), Tensor::from_slice(&[1.0_f32; 4])));
        Tensor::write_safetensors(&tensors, &file).unwrap();
    });
    let ids = expected(&case("head_written_too"), "ids");
    let twice = expected(&case("head_written_too"), "logits") * 2.0;
    assert!(distance(&computed(folder.path(), &ids), &twice) < 2e-5);
    let found = find(folder.path()).unwrap();
    assert_eq!(found.component.options["tie_embeddings"], false);
}
