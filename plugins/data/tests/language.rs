//! Language identification against the C++ fastText.

use std::path::PathBuf;

use psann_golden::rows::lines;
use psann_plugins_data::fasttext::Model;
use serde_json::Value;

const SET: &str = "data/language";

/// `PSANN_LID_MODEL`, else where `./check` puts it.
fn model_path() -> PathBuf {
    if let Some(path) = std::env::var_os("PSANN_LID_MODEL") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = cache.expect("HOME is not set").join("psann/lid.176.ftz");
    assert!(
        path.exists(),
        "`{}` is missing: `./check` fetches it; or name a copy of lid.176.ftz in PSANN_LID_MODEL",
        path.display()
    );
    path
}

/// (id, text with blanks for line ends, expected)
fn cases() -> Vec<(String, String, Value)> {
    let texts = lines(SET, "texts.jsonl.gz");
    let expected = lines(SET, "expected.jsonl.gz");
    assert_eq!(texts.len(), expected.len());
    texts
        .into_iter()
        .zip(expected)
        .map(|(text, expected)| {
            assert_eq!(text["id"], expected["id"]);
            (text["id"].as_str().unwrap().into(), text["text"].as_str().unwrap().into(), expected)
        })
        .collect()
}

#[test]
fn golden_data_language() {
    let model = Model::load(&model_path()).unwrap();
    let cases = cases();
    assert_eq!(cases.len(), 1480);
    let mut largest = 0.0_f64;
    for (id, text, expected) in cases {
        let top = model.predict(&text, 3);
        let wanted = expected["top3"].as_array().unwrap();
        assert_eq!(top.len(), wanted.len(), "{id}");
        for (ours, theirs) in top.iter().zip(wanted) {
            let apart = (f64::from(ours.probability) - theirs[1].as_f64().unwrap()).abs();
            largest = largest.max(apart);
            assert!(apart < 1e-5, "{id}: {top:?}, fastText says {wanted:?}");
        }
        let close = wanted.len() > 1 && wanted[0][1].as_f64().unwrap() - wanted[1][1].as_f64().unwrap() < 1e-5;
        assert!(close || top[0].label == expected["label"], "{id}: {top:?}, fastText says {wanted:?}");
    }
    println!("largest difference {largest:e}");
}
