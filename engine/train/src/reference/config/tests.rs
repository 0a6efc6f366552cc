use psann_golden::{cases, waveresnet_options};

use super::*;

fn kinds() -> Vec<psann_golden::Case> {
    ["model", "train", "generate", "init"].into_iter().flat_map(|kind| cases("psann", kind)).collect()
}

/// The names and shapes that options give.
fn parameters(options: &Value) -> Vec<(String, Vec<i64>)> {
    let model = registry::model(MODEL, options).unwrap();
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    specs.map(|spec| (spec.name.clone(), spec.shape.clone())).collect()
}

#[test]
fn golden_psann_checkpoint_configurations_go_both_ways() {
    let mut compared = 0;
    for case in kinds() {
        let config = &case.config["reference_config"];
        if !config.is_object() {
            continue;
        }
        let Ok(expected) = waveresnet_options(&case.config) else {
            assert!(to_options(config).is_err(), "{}: it is not built", case.name);
            continue;
        };
        let options = to_options(config).unwrap();
        assert_eq!(parameters(&options), parameters(&expected), "{}", case.name);
        let model = registry::model(MODEL, &options).unwrap();
        let component = Component { kind: Kind::Model, name: MODEL.into(), options };
        let mut back = from_options(&component, model.as_ref()).unwrap();
        let mut config = config.clone();
        // One network under two names; the second has no wave part at all, which is one that is off.
        if config["architecture"]["kind"] == "residual" {
            for side in [&mut back, &mut config] {
                side["architecture"]["kind"] = "residual".into();
                side["architecture"]["temporal"] = Value::Null;
            }
        }
        config["attention_implementation"] = "math".into();
        assert_eq!(back, config, "{}", case.name);
        compared += 1;
    }
    assert!(compared > 0);
}

#[test]
fn what_the_user_gives_beside_a_configuration_must_agree_with_it() {
    let mut options = json!({ "n_heads": 4, "sine": { "decay_mode": "abs" } });
    let given = |value: Value| value.as_object().cloned().unwrap();
    merge(&mut options, &given(json!({ "n_heads": 4.0, "sine": { "decay": 0.5 } })), "").unwrap();
    assert_eq!(options["sine"], json!({ "decay_mode": "abs", "decay": 0.5 }));
    let error = merge(&mut options, &given(json!({ "sine": { "decay_mode": "relu" } })), "").unwrap_err();
    assert_eq!(error.to_string(), "its `sine.decay_mode` is \"abs\", not \"relu\"");
}
