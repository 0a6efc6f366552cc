//! Models from and for the Python reference and Hugging Face, by way of the command line.

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

/// A folder of Hugging Face: a tiny Llama with a tokenizer of letters.
fn hugging_face(scratch: &Scratch, name: &str, case: &str) {
    for file in ["config.json", "model.safetensors"] {
        let bytes = fs::read(psann_golden::set_directory("llama").join(case).join(file)).unwrap();
        fs::create_dir_all(scratch.path().join(name)).unwrap();
        fs::write(scratch.path().join(name).join(file), bytes).unwrap();
    }
    let special = ["<unk>", "<s>", "</s>", "<pad>"];
    let letters = ('a'..='z').chain([' ', '.', '\n']).map(String::from);
    let vocabulary: Vec<String> = special.map(String::from).into_iter().chain(letters).collect();
    let ids: serde_json::Map<String, Value> =
        vocabulary.into_iter().enumerate().map(|(id, word)| (word, id.into())).collect();
    let added = special.iter().enumerate().map(|(id, word)| {
        json!({ "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": { "type": "Fuse" },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids, "merges": [] },
    });
    scratch.write(&format!("{name}/tokenizer.json"), &tokenizer.to_string());
    let about = json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" }, "pad_token": "<pad>",
        "chat_template": "{{ messages[0].content }}", "tokenizer_class": "PreTrainedTokenizerFast" });
    scratch.write(&format!("{name}/tokenizer_config.json"), &about.to_string());
}

fn said_by(scratch: &Scratch, model: &str) -> String {
    scratch.ok(&["generate", model, "--prompt", "the sea", "--temperature", "0", "--tokens", "12"])
}

#[test]
fn a_hugging_face_folder_talks_as_it_is_imported_and_written_again_to_the_bit() {
    let scratch = Scratch::new();
    for case in ["plain", "tied", "llama3_tied"] {
        let (fetched, imported, written) = (format!("{case}-hf"), format!("{case}-in"), format!("{case}-out"));
        hugging_face(&scratch, &fetched, case);
        let said = scratch.ok(&["model", "import", &fetched, &imported]);
        assert!(said.contains("a folder of Hugging Face") && said.contains("with its tokenizer"), "{said}");
        let dtype = if case == "llama3_tied" { "bf16" } else { "fp32" };
        scratch.ok(&["model", "export", &imported, &written, "--format", "huggingface", "--dtype", dtype]);
        let text = said_by(&scratch, &fetched);
        assert!(text.starts_with("the sea"), "{text}");
        assert_eq!(said_by(&scratch, &imported), text);
        assert_eq!(said_by(&scratch, &written), text);
        let path = |name: &str| scratch.path().join(name);
        assert_eq!(weights(&path(&written)), weights(&path(&fetched)));
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            assert_eq!(fs::read(path(&written).join(file)).unwrap(), fs::read(path(&fetched).join(file)).unwrap());
        }
        let config: Value = serde_json::from_slice(&fs::read(path(&written).join("config.json")).unwrap()).unwrap();
        assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&json!(1), &json!(2)));
        assert_eq!(config["tie_word_embeddings"], json!(case != "plain"));
    }
}

#[test]
fn what_does_not_go_with_hugging_face_is_said() {
    let scratch = Scratch::new();
    hugging_face(&scratch, "hf", "plain");
    let refused = |arguments: &[&str]| {
        let ended = scratch.run(arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        ended.err
    };
    insta::assert_snapshot!(refused(&["model", "import", "hf", "in", "--heads", "4"]), @r"
    error: a Hugging Face folder says itself what its model is like
      hint: leave `--heads`, `--positions` and `--set` out
    ");
    scratch.ok(&["model", "import", &fixture("model_v2_simple.pt"), "wave"]);
    insta::assert_snapshot!(refused(&["model", "export", "wave", "out", "--format", "huggingface"]), @r"
    error: `model/waveresnet` has no counterpart among Hugging Face's models
      hint: `model/llama` has; save others as `safetensors` or `psannlm`
    ");
    insta::assert_snapshot!(refused(&["model", "export", "hf", "out.pt"]), @"error: the reference has no model like `llama`");
    insta::assert_snapshot!(refused(&["model", "export", "hf", "hf", "--format", "huggingface"]), @r"
    error: `hf` cannot be written onto itself
      hint: name another folder
    ");
    assert!(!scratch.path().join("out").exists());
}

#[test]
fn a_llama_is_trained_by_a_recipe_and_saved_for_hugging_face() {
    let scratch = Scratch::with_tiny_recipe();
    let recipe = TINY
        .replace("model::waveresnet(#{ ", "model::llama(#{ n_kv_heads: 1, tie_embeddings: true, ")
        .replace(".save()", r#".save("out", #{ format: "huggingface" })"#);
    scratch.write("tiny.rhai", &recipe);
    scratch.ok(&["recipe", "tiny.rhai"]);
    let generate = |model: &str| scratch.ok(&["generate", model, "--prompt", "The sea", "--tokens", "12"]);
    assert_eq!(generate("out"), generate("runs/tiny"));
    let about: Value =
        serde_json::from_slice(&fs::read(scratch.path().join("out/tokenizer_config.json")).unwrap()).unwrap();
    assert_eq!(about["tokenizer_class"], json!("PreTrainedTokenizerFast"));
    scratch.ok(&["model", "export", "runs/tiny", "by-hand", "--format", "hf"]);
    let bytes = |folder: &str| fs::read(scratch.path().join(folder).join("model.safetensors")).unwrap();
    assert_eq!(bytes("by-hand"), bytes("out"));
}
