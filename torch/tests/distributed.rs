//! Groups of real processes: each test starts this program again, once per rank.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::env;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use psann_core::collective::{Pending, Rows};
use psann_core::{Collective, Result};
use psann_torch::distributed::{Rendezvous, Store, connect};
use tch::{Device, Kind, Tensor};

/// Set in the processes that are ranks: `rank/size/port/hosted/milliseconds`.
const PLACE: &str = "PSANN_TEST_PLACE";

/// Far longer than any operation takes, so that only operations that should fail do.
const PATIENCE: Duration = Duration::from_mins(1);

type Work = fn(&dyn Collective, &Store);

/// Runs `work` in the test called `name` as each rank of groups of these `sizes`; all must succeed.
fn ranks(name: &str, sizes: &[usize], work: Work) {
    if !is_rank(work) {
        for &size in sizes {
            start(name, size, free_port(), false, PATIENCE).into_iter().for_each(succeed);
        }
    }
}

/// In a process that is a rank: does its work.
fn is_rank(work: Work) -> bool {
    let Ok(place) = env::var(PLACE) else { return false };
    let fields: Vec<u64> = place.split('/').map(|field| field.parse().unwrap()).collect();
    let rendezvous = Rendezvous {
        address: "localhost".into(),
        port: fields[2] as u16,
        rank: fields[0] as usize,
        size: fields[1] as usize,
        prefix: "test".into(),
        hosted: fields[3] == 1,
        timeout: Duration::from_millis(fields[4]),
    };
    tch::set_num_threads(1);
    let (group, store) = connect(&rendezvous, Device::Cpu).unwrap();
    assert_eq!((group.rank(), group.size()), (rendezvous.rank, rendezvous.size));
    work(&*group, &store);
    true
}

fn start(name: &str, size: usize, port: u16, hosted: bool, timeout: Duration) -> Vec<Child> {
    let start = |rank: usize| {
        Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(PLACE, format!("{rank}/{size}/{port}/{}/{}", u8::from(hosted), timeout.as_millis()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    (0..size).map(start).collect()
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn succeed(rank: Child) {
    let Output { status, stdout, stderr } = rank.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success() && text.contains("1 passed"), "{status}\n{text}");
}

/// Where the rows of each rank start when rank `r` has `lengths[r % 4]`.
fn starts(lengths: [i64; 4], size: usize) -> Vec<i64> {
    let ends = lengths.iter().cycle().take(size).scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// `[rows, 2]` whose entries tell who made them: all different, and exact in every dtype used here.
fn made_by(rank: usize, rows: i64, kind: Kind) -> Tensor {
    (Tensor::arange(rows * 2, (Kind::Int64, Device::Cpu)) + 50 * rank as i64).view([rows, 2]).to_kind(kind)
}

fn empty(rows: i64, kind: Kind) -> Tensor {
    Tensor::zeros([rows, 2], (kind, Device::Cpu))
}

fn gather(group: &dyn Collective, own: &Tensor, starts: &[i64]) -> Result<(Tensor, Box<dyn Pending>)> {
    let whole = empty(*starts.last().unwrap(), own.kind());
    let rows = Rows { whole: whole.shallow_clone(), own: own.shallow_clone(), starts: starts.to_vec() };
    Ok((whole, group.start_gather(vec![rows])?))
}

const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Uint8];
const LENGTHS: [[i64; 4]; 4] = [[2, 2, 2, 2], [3, 0, 1, 5], [0, 4, 0, 0], [0, 0, 0, 0]];

fn gathers(group: &dyn Collective, _: &Store) {
    for kind in KINDS {
        for lengths in LENGTHS {
            let starts = starts(lengths, group.size());
            let parts = || (0..group.size()).map(|rank| made_by(rank, starts[rank + 1] - starts[rank], kind));
            let own = parts().nth(group.rank()).unwrap();
            let (whole, pending) = gather(group, &own, &starts).unwrap();
            pending.wait().unwrap();
            let expected = Tensor::cat(&parts().collect::<Vec<_>>(), 0);
            assert_eq!(whole, expected, "{kind:?} {lengths:?}");
            let mut rows = Rows { whole: empty(starts[group.size()], kind), own, starts };
            rows.part(group.rank()).copy_(&rows.own);
            rows.own = rows.part(group.rank());
            let whole = rows.whole.shallow_clone();
            group.start_gather(vec![rows]).unwrap().wait().unwrap();
            assert_eq!(whole, expected, "in place: {kind:?} {lengths:?}");
        }
    }
}

fn exchanges(group: &dyn Collective, _: &Store) {
    let (rank, size) = (group.rank(), group.size());
    for kind in KINDS {
        for lengths in LENGTHS {
            let starts = starts(lengths, size);
            let rows = Rows {
                whole: made_by(rank, starts[size], kind),
                own: empty(size as i64 * (starts[rank + 1] - starts[rank]), kind),
                starts,
            };
            let parts = |from: usize| {
                let whole = made_by(from, rows.starts[size], kind);
                whole.narrow(0, rows.starts[rank], rows.starts[rank + 1] - rows.starts[rank])
            };
            let expected = Tensor::cat(&(0..size).map(parts).collect::<Vec<_>>(), 0);
            let own = rows.own.shallow_clone();
            group.start_exchange(vec![rows]).unwrap().wait().unwrap();
            assert_eq!(own, expected, "{kind:?} {lengths:?}");
        }
    }
}

#[test]
fn a_gather_brings_all_rows_to_all_and_an_exchange_to_their_owner() {
    ranks("a_gather_brings_all_rows_to_all_and_an_exchange_to_their_owner", &[1, 2, 3, 4], |group, store| {
        gathers(group, store);
        exchanges(group, store);
    });
}

/// Operations of two tensors each, larger than the buffers of the network; every third is dropped without a wait.
fn overlapping(group: &dyn Collective, _: &Store) {
    let (rank, size) = (group.rank(), group.size());
    let starts = starts([3, 0, 1, 5], size);
    let tensor = |rows: i64, value: usize| Tensor::full([rows, 50_000], value as i64, (Kind::Float, Device::Cpu));
    let mut under_way = Vec::new();
    for operation in 0..12 {
        let value = |from: usize, part: usize| 100 * operation + 10 * from + part;
        let parts = [0, 1].map(|part| Rows {
            whole: tensor(starts[size], 0),
            own: tensor(starts[rank + 1] - starts[rank], value(rank, part)),
            starts: starts.clone(),
        });
        let wholes = parts.each_ref().map(|rows| rows.whole.shallow_clone());
        let pending = group.start_gather(parts.into()).unwrap();
        if operation % 3 > 0 {
            under_way.push((operation, wholes, pending));
        }
    }
    let before = group.bytes_sent();
    while !under_way[0].2.is_done() {
        std::thread::yield_now();
    }
    for (operation, wholes, pending) in under_way.into_iter().rev() {
        pending.wait().unwrap();
        for (part, whole) in wholes.iter().enumerate() {
            for from in 0..size {
                let rows = whole.narrow(0, starts[from], starts[from + 1] - starts[from]);
                assert_eq!(rows, tensor(rows.size()[0], 100 * operation + 10 * from + part));
            }
        }
    }
    assert_eq!(group.bytes_sent(), before);
    let own_bytes = (starts[rank + 1] - starts[rank]) as u64 * 50_000 * 4;
    assert_eq!(before, 12 * 2 * own_bytes * (size as u64 - 1));
    group.barrier().unwrap();
}

#[test]
fn operations_under_way_together_do_not_mix() {
    ranks("operations_under_way_together_do_not_mix", &[2, 4], overlapping);
}

fn sums(group: &dyn Collective, _: &Store) {
    // fp32 sums of these depend on their order.
    let values = |rank: usize| Tensor::from_slice(&[1e8_f32, -1e8, 0.1, 1.0 / 3.0]) * (1.0 + 0.37 * rank as f64);
    let sum = group.sum(&values(group.rank())).unwrap();
    let mut expected = values(0).to_kind(Kind::Double);
    for rank in 1..group.size() {
        expected += values(rank).to_kind(Kind::Double);
    }
    assert_eq!(sum, expected.to_kind(Kind::Float));
    let bits = Vec::<f32>::try_from(&sum).unwrap().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    assert!(group.share(&bits).unwrap().iter().all(|theirs| *theirs == bits));
    let counts = group.sum(&Tensor::from_slice(&[i64::MAX / 8, group.rank() as i64])).unwrap();
    let size = group.size() as i64;
    assert_eq!(Vec::<i64>::try_from(counts).unwrap(), [i64::MAX / 8 * size, size * (size - 1) / 2]);
}

#[test]
fn a_sum_has_the_same_bits_on_all_ranks() {
    ranks("a_sum_has_the_same_bits_on_all_ranks", &[1, 2, 4], sums);
}

fn shares(group: &dyn Collective, store: &Store) {
    let text = |rank: usize| "ab".repeat(rank * 700).into_bytes();
    let shared = group.share(&text(group.rank())).unwrap();
    assert_eq!(shared, (0..group.size()).map(text).collect::<Vec<_>>());
    for from in 0..group.size() {
        let mut tensor = made_by(group.rank(), 4, Kind::BFloat16);
        group.broadcast(&mut tensor, from).unwrap();
        assert_eq!(tensor, made_by(from, 4, Kind::BFloat16));
    }
    store.add("arrived", 1).unwrap();
    group.barrier().unwrap();
    assert_eq!(store.add("arrived", 0).unwrap(), group.size() as i64);
    group.barrier().unwrap();
}

#[test]
fn bytes_are_shared_tensors_broadcast_and_barriers_wait_for_all() {
    ranks("bytes_are_shared_tensors_broadcast_and_barriers_wait_for_all", &[1, 3], shares);
}

fn two_by_two(group: &dyn Collective, _: &Store) {
    let rank = group.rank();
    let row: Arc<dyn Collective> = group.subgroup(if rank < 2 { &[0, 1] } else { &[2, 3] }).unwrap();
    let column = group.subgroup(if rank.is_multiple_of(2) { &[0, 2] } else { &[1, 3] }).unwrap();
    assert_eq!((row.rank(), row.size(), column.rank()), (rank % 2, 2, rank / 2));
    let one = Tensor::from_slice(&[1_i64 << (8 * rank)]);
    let of_row = row.sum(&one).unwrap();
    assert_eq!(of_row, Tensor::from_slice(&[if rank < 2 { 0x101_i64 } else { 0x101_0000 }]));
    assert_eq!(column.sum(&of_row).unwrap(), Tensor::from_slice(&[0x101_0101_i64]));
    assert!(group.subgroup(&[(rank + 1) % 4]).is_err());
    group.barrier().unwrap();
}

#[test]
fn subgroups_talk_among_themselves() {
    ranks("subgroups_talk_among_themselves", &[4], two_by_two);
}

/// Rank 2 dies while the others wait for it.
fn with_a_death(group: &dyn Collective, store: &Store) {
    group.barrier().unwrap();
    let own = made_by(group.rank(), 1000, Kind::Float);
    let starts = starts([1000; 4], group.size());
    if group.rank() == 2 {
        store.wait(&["waiting/0", "waiting/1"], PATIENCE).unwrap();
        die();
    }
    let (_, pending) = gather(group, &own, &starts).unwrap();
    let (_, later) = gather(group, &own, &starts).unwrap();
    store.set(&format!("waiting/{}", group.rank()), b"").unwrap();
    assert_eq!(pending.wait().unwrap_err().message(), "rank 2 is gone");
    // What was under way already fails too, and what comes later fails at once.
    assert_eq!(later.wait().unwrap_err().message(), "rank 2 is gone");
    assert_eq!(gather(group, &own, &starts).err().unwrap().message(), "rank 2 is gone");
    // Rank 0 serves the store: it leaves last.
    store.set(&format!("over/{}", group.rank()), b"").unwrap();
    store.wait(&["over/0", "over/1"], PATIENCE).unwrap();
    if group.rank() == 0 {
        store.get("left").unwrap();
    } else {
        store.set("left", b"").unwrap();
    }
}

fn die() -> ! {
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
    unreachable!("a killed process goes on");
}

#[test]
fn a_killed_rank_is_named_by_the_others() {
    const NAME: &str = "a_killed_rank_is_named_by_the_others";
    if is_rank(with_a_death) {
        return;
    }
    let mut started = start(NAME, 3, free_port(), false, PATIENCE);
    let killed = started.remove(2).wait_with_output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", String::from_utf8_lossy(&killed.stderr));
    started.into_iter().for_each(succeed);
}

/// Rank 0, which serves the store, dies.
fn without_a_host(group: &dyn Collective, store: &Store) {
    group.barrier().unwrap();
    if group.rank() == 0 {
        die();
    }
    let own = made_by(group.rank(), 1000, Kind::Float);
    let outcome = gather(group, &own, &[0, 1000, 2000]).and_then(|(_, pending)| pending.wait());
    assert_eq!(outcome.unwrap_err().message(), "rank 0 is gone");
    let outcome = store.set("key", b"").and_then(|()| store.contains("key"));
    assert!(outcome.unwrap_err().message().ends_with("is gone"));
}

#[test]
fn losing_the_rank_that_serves_the_store_is_an_error_too() {
    if is_rank(without_a_host) {
        return;
    }
    let name = "losing_the_rank_that_serves_the_store_is_an_error_too";
    let mut started = start(name, 2, free_port(), false, PATIENCE);
    succeed(started.remove(1));
    started.remove(0).wait().unwrap();
}

/// Rank 1 is alive but never takes part.
fn with_silence(group: &dyn Collective, store: &Store) {
    group.barrier().unwrap();
    if group.rank() == 1 {
        store.wait(&["over"], PATIENCE).unwrap();
        return;
    }
    let (_, pending) = gather(group, &made_by(0, 2, Kind::Float), &[0, 2, 4]).unwrap();
    assert_eq!(pending.wait().unwrap_err().message(), "rank 1 did not answer within 2s");
    store.set("over", b"").unwrap();
}

#[test]
fn a_silent_rank_is_named_after_the_timeout() {
    const NAME: &str = "a_silent_rank_is_named_after_the_timeout";
    if is_rank(with_silence) {
        return;
    }
    let agent = Store::serve("127.0.0.1", 0, PATIENCE).unwrap();
    start(NAME, 2, agent.port(), true, Duration::from_secs(2)).into_iter().for_each(succeed);
}

/// Rank 0 leaves a group in which rank 1 never does anything.
fn leaving(group: &dyn Collective, store: &Store) {
    let pair = group.subgroup(&[0, 1]).unwrap();
    if group.rank() == 0 {
        let (_, pending) = gather(&*pair, &made_by(0, 2, Kind::Float), &[0, 2, 4]).unwrap();
        drop(pair);
        assert_eq!(pending.wait().unwrap_err().message(), "the group was closed with operations under way");
        store.set("left", b"").unwrap();
    } else {
        store.wait(&["left"], PATIENCE / 2).unwrap();
    }
    group.barrier().unwrap();
}

#[test]
fn leaving_a_group_does_not_wait_for_operations_under_way() {
    ranks("leaving_a_group_does_not_wait_for_operations_under_way", &[2], leaving);
}

#[test]
fn all_ranks_are_clients_of_a_store_that_an_agent_serves() {
    const NAME: &str = "all_ranks_are_clients_of_a_store_that_an_agent_serves";
    if is_rank(shares) {
        return;
    }
    let agent = Store::serve("127.0.0.1", 0, PATIENCE).unwrap();
    start(NAME, 2, agent.port(), true, PATIENCE).into_iter().for_each(succeed);
    assert_eq!(agent.prefixed("test").unwrap().get("arrived").unwrap(), b"2");
}
