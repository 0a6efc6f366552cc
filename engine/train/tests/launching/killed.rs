//! Signals to the launcher.

use std::fs;
use std::process::Child;

use super::support::{Marks, launcher, send, state, wait_until};

/// Ranks that note each signal and stop, or not, after the first.
fn ranks(then: &str) -> String {
    format!(
        "trap 'echo INT >> heard-$RANK; {then}' INT
        trap 'echo TERM >> heard-$RANK; {then}' TERM
        trap 'echo USR1 >> heard-$RANK; {then}' USR1
        echo $$ > rank-$RANK
        while :; do sleep 100000 & wait; done"
    )
}

fn started(script: &str, marks: &Marks) -> (Child, [u32; 2]) {
    let child = launcher(2, Some(script), marks);
    let pids = ["rank-0", "rank-1"].map(|name| marks.pid(name));
    (child, pids)
}

#[test]
fn a_signal_is_passed_on_to_every_rank_once() {
    for signal in ["INT", "TERM", "USR1"] {
        let marks = Marks::new();
        let (child, _) = started(&ranks("exit 130"), &marks);
        send(&format!("-{signal}"), child.id());
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
        for rank in ["heard-0", "heard-1"] {
            assert_eq!(marks.read(rank), format!("{signal}\n"));
        }
    }
}

#[test]
fn a_rank_that_was_interrupted_by_itself_stops_the_others() {
    let marks = Marks::new();
    let (child, pids) = started(&ranks("exit 130"), &marks);
    send("-TERM", pids[1]);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(marks.read("heard-0"), "TERM\n");
}

#[test]
fn ranks_that_know_no_signals_end_by_them_and_are_not_started_again() {
    let marks = Marks::new();
    let (child, _) = started("echo $$ > rank-$RANK; exec sleep 100000", &marks);
    send("-TERM", child.id());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(128 + 15));
}

#[test]
fn only_a_second_ctrl_c_kills() {
    let marks = Marks::new();
    let (child, pids) = started(&ranks(""), &marks);
    send("-USR1", child.id());
    wait_until(|| marks.has("heard-0") && marks.has("heard-1"));
    send("-TERM", child.id());
    send("-INT", child.id());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(128 + 9));
    assert_eq!(pids.map(state), [None, None]);
    assert_eq!(marks.read("heard-0"), "USR1\n");
}

#[test]
fn ctrl_z_stops_the_ranks_and_continuing_continues_them() {
    let marks = Marks::new();
    let (child, pids) = started(&ranks("exit 130"), &marks);
    send("-TSTP", child.id());
    wait_until(|| state(child.id()) == Some('T'));
    wait_until(|| pids.map(state) == [Some('T'), Some('T')]);
    send("-CONT", child.id());
    wait_until(|| pids.map(state) == [Some('S'), Some('S')]);
    send("-INT", child.id());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn a_launcher_killed_with_9_leaves_nothing_behind() {
    let marks = Marks::new();
    let mut child = launcher(3, None, &marks);
    let names = ["rank-0", "rank-1", "rank-2", "own-0", "own-1", "own-2"];
    let pids = names.map(|name| marks.pid(name));
    assert!(pids.iter().all(|pid| state(*pid).is_some()));
    send("-KILL", child.id());
    child.wait().unwrap();
    wait_until(|| pids.iter().all(|pid| state(*pid).is_none()));
    assert_eq!(fs::read_dir(marks.path()).unwrap().count(), names.len());
}
