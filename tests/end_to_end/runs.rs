//! A recipe from text to samples, and again.

use std::fs;

use super::support::Scratch;

#[test]
fn a_recipe_trains_evaluates_samples_and_saves() {
    let scratch = Scratch::with_tiny_recipe();
    let ended = scratch.run(&["recipe", "tiny.rhai"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("perplexity") && ended.out.contains("unigram"), "{}", ended.out);
    assert!(ended.out.contains("The sea"), "{}", ended.out);

    let run = scratch.path().join("runs/tiny");
    for file in ["plan.json", "recipe.rhai", "env.json", "stages.json"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(run.join("STATUS")).unwrap(), "complete\n");
    let metrics = fs::read_to_string(scratch.stage("tiny", "pretrain").join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 12);
    assert!(losses[11] < losses[0], "{losses:?}");
    let kept = fs::read_dir(scratch.stage("tiny", "pretrain").join("checkpoints")).unwrap();
    let kept = kept.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("step-")).count();
    assert_eq!(kept, 2, "keep-last-n");
}

#[test]
fn a_second_run_skips_what_is_done_and_fresh_does_not() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai"]);
    let weights = scratch.stage("tiny", "save").join("model.safetensors");
    let first = fs::read(&weights).unwrap();
    let again = scratch.run(&["recipe", "tiny.rhai"]);
    assert_eq!(again.err.matches("done before").count(), 6, "{}", again.err);
    let fresh = scratch.run(&["recipe", "tiny.rhai", "--fresh"]);
    assert_eq!(fresh.err.matches("done before").count(), 0, "{}", fresh.err);
    assert_eq!(fs::read(&weights).unwrap(), first, "the same plan gives the same weights");
}

#[test]
fn parameters_and_plan_paths_can_be_set() {
    let scratch = Scratch::with_tiny_recipe();
    let set =
        ["--set", "steps=4", "--set", "name=try2", "--set", "pretrain.optimizer.lr=0.02", "--set", "pretrain.clip=0.5"];
    scratch.ok(&[&["recipe", "tiny.rhai"], &set[..]].concat());
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scratch.path().join("runs/try2/plan.json")).unwrap()).unwrap();
    let pretrain =
        &plan["stages"].as_array().unwrap().iter().find(|stage| stage["kind"] == "pretrain").unwrap()["options"];
    assert_eq!(pretrain["steps"], 4);
    assert_eq!(pretrain["clip"], 0.5);
    assert_eq!(pretrain["optimizer"]["options"]["lr"], 0.02);
}

#[test]
fn a_trained_run_continues_a_text_and_the_same_seed_gives_the_same_text() {
    let scratch = Scratch::with_tiny_recipe();
    scratch.ok(&["recipe", "tiny.rhai"]);
    let generate =
        |run: &str, seed: &str| scratch.ok(&["generate", run, "--prompt", "The sea", "--tokens", "12", "--seed", seed]);
    let first = generate("runs/tiny", "1");
    assert!(first.starts_with("The sea"), "{first}");
    assert_eq!(first, generate("runs/tiny", "1"));
    assert_ne!(first, generate("runs/tiny", "2"));
    let saved = scratch.stage("tiny", "save");
    assert_eq!(first, generate(saved.to_str().unwrap(), "1"), "a saved model is the run's model");
}

#[test]
fn resume_without_anything_to_resume_is_an_error() {
    let ended = Scratch::with_tiny_recipe().run(&["recipe", "tiny.rhai", "--resume"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("no run to resume"), "{}", ended.err);
}
