//! Models from and for the Python reference, by way of the command line.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::support::{Scratch, TINY};

fn fixture(name: &str) -> String {
    let path: PathBuf = psann_golden::set_directory("psann").join("12_checkpoints").join(name);
    path.display().to_string()
}

/// The tensors of a saved model's or a run's weights, as bytes.
fn weights(folder: &std::path::Path) -> Vec<u8> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    names.into_iter().flat_map(|name| [name.as_bytes(), tensors.tensor(name).unwrap().data()].concat()).collect()
}

#[test]
fn help_of_model_names_what_a_file_may_not_say() {
    insta::assert_snapshot!("help_model_import", Scratch::new().ok(&["model", "import", "--help"]));
    insta::assert_snapshot!("help_model_export", Scratch::new().ok(&["model", "export", "--help"]));
}

#[test]
fn an_imported_model_talks_and_goes_back_to_the_bit() {
    let scratch = Scratch::new();
    let said = scratch.ok(&["model", "import", &fixture("model_v2_simple.pt"), "imported"]);
    insta::assert_snapshot!("model_import", said);
    let generate =
        |model: &str| scratch.ok(&["generate", model, "--prompt", "the quick", "--temperature", "0", "--tokens", "8"]);
    let text = generate("imported");
    // One token a character, and the end of the line.
    assert!(text.starts_with("the quick") && text.chars().count() <= 18, "{text}");
    insta::assert_snapshot!("model_export", scratch.ok(&["model", "export", "imported", "back.pt"]));
    let report: Value = serde_json::from_str(&scratch.ok(&["model", "import", "back.pt", "again", "--json"])).unwrap();
    assert_eq!(report["tokenizer"], json!(true));
    assert_eq!(weights(&scratch.path().join("imported")), weights(&scratch.path().join("again")));
    assert_eq!(text, generate("again"));
}

#[test]
fn what_a_file_does_not_say_is_asked_for_and_taken() {
    let scratch = Scratch::new();
    let file = fixture("head_trainer_ddp.pt");
    let ended = scratch.run(&["model", "import", &file, "older"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("--heads") && ended.err.contains("--positions"), "{}", ended.err);
    assert!(!scratch.path().join("older").exists());
    let given = ["--heads", "4", "--positions", "alibi", "--set", "sine.decay_mode=relu"];
    let said = scratch.ok(&[&["model", "import", &file, "older"][..], &given].concat());
    assert!(said.contains("step 3") && said.contains("without a tokenizer"), "{said}");
    let config: Value = serde_json::from_slice(&fs::read(scratch.path().join("older/config.json")).unwrap()).unwrap();
    assert_eq!(config["model"]["options"]["sine"], json!({ "decay_mode": "relu" }));
    assert_eq!((&config["step"], &config["tokens"]), (&json!(3), &json!(216)));
    let ended = scratch.run(&["generate", "older", "--prompt", "x"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("has no tokenizer"), "{}", ended.err);
}

#[test]
fn a_file_that_would_run_code_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["model", "import", &fixture("bad_global.pt"), "bad"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("posix.getcwd") && ended.err.contains("nothing was run"), "{}", ended.err);
    assert!(!scratch.path().join("bad").exists());
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let scratch = Scratch::new();
    scratch.write("mine/notes.txt", "mine");
    let ended = scratch.run(&["model", "import", &fixture("model_v2_simple.pt"), "mine"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("`mine` is there already"), "{}", ended.err);
    assert_eq!(fs::read_dir(scratch.path().join("mine")).unwrap().count(), 1);
}

#[test]
fn a_run_is_exported_by_its_recipe_and_by_hand_to_the_same_bytes() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.write("tiny.rhai", &TINY.replace(".save()", r#".save("out", #{ format: "psannlm" })"#));
    scratch.ok(&["recipe", "tiny.rhai"]);
    scratch.ok(&["model", "export", "runs/tiny", "by-hand.pt"]);
    let by_hand = fs::read(scratch.path().join("by-hand.pt")).unwrap();
    assert_eq!(fs::read(scratch.path().join("out/model.pt")).unwrap(), by_hand);
    scratch.ok(&["model", "import", "by-hand.pt", "back"]);
    let generate = |model: &str| scratch.ok(&["generate", model, "--prompt", "The sea", "--tokens", "12"]);
    assert_eq!(generate("back"), generate("runs/tiny"));
}
