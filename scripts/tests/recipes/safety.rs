//! What recipes cannot do.

use psann_scripts::Recipe;

fn message(text: &str) -> String {
    Recipe::from_source("t", text).evaluate(&[]).unwrap_err().to_string()
}

#[test]
fn nothing_reaches_outside() {
    for text in [
        "open_file(\"/etc/passwd\")",
        "read_file(\"/etc/passwd\")",
        "sleep(1)",
        "sleep(0.001)",
        "timestamp()",
        "exit(1)",
        "run(\"ls\")",
        "env(\"HOME\")",
        "rand()",
    ] {
        let name = text.split('(').next().unwrap();
        assert_eq!(message(text), format!("unknown function `{name}`"), "{text}");
    }
    assert_eq!(message("eval(\"1\")"), "`eval` is switched off in recipes");
}

#[test]
fn a_recipe_that_does_not_end_is_stopped() {
    let stopped = "the recipe was stopped after 5 million operations";
    assert_eq!(message("let i = 0; while i < 10_000_000 { i += 1; }"), stopped);
    assert_eq!(message("loop { }"), stopped);
    assert_eq!(message("fn f(n) { f(n + 1) }\nf(0)"), "functions call each other more than 64 levels deep");
}

#[test]
fn a_recipe_that_grows_is_stopped() {
    for text in [
        "let a = \"x\"; loop { a += a; }",
        "let a = []; loop { a.push(1); }",
        "let a = []; for i in 0..100_000 { a = [a]; }",
        "let a = []; a.pad(1_000_000_000, 1);",
    ] {
        // The last of them nests deep, and tests have small stacks.
        let text = text.to_owned();
        let worker = std::thread::Builder::new().stack_size(8 << 20).spawn(move || message(&text)).unwrap();
        let message = worker.join().unwrap();
        assert!(message.starts_with("too large for a recipe"), "{message}");
    }
}

#[test]
fn evaluating_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("main.rhai");
    let text = "pipeline(\"x\").prepare(source::text(\"missing.txt\")).pretrain(model::waveresnet(#{ vocab: tokenizer::load(\"missing\") })).save()";
    std::fs::write(&file, text).unwrap();
    assert_eq!(Recipe::load(&file).unwrap().evaluate(&[]).unwrap().plan.stages.len(), 4);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &std::path::Path| Recipe::load(path).unwrap_err();
    let missing = load(&folder.path().join("nothing.rhai"));
    assert_eq!(missing.fault(), psann_core::error::Fault::Usage);
    assert!(missing.to_string().contains("nothing.rhai"), "{missing}");
    assert!(load(folder.path()).to_string().contains("is a folder"));
    let binary = folder.path().join("binary.rhai");
    std::fs::write(&binary, b"let a = \xff").unwrap();
    assert!(load(&binary).to_string().contains("is not UTF-8 text"));
    std::fs::write(&binary, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(load(&binary).to_string().contains("is no recipe"));
}
