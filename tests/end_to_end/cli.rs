//! What the command line says without doing work.

use super::support::Scratch;

#[test]
fn help_names_every_verb() {
    let help = Scratch::new().ok(&["--help"]);
    insta::assert_snapshot!("help", help);
}

#[test]
fn help_of_recipe_names_every_flag() {
    insta::assert_snapshot!("help_recipe", Scratch::new().ok(&["recipe", "--help"]));
}

#[test]
fn an_unknown_verb_ends_with_code_2() {
    let ended = Scratch::new().run(&["recipy"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("recipe"), "{}", ended.err);
}

#[test]
fn parameters_are_listed_with_values_and_help() {
    let scratch = Scratch::with_tiny_recipe();
    insta::assert_snapshot!("params", scratch.ok(&["recipe", "params", "tiny.rhai"]));
}

#[test]
fn a_plan_says_what_would_happen_and_does_nothing() {
    let scratch = Scratch::with_tiny_recipe();
    let plan = scratch.ok(&["recipe", "tiny.rhai", "--plan"]);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"[0-9a-f]{8}\b", "[fingerprint]");
    settings.add_filter(r"about .* if matrix products.*", "[time]");
    settings.add_filter(r"time       .*", "time       [time]");
    settings.add_filter(r"memory     .* of", "memory     [memory] of");
    settings.bind(|| insta::assert_snapshot!("plan", plan));
    assert!(!scratch.path().join("runs").exists());
}
