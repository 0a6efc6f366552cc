//! `model/llama` against a composition of plain operations, and what must hold for every size of it. Golden data of
//! transformers are read where folders of Hugging Face are, in `psann-train`.

use std::collections::BTreeMap;

use psann_core::{Model, registry};
use psann_torch::autograd;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{LLAMA, distance, full, ids, weights};

fn model(changes: &Value) -> Box<dyn Model> {
    LLAMA.model(changes)
}

/// The model as its papers say it, in the simplest operations there are. `weights` by name.
fn composed(changes: &Value, weights: &BTreeMap<String, Tensor>, ids: &Tensor) -> Tensor {
    let options = LLAMA.options(changes);
    let number = |name: &str| options[name].as_i64().unwrap();
    let (batch, time) = (ids.size()[0], ids.size()[1]);
    let (heads, kv_heads) = (number("n_heads"), number("n_kv_heads"));
    let head = options["head_dim"].as_i64().unwrap_or(number("d_model") / heads);
    let eps = options["norm_eps"].as_f64().unwrap_or(1e-5);
    let norm = |x: &Tensor, name: &str| {
        let mean = (x * x).mean_dim([-1_i64].as_slice(), true, Kind::Double);
        x / (mean + eps).sqrt() * &weights[name]
    };
    let map = |x: &Tensor, name: &str| {
        let y = x.matmul(&weights[&format!("{name}.weight")].tr());
        weights.get(&format!("{name}.bias")).map_or(y.shallow_clone(), |bias| &y + bias)
    };
    let theta = options["rope_theta"].as_f64().unwrap_or(10_000.0);
    let slower = options["rope_scaling"]["factor"].as_f64().unwrap_or(1.0);
    let wide = (Kind::Double, Device::Cpu);
    let frequencies = (Tensor::arange(head / 2, wide) * (-2.0 * theta.ln() / head as f64)).exp() / slower;
    let angles = Tensor::arange(time, wide).unsqueeze(-1) * frequencies;
    let turned = |x: Tensor| {
        let (first, second) = (x.narrow(-1, 0, head / 2), x.narrow(-1, head / 2, head / 2));
        let (c, s) = (angles.cos(), angles.sin());
        Tensor::cat(&[&first * &c - &second * &s, second * c + first * s], -1)
    };
    let split = |x: Tensor, count: i64| x.view([batch, time, count, head]).transpose(1, 2);
    let hidden = Tensor::ones([time, time], (Kind::Bool, Device::Cpu)).triu(1);
    let mut x = weights["model.embed_tokens.weight"].index_select(0, &ids.view([-1])).view([batch, time, -1]);
    for layer in 0..number("n_layers") {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        let n = norm(&x, &name("input_layernorm.weight"));
        let q = turned(split(map(&n, &name("self_attn.q_proj")), heads));
        // Every key and value stands for as many heads: multi-head attention with repeated heads.
        let repeated = |x: Tensor| x.repeat_interleave_self_int(heads / kv_heads, 1, None);
        let k = repeated(turned(split(map(&n, &name("self_attn.k_proj")), kv_heads)));
        let v = repeated(split(map(&n, &name("self_attn.v_proj")), kv_heads));
        let scores = q.matmul(&k.transpose(-1, -2)) / (head as f64).sqrt();
        let mixed = scores.masked_fill(&hidden, f64::NEG_INFINITY).softmax(-1, Kind::Double).matmul(&v);
        x = &x + map(&mixed.transpose(1, 2).reshape([batch, time, heads * head]), &name("self_attn.o_proj"));
        let m = norm(&x, &name("post_attention_layernorm.weight"));
        let gate = map(&m, &name("mlp.gate_proj"));
        let gated = &gate * gate.sigmoid() * map(&m, &name("mlp.up_proj"));
        x = &x + map(&gated, &name("mlp.down_proj"));
    }
    let tied = "model.embed_tokens.weight";
    let head = if weights.contains_key("lm_head.weight") { "lm_head.weight" } else { tied };
    norm(&x, "model.norm.weight").matmul(&weights[head].tr())
}

#[test]
fn logits_and_gradients_are_those_of_plain_operations() {
    for changes in LLAMA.variants() {
        let model = model(&changes);
        let leaf = |value: &Tensor| value.to_kind(Kind::Double).set_requires_grad(true);
        let weights: Vec<Vec<Tensor>> =
            weights(model.as_ref()).iter().map(|segment| segment.iter().map(leaf).collect()).collect();
        let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
        let all: Vec<&Tensor> = weights.iter().flatten().collect();
        let named = specs.clone().zip(&all).map(|(spec, value)| (spec.name.clone(), value.shallow_clone())).collect();
        let ids = ids(2, 13);
        let found = full(model.as_ref(), &weights, &ids);
        let expected = composed(&changes, &named, &ids);
        // The tables of positions are fp32.
        assert!(distance(&found, &expected) < 1e-5, "{changes}: off by {}", distance(&found, &expected));
        assert!(expected.abs().max().double_value(&[]) > 0.1, "{changes}: nothing to compare");
        let gradient = found.detach().cos();
        let found = autograd::gradients(&found, &gradient, &all).unwrap();
        let expected = autograd::gradients(&expected, &gradient, &all).unwrap();
        for ((spec, found), expected) in specs.zip(found).zip(expected) {
            let (found, expected) = (found.unwrap(), expected.unwrap());
            let scale = expected.abs().max().double_value(&[]).max(1.0);
            assert!(distance(&found, &expected) < 1e-5 * scale, "{changes}: gradient of `{}`", spec.name);
        }
    }
}

#[test]
fn bf16_stays_near_fp32() {
    let _no_gradients = tch::no_grad_guard();
    let model = model(&json!({}));
    let weights = weights(model.as_ref());
    let rounded = |value: &Tensor| if value.dim() > 1 { value.to_kind(Kind::BFloat16) } else { value.shallow_clone() };
    let half: Vec<Vec<Tensor>> = weights.iter().map(|segment| segment.iter().map(rounded).collect()).collect();
    let ids = ids(2, 9);
    let (found, expected) = (full(model.as_ref(), &half, &ids), full(model.as_ref(), &weights, &ids));
    assert_eq!(found.kind(), Kind::BFloat16);
    assert!(distance(&found, &expected) < 0.05 * expected.abs().max().double_value(&[]));
}

#[test]
fn a_tied_model_has_one_matrix_and_counts_its_product() {
    let (tied, untied) = (model(&json!({ "tie_embeddings": true })), model(&json!({})));
    let names = |model: &dyn Model| -> Vec<String> {
        model.segments().iter().flat_map(|segment| &segment.parameters).map(|spec| spec.name.clone()).collect()
    };
    let mut expected = names(untied.as_ref());
    expected.retain(|name| name != "lm_head.weight");
    assert_eq!(names(tied.as_ref()), expected);
    assert!((tied.flops_per_token(16) - untied.flops_per_token(16)).abs() < 0.5);
    let matrices = 2 * (24 * 24 * 2 + 24 * 12 * 2 + 3 * 24 * 20) + 23 * 24;
    assert!((tied.flops_per_token(0) - f64::from(6 * matrices)).abs() < 0.5);
}

#[test]
fn the_public_sizes_have_the_numbers_of_parameters_that_they_are_known_for() {
    let count = |options: Value| -> i64 {
        let model = registry::model("llama", &options).unwrap();
        let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
        specs.map(psann_core::model::ParameterSpec::elements).sum()
    };
    let smol = json!({ "vocab": 49152, "d_model": 576, "n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "d_mlp": 1536,
        "tie_embeddings": true });
    assert_eq!(count(smol), 134_515_008);
    let llama_2 = json!({ "vocab": 32000, "d_model": 4096, "n_layers": 32, "n_heads": 32, "d_mlp": 11008 });
    assert_eq!(count(llama_2), 6_738_415_616);
    let llama_3 = json!({ "vocab": 128_256, "d_model": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
        "d_mlp": 14336 });
    assert_eq!(count(llama_3), 8_030_261_248);
}
