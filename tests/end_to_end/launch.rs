//! Environments of launchers, as the binary reads them.

use super::support::{Ended, Scratch};

fn run_in(environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let scratch = Scratch::with_tiny_recipe();
    Ended::from(scratch.command(arguments).envs(environment.iter().copied()).output().unwrap())
}

#[test]
fn half_an_environment_stops_a_run_before_it_begins() {
    let ended = run_in(&[("RANK", "0")], &["recipe", "tiny.rhai"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.err,
        "error: `RANK` is `0`, but `WORLD_SIZE` is not set\n  hint: a launcher sets both; set `WORLD_SIZE` too, or \
         unset `RANK` to let psann start its own processes\n"
    );
}

#[test]
fn a_plan_is_shown_whatever_the_environment_says() {
    let ended = run_in(&[("RANK", "0")], &["recipe", "tiny.rhai", "--plan"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn a_lifeline_that_no_launcher_holds_is_an_error() {
    let ended = run_in(&[("PSANN_LIFELINE", "99")], &["recipe", "tiny.rhai"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with("error: `PSANN_LIFELINE` is `99`, which is no open pipe: "), "{}", ended.err);
}
