//! A session at the prompt, from a pipe.

use std::io::Write;
use std::process::Stdio;

use super::support::{Ended, Scratch};

fn session(scratch: &Scratch, arguments: &[&str], input: &str) -> Ended {
    let mut command = scratch.command(&[&["repl"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn an_error_does_not_end_the_session_and_state_survives_it() {
    let scratch = Scratch::new();
    let ended = session(&scratch, &[], "let x = 20;\nnothing_like_this(x)\nx + 1\n:quit\nx + 1000\n");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("21"), "{}", ended.out);
    assert!(ended.err.contains("nothing_like_this"), "{}", ended.err);
    assert!(!ended.out.contains("1020"), "{}", ended.out);
}

#[test]
fn an_open_expression_goes_on_in_the_next_line() {
    let ended = session(&Scratch::new(), &[], "let a = [\n  1,\n  2,\n];\na.len()\n");
    assert!(ended.out.contains('2'), "{}", ended.out);
    assert_eq!(ended.err, "");
}

#[test]
fn a_loaded_recipe_can_be_changed_and_planned() {
    let scratch = Scratch::with_tiny_recipe();
    let ended = session(&scratch, &["tiny.rhai"], ":params\n:set steps=99\n:params\n:plan\n:nonsense\n");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("99 steps"), "{}", ended.out);
    assert!(ended.err.contains("no command is called `:nonsense`"), "{}", ended.err);
    assert!(!scratch.path().join("runs").exists());
}
