//! What ranks are told and what becomes of what they print.

use std::io::Write;

use super::support::{Marks, launcher, options, run, run_script};

#[test]
fn each_rank_learns_which_one_it_is() {
    let script = "[ $RANK = 0 ] || echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK $MASTER_ADDR \
                  $TORCHELASTIC_RESTART_COUNT $TORCHELASTIC_RUN_ID threads $OMP_NUM_THREADS $RAYON_NUM_THREADS";
    let mut options = options(3, script);
    options.threads = Some(5);
    options.run_id = "night".into();
    let launched = run(&options).unwrap();
    assert_eq!(launched.exit.code, 0);
    assert_eq!(launched.lines(1), ["1/3 1/3 0 127.0.0.1 0 night threads 5 5"]);
    assert_eq!(launched.lines(2), ["2/3 2/3 0 127.0.0.1 0 night threads 5 5"]);
}

#[test]
fn all_ranks_of_a_launch_are_told_the_same_free_port() {
    let launched = run_script(3, "[ $RANK = 0 ] || echo $MASTER_PORT");
    assert_eq!(launched.lines(1), launched.lines(2));
    assert!(launched.lines(1)[0].parse::<u16>().unwrap() > 0);
}

#[test]
fn lines_keep_their_order_and_never_mix() {
    let script =
        "[ $RANK = 0 ] && exit; i=0; while [ $i -lt 300 ]; do printf \"from $RANK \"; echo line $i; i=$((i+1)); done";
    let launched = run_script(4, script);
    let text = String::from_utf8(launched.output.clone()).unwrap();
    assert_eq!(text.lines().count(), 900);
    for rank in 1..4 {
        let expect: Vec<String> = (0..300).map(|line| format!("from {rank} line {line}")).collect();
        assert_eq!(launched.lines(rank), expect);
    }
}

#[test]
fn a_line_without_an_end_and_bytes_that_are_no_text_are_kept() {
    let launched = run_script(2, r"[ $RANK = 0 ] || printf 'whole\n\377\376 half'");
    assert_eq!(launched.output, b"[rank 1] whole\n[rank 1] \xff\xfe half\n");
}

#[test]
fn output_of_any_size_on_both_streams_is_taken() {
    let script = "[ $RANK = 0 ] && exit; head -c 8000000 /dev/zero; yes | head -n 50000 >&2";
    let launched = run_script(3, script);
    assert_eq!(launched.exit.code, 0);
    let text = String::from_utf8_lossy(&launched.output);
    assert_eq!(text.matches('\0').count(), 16_000_000);
    assert_eq!(text.lines().filter(|line| line.ends_with("] y")).count(), 100_000);
}

#[test]
fn rank_0_has_the_input_and_the_output_of_the_launcher() {
    let script = "if [ $RANK = 0 ]; then read line; echo \"out $line\"; echo \"err $line\" >&2; exit 7; \
                  else ! read line; fi";
    let marks = Marks::new();
    let mut child = launcher(2, Some(script), &marks);
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&ended.stdout).lines().any(|line| line == "out hello"));
    assert!(String::from_utf8_lossy(&ended.stderr).lines().any(|line| line == "err hello"));
}

#[test]
#[cfg(target_os = "linux")]
fn pinned_ranks_have_cores_of_their_own() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut options = options(cores + 1, "grep Cpus_allowed: /proc/self/status");
    options.pin = true;
    let error = run(&options).err().unwrap();
    assert_eq!(error.to_string(), format!("{} ranks cannot have cores of their own: there are {cores}", cores + 1));
    if cores >= 3 {
        options.ranks = 3;
        let launched = run(&options).unwrap();
        assert_ne!(launched.lines(1), launched.lines(2));
    }
}
