//! Ranks that end: well, badly, and again.

use std::net::TcpListener;
use std::time::Duration;

use psann_core::error::Fault;

use super::support::{Marks, options, run, run_script, state, wait_until};

#[test]
fn when_one_rank_fails_the_others_are_asked_to_stop_and_the_error_names_it() {
    let marks = Marks::new();
    let (ready, folder) = (marks.fifo("ready"), marks.path().display().to_string());
    let script = format!(
        "case $RANK in
        0) exec sleep 100000 ;;
        1) read line < {ready}; echo working; echo 'error: no room on disk' >&2; echo '  hint: free some' >&2; exit 3 ;;
        2) trap 'echo saved > {folder}/saved; exit 0' TERM; echo go > {ready}; sleep 100000 & wait ;;
        esac",
        ready = ready.display()
    );
    let launched = run_script(3, &script);
    assert_eq!(launched.exit.code, 3);
    assert_eq!(
        launched.error(),
        "rank 1 failed first, with exit code 3: no room on disk / what it printed stands above, behind `[rank 1]`"
    );
    assert_eq!(marks.read("saved"), "saved\n");
}

#[test]
fn a_rank_that_does_not_stop_is_killed_with_what_it_started() {
    let marks = Marks::new();
    let (ready, folder) = (marks.fifo("ready"), marks.path().display().to_string());
    let script = format!(
        "case $RANK in
        0) trap '' TERM; sleep 100000 & echo $! > {folder}/sleep; echo $$ > {folder}/rank; echo go > {ready}; wait; wait ;;
        1) read line < {ready}; exit 3 ;;
        esac",
        ready = ready.display()
    );
    let mut options = options(2, &script);
    options.grace = Duration::from_millis(50);
    assert_eq!(run(&options).unwrap().exit.code, 3);
    assert_eq!(state(marks.pid("rank")), None);
    wait_until(|| state(marks.pid("sleep")).is_none());
}

#[test]
fn what_a_rank_leaves_running_ends_with_it() {
    let marks = Marks::new();
    let folder = marks.path().display();
    let launched = run_script(2, &format!("[ $RANK = 0 ] || {{ sleep 100000 & echo $! > {folder}/sleep; }}"));
    assert_eq!(launched.exit.code, 0);
    wait_until(|| state(marks.pid("sleep")).is_none());
}

#[test]
fn a_killed_rank_is_named_with_its_signal() {
    let launched = run_script(2, "[ $RANK = 0 ] && exec sleep 100000; kill -KILL $$");
    assert_eq!(launched.exit.code, 137);
    assert_eq!(
        launched.error(),
        "rank 1 failed first, killed by SIGKILL / when memory runs out the system kills so, and `dmesg` tells of it"
    );
}

#[test]
fn all_ranks_start_again_until_they_succeed() {
    let script = "[ $RANK = 0 ] && exit; echo attempt $TORCHELASTIC_RESTART_COUNT; \
                  [ $RANK = 2 ] || [ $TORCHELASTIC_RESTART_COUNT = 2 ] || { echo lost the link >&2; exit 9; }";
    let mut options = options(3, script);
    options.restarts = 3;
    let launched = run(&options).unwrap();
    assert_eq!((launched.exit.code, launched.exit.restarts), (0, 2));
    assert!(launched.exit.error.is_none());
    assert_eq!(
        launched.warnings,
        [
            "rank 1 failed first, with exit code 9: lost the link; all ranks start again (1 of 3)",
            "rank 1 failed first, with exit code 9: lost the link; all ranks start again (2 of 3)",
        ]
    );
    let attempts: Vec<_> = launched.lines(1).into_iter().filter(|line| line.starts_with("attempt")).collect();
    assert_eq!(attempts, ["attempt 0", "attempt 1", "attempt 2"]);
}

#[test]
fn restarts_run_out() {
    let mut options = options(1, "exit 4");
    options.restarts = 1;
    let launched = run(&options).unwrap();
    assert_eq!((launched.exit.code, launched.exit.restarts, launched.warnings.len()), (4, 1, 1));
    let expect = "rank 0 failed first, with exit code 4 (after 1 restart) / what it printed stands above";
    assert_eq!(launched.error(), expect);
}

#[test]
fn mistakes_of_the_user_and_interruptions_are_final() {
    let mut options = options(2, "[ $RANK = 0 ] || exit 2");
    options.restarts = 5;
    let launched = run(&options).unwrap();
    assert_eq!((launched.exit.code, launched.exit.restarts), (2, 0));
    assert_eq!(launched.exit.error.unwrap().fault(), Fault::Usage);
    options.arguments[1] = "[ $RANK = 0 ] && exec sleep 100000; exit 130".into();
    let launched = run(&options).unwrap();
    assert_eq!((launched.exit.code, launched.exit.restarts), (130, 0));
    assert!(launched.exit.error.is_none());
}

#[test]
fn what_cannot_be_started_is_an_error() {
    let taken = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut options = options(2, "exit 0");
    options.port = Some(port);
    let error = run(&options).err().unwrap();
    assert!(error.to_string().starts_with(&format!("port {port} of this machine cannot be used: ")), "{error}");
    options.port = None;
    options.program = "/no/such/program".into();
    let error = run(&options).err().unwrap();
    assert!(error.to_string().starts_with("cannot start rank 0 as `/no/such/program`: "), "{error}");
    options.ranks = 0;
    assert_eq!(run(&options).err().unwrap().to_string(), "0 ranks do nothing");
}
