//! All kinds of fastText models against C++ fastText. The small models and the expectations in `fasttext/` are made by
//! `fasttext/make.py`; `language.rs` has the large real one.

use std::collections::BTreeMap;
use std::path::Path;

use psann_plugins_data::fasttext::Model;
use serde_json::Value;

#[test]
fn every_kind_of_model_says_what_fasttext_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fasttext");
    let rows = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut models = BTreeMap::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            models.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), Model::load(&path).unwrap());
        }
    }
    assert_eq!(models.len(), 11);
    let mut compared = 0;
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let ours = models[row["model"].as_str().unwrap()].predict(row["text"].as_str().unwrap(), 5);
        let theirs = row["expected"].as_array().unwrap();
        assert_eq!(ours.len(), theirs.len(), "{row}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            // The table of the logistic function gives many labels the very same probability.
            let tied = row["expected"].as_array().unwrap().iter().filter(|other| other[1] == theirs[1]).count() > 1;
            assert!(tied || ours.label == theirs[0], "{ours:?} in {row}");
            assert!((f64::from(ours.probability) - theirs[1].as_f64().unwrap()).abs() < 2e-6, "{ours:?} in {row}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}
