//! The built-in model against the reference software's numbers. Every case of a kind is taken; what is not built is
//! listed as skipped by name.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::collections::BTreeMap;

use psann_core::initialise::{initialise, inverse_softplus};
use psann_core::model::{ForwardContext, hidden_states};
use psann_core::{Model, registry};
use psann_golden::{Case, Pair, cases, skip, waveresnet_cases};
use psann_plugins_nn::models::waveresnet::positions;
use psann_torch::autograd::gradients;
use psann_torch::loss::{LossOptions, linear_cross_entropy};
use psann_torch::sine::{Bounds, Decay, damped_sine};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

fn check(case: &Case, pairs: &[Pair], failures: &mut Vec<String>) {
    if let Err(message) = case.compare(pairs) {
        failures.push(message);
    }
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The parameters of a model from a state dict, one list per segment.
fn parameters(model: &dyn Model, weights: &BTreeMap<String, Tensor>) -> Vec<Vec<Tensor>> {
    let of_spec = |spec: &psann_core::model::ParameterSpec| {
        let value = weights.get(&spec.name).unwrap_or_else(|| panic!("`{}` is not in the state dict", spec.name));
        assert_eq!(value.size(), spec.shape, "{}", spec.name);
        value.detach().set_requires_grad(spec.trainable)
    };
    model.segments().iter().map(|segment| segment.parameters.iter().map(of_spec).collect()).collect()
}

fn names(model: &dyn Model) -> Vec<String> {
    model.segments().iter().flat_map(|segment| &segment.parameters).map(|spec| spec.name.clone()).collect()
}

fn order(config: &Value, key: &str) -> Vec<String> {
    let names = config[key].as_array().into_iter().flatten();
    names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn golden_psann_model() {
    let mut failures = Vec::new();
    for (case, options) in waveresnet_cases("psann", "model") {
        let model = registry::model("waveresnet", &options).unwrap();
        assert_eq!(names(model.as_ref()), order(&case.config, "parameter_order"), "{}", case.name);
        let (io, weights) = (case.read("io"), case.read("weights"));
        let pairs = forward_and_backward(&case, model.as_ref(), &io, &weights);
        check(&case, &pairs, &mut failures);
    }
    assert_none(&failures);
}

fn forward_and_backward(
    case: &Case,
    model: &dyn Model,
    io: &BTreeMap<String, Tensor>,
    weights: &BTreeMap<String, Tensor>,
) -> Vec<Pair> {
    let parameters = parameters(model, weights);
    let ids = &io["in.input_ids"];
    let labels = io["in.labels"].reshape([-1]);
    let mut pairs: Vec<Pair> = Vec::new();
    let mut add = |name: &str, found: Tensor| pairs.push((name.to_owned(), io[name].shallow_clone(), found.detach()));

    // The reference's `hidden.embed` is the bare look-up, before any position table.
    add(
        "out.hidden.embed",
        parameters[0][0].index_select(0, &ids.reshape([-1])).view([ids.size()[0], ids.size()[1], -1]),
    );
    let mut context = ForwardContext::default();
    let mut state = ids.shallow_clone();
    let last = parameters.len() - 1;
    for (segment, of_segment) in parameters[..last].iter().enumerate() {
        state = model.forward(segment, of_segment, &state, &mut context).unwrap();
        if segment > 0 {
            add(&format!("out.hidden.block{}", segment - 1), state.shallow_clone());
        }
    }
    let projection = model.project(&parameters[last], &state).unwrap();
    add("out.hidden.final_norm", projection.hidden.shallow_clone());
    let head = &parameters[last][projection.weight];
    add("out.logits", projection.hidden.matmul(&head.tr()));

    let flat = projection.hidden.reshape([-1, projection.hidden.size()[2]]);
    let targets = labels.ge(0).to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[]);
    let smoothing = case.config["loss"]["label_smoothing"].as_f64().unwrap_or(0.0);
    let options = LossOptions {
        label_smoothing: smoothing,
        scale: 1.0 / targets as f64,
        per_token: true,
        ..LossOptions::default()
    };
    let loss = linear_cross_entropy(&flat.detach(), &head.detach(), &labels, None, &options).unwrap();
    assert_eq!(loss.targets, targets);
    add("out.loss", Tensor::from(loss.sum / targets as f64));
    add("out.loss_per_token", loss.per_token.unwrap().view(io["in.labels"].size().as_slice()));

    let frozen = order(&case.config, "frozen");
    let specs: Vec<_> = model.segments().iter().flat_map(|segment| &segment.parameters).collect();
    let found_frozen: Vec<String> = specs.iter().filter(|spec| !spec.trainable).map(|spec| spec.name.clone()).collect();
    assert_eq!(found_frozen, frozen, "{}", case.name);
    let trainable: Vec<(&str, &Tensor)> = specs
        .iter()
        .zip(parameters.iter().flatten())
        .filter(|(spec, _)| spec.trainable && spec.name != "lm_head.weight")
        .map(|(spec, value)| (spec.name.as_str(), value))
        .collect();
    let inputs: Vec<&Tensor> = trainable.iter().map(|(_, value)| *value).collect();
    let found = gradients(&flat, &loss.hidden_gradient.unwrap(), &inputs).unwrap();
    add("grad.lm_head.weight", loss.weight_gradient.unwrap());
    for ((name, value), gradient) in trainable.iter().zip(found) {
        // The reference has no gradient where the loss does not depend on a parameter.
        let key = format!("grad.{name}");
        match gradient {
            Some(gradient) => add(&key, gradient),
            None if io.contains_key(&key) => add(&key, value.zeros_like()),
            None => {}
        }
    }
    let expected = io.keys().filter(|key| key.starts_with("grad.")).count();
    assert_eq!(pairs.iter().filter(|(name, ..)| name.starts_with("grad.")).count(), expected, "{}", case.name);
    pairs
}

#[test]
fn golden_psann_init() {
    let mut failures = Vec::new();
    for (case, options) in waveresnet_cases("psann", "init") {
        let model = registry::model("waveresnet", &options).unwrap();
        let seed = case.config["seed"].as_i64().unwrap();
        let values = initialise(model.as_ref(), seed).unwrap();
        let next = Tensor::rand([8], (Kind::Float, Device::Cpu));
        let weights = case.read("weights");
        assert_eq!(names(model.as_ref()).len(), weights.len(), "{}", case.name);
        let mut pairs: Vec<Pair> = names(model.as_ref())
            .into_iter()
            .zip(values.into_iter().flatten())
            .map(|(name, value)| (format!("weights.{name}"), weights[&name].shallow_clone(), value))
            .collect();
        pairs.push(("out.next_rand".into(), case.read("io")["out.next_rand"].shallow_clone(), next));
        check(&case, &pairs, &mut failures);
    }
    assert_none(&failures);
}

#[test]
fn golden_psann_pieces() {
    let mut failures = Vec::new();
    for case in cases("psann", "pieces") {
        let io = case.read("io");
        let mut pairs: Vec<Pair> = Vec::new();
        let mut add =
            |name: String, found: Tensor| pairs.push((name.clone(), io[&name].shallow_clone(), found.detach()));
        sine(&case, &io, &mut add);
        norm(&io, &mut add);
        tables(&case, &io, &mut add);
        let raw: Vec<f32> = Vec::<f32>::try_from(&io["in.init_values"]).unwrap();
        let raw: Vec<f32> = raw.into_iter().map(|value| inverse_softplus(f64::from(value)) as f32).collect();
        add("out.init_raw".into(), Tensor::from_slice(&raw));
        check(&case, &pairs, &mut failures);
        skip(&case, "its parts `spectral` and `geometry` are not built");
    }
    assert_none(&failures);
}

fn sine(case: &Case, io: &BTreeMap<String, Tensor>, add: &mut impl FnMut(String, Tensor)) {
    for (index, setting) in case.config["sine"].as_array().unwrap().iter().enumerate() {
        let mode = match setting["decay_mode"].as_str().unwrap() {
            "abs" => Decay::Abs,
            "relu" => Decay::Relu,
            _ => Decay::None,
        };
        let limits = |name: &str| (setting["bounds"][name][0].as_f64(), setting["bounds"][name][1].as_f64());
        let bounds = Bounds { amplitude: limits("amplitude"), frequency: limits("frequency"), decay: limits("decay") };
        let input = |name: &str| io[&format!("in.sine.{name}")].detach().set_requires_grad(true);
        let (z, a, f, d) = (input("z"), input("_A"), input("_f"), input("_d"));
        let y = damped_sine(&z, &a, &f, &d, mode, &bounds).unwrap();
        let found = gradients(&y, &io["in.sine.upstream"], &[&z, &a, &f, &d]).unwrap();
        add(format!("out.sine_y.{index}"), y);
        for (name, gradient) in ["z", "A", "f", "d"].into_iter().zip(found) {
            let key = format!("out.sine_grad_{name}.{index}");
            add(key, gradient.unwrap_or_else(|| d.zeros_like()));
        }
    }
}

fn norm(io: &BTreeMap<String, Tensor>, add: &mut impl FnMut(String, Tensor)) {
    let x = io["in.norm.x"].detach().set_requires_grad(true);
    let scale = io["in.norm.scale"].detach().set_requires_grad(true);
    let y = psann_torch::norm::rms_norm(&x, &scale, 1e-6).unwrap();
    let mut found = gradients(&y, &io["in.norm.upstream"], &[&x, &scale]).unwrap();
    add("out.norm_grad_scale".into(), found.pop().unwrap().unwrap());
    add("out.norm_grad_x".into(), found.pop().unwrap().unwrap());
    add("out.norm_y".into(), y);
}

fn tables(case: &Case, io: &BTreeMap<String, Tensor>, add: &mut impl FnMut(String, Tensor)) {
    for (index, setting) in case.config["rope"].as_array().unwrap().iter().enumerate() {
        // [batch, heads, time, size] in the file.
        let x = &io[&format!("in.rope.{index}")];
        let (time, size) = (x.size()[2], x.size()[3]);
        let positions = positions::positions(time, None, Device::Cpu) + setting["offset"].as_i64().unwrap();
        let (cosine, sine) = positions::rotary(&positions, size, 10_000.0);
        for (name, kind) in [("f32", Kind::Float), ("bf16", Kind::BFloat16)] {
            let turned = psann_torch::rotary::rotate(&x.to_kind(kind).transpose(1, 2), &cosine, &sine).unwrap();
            add(format!("out.rope_{name}.{index}"), turned.transpose(1, 2));
        }
    }
    let heads: Vec<i64> = case.config["alibi_heads"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
    for &count in &heads {
        add(format!("out.alibi_slopes.{count}"), positions::alibi_slopes(count, Device::Cpu));
    }
    let (past, queries) = (case.config["alibi_past"].as_i64().unwrap(), case.config["alibi_q"].as_i64().unwrap());
    let bias = positions::alibi_bias(heads[heads.len() - 1], past + queries, Device::Cpu);
    add("out.alibi_bias".into(), bias.narrow(1, past, queries));
    for (index, setting) in case.config["sinusoidal"].as_array().unwrap().iter().enumerate() {
        let positions = positions::positions(setting[0].as_i64().unwrap(), None, Device::Cpu);
        add(format!("out.sinusoidal.{index}"), positions::sinusoidal(&positions, setting[1].as_i64().unwrap()));
    }
}

#[test]
fn golden_psann_hidden_states_are_the_segments_walked() {
    let (case, options) = waveresnet_cases("psann", "model").remove(0);
    let model = registry::model("waveresnet", &options).unwrap();
    let (io, weights) = (case.read("io"), case.read("weights"));
    let parameters = parameters(model.as_ref(), &weights);
    let hidden =
        hidden_states(model.as_ref(), &parameters, &io["in.input_ids"], &mut ForwardContext::default()).unwrap();
    assert_eq!(hidden.size()[2], parameters[0][0].size()[1]);
}
