use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use psann_core::initialise::initialise;
use psann_core::registry::{self, Kind};
use psann_golden::set_directory;
// Linked for its registrations.
use psann_plugins_nn as _;
use serde_json::json;

use super::pickle::Writer;
use super::*;

fn fixture(name: &str) -> PathBuf {
    set_directory("psann").join("12_checkpoints").join(name)
}

/// Files of every container and layout.
const FILES: [&str; 4] = ["model_v2_simple.pt", "trainer_v2.pt", "weights_views.pt", "weights_legacy_format.pt"];

fn given() -> Map<String, Value> {
    json!({ "n_heads": 2, "positional_encoding": "rope" }).as_object().cloned().unwrap_or_default()
}

fn written(options: Value, folder: &Path) -> (PathBuf, Vec<(String, Tensor)>) {
    let model = registry::model("waveresnet", &options).unwrap();
    let component = Component { kind: Kind::Model, name: "waveresnet".into(), options };
    let values = initialise(model.as_ref(), 3).unwrap();
    let specs = model.segments().iter().flat_map(|segment| &segment.parameters);
    let named: Vec<(String, Tensor)> = specs.map(|spec| spec.name.clone()).zip(values.into_iter().flatten()).collect();
    let borrowed: Vec<(&str, &Tensor)> = named.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let path = folder.join("model.pt");
    write(&path, &component, model.as_ref(), &borrowed, None).unwrap();
    (path, named)
}

#[test]
fn what_is_written_is_read_to_the_bit_and_twice_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for extra in [
        json!({}),
        json!({ "activation": "gelu", "norm": "layer", "positional_encoding": "alibi", "alpha": 0.5 }),
        json!({ "wave": { "mode": "interleave", "padding": "same", "dilation_growth": 2 } }),
        json!({ "sine": { "decay_mode": "relu", "frequency_std": 0.25, "amplitude_bounds": [0.5, null] } }),
    ] {
        let mut options = json!({ "vocab": 19, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_mlp": 12 });
        options.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
        let (path, expected) = written(options.clone(), folder.path());
        let first = fs::read(&path).unwrap();
        let imported = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(imported.layout, Layout::Model);
        assert_eq!(imported.parameters.len(), expected.len());
        for ((name, value), (expected_name, expected)) in imported.parameters.iter().zip(&expected) {
            assert_eq!(name, expected_name);
            assert!(value.equal(expected), "{name}");
        }
        for (key, value) in extra.as_object().unwrap() {
            let merged = overlaid(&imported.component.options[key], value);
            assert_eq!(imported.component.options[key], merged, "{key}");
        }
        written(options, folder.path());
        assert_eq!(fs::read(&path).unwrap(), first);
    }
}

/// `found` with the keys of `expected` laid over it: equal to `found` when it has them all.
fn overlaid(found: &Value, expected: &Value) -> Value {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let mut merged = found.clone();
            merged.extend(expected.clone());
            merged.into()
        }
        _ => expected.clone(),
    }
}

#[test]
fn a_bare_state_dict_asks_for_what_it_cannot_tell() {
    let error = read(&fixture("weights_plain.pt"), &ReadOptions::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("any number of attention heads"), "{error}");
    assert!(error.hint_text().unwrap().contains("--heads"));
}

#[test]
fn options_that_contradict_the_file_are_refused() {
    let options =
        ReadOptions { model: json!({ "n_heads": 4 }).as_object().cloned().unwrap(), ..ReadOptions::default() };
    let error = read(&fixture("model_v2_simple.pt"), &options).map(drop).unwrap_err();
    assert!(error.to_string().contains("its `n_heads` is 2, not 4"), "{error}");
}

#[test]
fn a_tokenizer_in_the_hugging_face_format_keeps_its_text_and_names_its_special_tokens() {
    let (_, document) = Archive::open(&fixture("model_v2_bpe_geosparse.pt")).unwrap();
    let stored = document.get(document.root(), "tokenizer").unwrap();
    let mut notes = Vec::new();
    let files = tokenizer::read(&document, Some(stored), &mut notes).unwrap().unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(document.get(stored, "model").and_then(Pickled::text), Some(files.json.as_str()));
    let special: Value = serde_json::from_str(&files.special).unwrap();
    let words = ["pad_token", "bos_token", "eos_token", "unk_token"].map(|key| special[key].as_str().unwrap());
    assert_eq!(words, ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]);
}

/// A trainer's file in the older layout whose optimizer has state for parameter `index` alone: `key` of `shape`.
fn trainer(path: &Path, index: i64, key: &str, shape: &[i64], groups: usize) {
    let options = json!({ "vocab": 5, "d_model": 2, "n_layers": 1, "n_heads": 1, "d_mlp": 3 });
    let model = registry::model("waveresnet", &options).unwrap();
    let specs: Vec<_> = model.segments().iter().flat_map(|segment| &segment.parameters).collect();
    let (mut pickle, mut sizes) = (Writer::default(), Vec::new());
    let mut tensor = |pickle: &mut Writer, shape: &[i64]| {
        pickle.tensor(&sizes.len().to_string(), tch::Kind::Float, shape);
        sizes.push(shape.iter().product::<i64>() as usize);
    };
    pickle.begin_dict();
    pickle.text("model");
    pickle.begin_dict();
    for spec in &specs {
        pickle.text(&spec.name);
        tensor(&mut pickle, &spec.shape);
    }
    pickle.end_dict();
    pickle.text("optim");
    pickle.begin_dict();
    pickle.text("state");
    pickle.begin_dict();
    pickle.value(&json!(index));
    pickle.begin_dict();
    pickle.text("step");
    pickle.value(&json!(2));
    pickle.text(key);
    tensor(&mut pickle, shape);
    pickle.end_dict();
    pickle.end_dict();
    pickle.text("param_groups");
    let group = json!({
        "lr": 0.1, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.0,
        "params": (0..specs.len()).collect::<Vec<_>>(),
    });
    pickle.value(&vec![group; groups].into());
    pickle.end_dict();
    pickle.end_dict();
    let mut file = fs::File::create(path).unwrap();
    let mut zip = archive::ZipWriter::new(&mut file);
    zip.add("t/data.pkl", &pickle.finish()).unwrap();
    for (key, size) in sizes.iter().enumerate() {
        zip.add(&format!("t/data/{key}"), &vec![0; size * 4]).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn optimizer_state_that_does_not_fit_is_refused_by_name_and_the_weights_still_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trainer.pt");
    let model = json!({ "n_heads": 1, "positional_encoding": "rope" }).as_object().cloned().unwrap();
    let import = |optimizer| read(&path, &ReadOptions { model: model.clone(), optimizer });

    trainer(&path, 0, "exp_avg", &[5, 2], 1);
    let optimizer = import(true).unwrap().optimizer.unwrap();
    assert_eq!((optimizer.step, optimizer.tensors[0].0.as_str()), (2, "embed.weight.exp_avg"));
    assert_eq!(optimizer.options["lr"], 0.1);
    for (index, key, shape, groups, what) in [
        (0, "exp_avg", &[10][..], 1, "for `embed.weight` a `exp_avg` of shape [10]"),
        (0, "max_exp_avg_sq", &[5, 2], 1, "`max_exp_avg_sq`, which AdamW does not have"),
        (99, "exp_avg", &[5, 2], 1, "which is no parameter"),
        (0, "exp_avg", &[5, 2], 2, "several groups"),
    ] {
        trainer(&path, index, key, shape, groups);
        let error = import(true).map(drop).unwrap_err().to_string();
        assert!(error.contains("trainer.pt") && error.contains(what), "{error}");
        assert!(import(false).is_ok());
    }
}

#[test]
fn sizes_that_no_file_can_mean_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = json!({ "vocab": 19, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_mlp": 12 });
    let (path, _) = written(sizes, folder.path());
    let bytes = fs::read(&path).unwrap();
    let mut digits = b"n_layersJ".to_vec();
    digits.extend(1_i32.to_le_bytes());
    let place = bytes.windows(digits.len()).position(|window| window == digits).unwrap();
    let start = bytes.windows(2).position(|window| window == b"\x80\x02").unwrap();
    let mut changed = bytes.clone();
    changed[place + 9..place + 13].copy_from_slice(&i32::MAX.to_le_bytes());
    let old = crc32fast::hash(&bytes[start..start + length_of_pickle(&bytes)]);
    let new = crc32fast::hash(&changed[start..start + length_of_pickle(&bytes)]);
    replace(&mut changed, &old.to_le_bytes(), &new.to_le_bytes());
    fs::write(&path, changed).unwrap();
    let error = read(&path, &ReadOptions::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("its `n_layers` is 2147483647"), "{error}");
}

fn length_of_pickle(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[22..26].try_into().unwrap()) as usize
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|place| bytes[*place..].starts_with(from)).collect();
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Damage anywhere gives an error or, in bytes that nobody reads, the same model; never a panic.
    #[test]
    fn damaged_files_never_panic(
        file in prop::sample::select(FILES.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        hits_pickle in any::<bool>(),
    ) {
        let mut bytes = fs::read(fixture(file)).unwrap();
        let length = bytes.len();
        for (place, value) in damage {
            // The pickle stands in front.
            let place = place.index(if hits_pickle { length.min(8192) } else { length });
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(length));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.pt");
        fs::write(&path, bytes).unwrap();
        let model = if file.starts_with("weights") { given() } else { Map::new() };
        let options = ReadOptions { model, optimizer: true };
        if let Err(error) = read(&path, &options) {
            prop_assert!(error.to_string().contains("damaged.pt"), "{}", error);
        }
    }
}
