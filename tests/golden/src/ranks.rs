//! Ranks as threads of one process, for tests of everything that works over [`Collective`].
//!
//! Every call of a rank has a number, and calls of the same number meet. A rank that ends early, by a panic say, fails the
//! others at once; one that hangs fails them after [`PATIENCE`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use psann_core::collective::{Collective, Pending, Rows};
use psann_core::{Error, Result};
use tch::{Device, Tensor};

/// How long a rank waits for another.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The ranks of a new group, in order; each belongs to one thread.
pub fn group(size: usize) -> Vec<Arc<dyn Collective>> {
    let shared = Arc::new(Shared::new(size));
    (0..size).map(|rank| Arc::new(Rank::new(&shared, rank)) as Arc<dyn Collective>).collect()
}

/// What each rank of a new group makes of `work`, in rank order; each rank has a thread.
///
/// # Panics
/// When a rank panics.
pub fn run<T: Send>(size: usize, work: impl Fn(Arc<dyn Collective>) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = group(size).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        let ended: Vec<_> = ranks.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.into_iter().map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// What a rank brings to a call.
type Message = Vec<Tensor>;

/// One call of all ranks.
struct Meeting {
    messages: Vec<Option<Message>>,
    taken: usize,
}

#[derive(Default)]
struct Table {
    meetings: BTreeMap<u64, Meeting>,
    /// Ranks that ended.
    gone: Vec<bool>,
    /// Groups by their ranks and how many of the same ranks came before.
    subgroups: BTreeMap<(Vec<usize>, u64), Arc<Shared>>,
}

struct Shared {
    size: usize,
    table: Mutex<Table>,
    changed: Condvar,
}

impl Shared {
    fn new(size: usize) -> Self {
        let table = Table { gone: vec![false; size], ..Table::default() };
        Self { size, table: Mutex::new(table), changed: Condvar::new() }
    }

    /// A rank that panicked leaves nothing half done here: every change is one statement.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, number: u64, rank: usize, message: Message) {
        let mut table = self.table();
        let empty = || Meeting { messages: (0..self.size).map(|_| None).collect(), taken: 0 };
        table.meetings.entry(number).or_insert_with(empty).messages[rank] = Some(message);
        self.changed.notify_all();
    }

    /// Waits for the messages of all ranks and hands them to `take`.
    fn collect<T>(&self, number: u64, take: impl FnOnce(&[&Message]) -> T) -> Result<T> {
        let waits = |table: &mut Table| {
            let meeting = table.meetings.get(&number);
            let missing = |(message, gone): (&Option<Message>, &bool)| message.is_none() && !gone;
            let lost = |(message, gone): (&Option<Message>, &bool)| message.is_none() && *gone;
            meeting.is_some_and(|meeting| {
                let pairs = || meeting.messages.iter().zip(&table.gone);
                pairs().any(missing) && !pairs().any(lost)
            })
        };
        let waited = self.changed.wait_timeout_while(self.table(), PATIENCE, waits);
        let (mut table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let gone = table.gone.clone();
        let Some(meeting) = table.meetings.get_mut(&number) else {
            return Err(Error::new("the answer of a call was taken twice"));
        };
        let missing = |rank: &usize| meeting.messages[*rank].is_none();
        // The one that is gone rather than one that has not come yet.
        let lost = (0..self.size).find(|rank| missing(rank) && gone[*rank]);
        if let Some(rank) = lost.or_else(|| (0..self.size).find(missing)) {
            let how = if gone[rank] { "is gone" } else { "does not answer" };
            return Err(Error::new(format!("rank {rank} of {} {how}", self.size)));
        }
        let messages: Vec<&Message> = meeting.messages.iter().flatten().collect();
        let taken = take(&messages);
        meeting.taken += 1;
        if meeting.taken == self.size {
            table.meetings.remove(&number);
        }
        Ok(taken)
    }

    fn has_all(&self, number: u64) -> bool {
        let table = self.table();
        table.meetings.get(&number).is_none_or(|meeting| meeting.messages.iter().all(Option::is_some))
    }
}

/// One rank's end of a group.
struct Rank {
    shared: Arc<Shared>,
    number: usize,
    calls: AtomicU64,
    sent: AtomicU64,
    subgroups: Mutex<BTreeMap<Vec<usize>, u64>>,
}

/// A call that waits for the others.
struct Call<F> {
    shared: Arc<Shared>,
    number: u64,
    take: F,
}

impl<F: FnOnce(&[&Message]) + Send> Pending for Call<F> {
    fn is_done(&self) -> bool {
        self.shared.has_all(self.number)
    }

    fn wait(self: Box<Self>) -> Result<()> {
        self.shared.collect(self.number, self.take)
    }
}

impl Rank {
    fn new(shared: &Arc<Shared>, rank: usize) -> Self {
        let subgroups = Mutex::new(BTreeMap::new());
        Self { shared: Arc::clone(shared), number: rank, calls: AtomicU64::new(0), sent: AtomicU64::new(0), subgroups }
    }

    fn post(&self, message: Message) -> u64 {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        self.shared.post(number, self.number, message);
        number
    }

    fn count(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn call(&self, number: u64, take: impl FnOnce(&[&Message]) + Send + 'static) -> Box<dyn Pending> {
        Box::new(Call { shared: Arc::clone(&self.shared), number, take })
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        self.shared.table().gone[self.number] = true;
        self.shared.changed.notify_all();
    }
}

impl Collective for Rank {
    fn rank(&self) -> usize {
        self.number
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let message: Message = parts.iter().map(|part| part.own.copy()).collect();
        self.count(message.iter().map(size).sum::<usize>() * (self.shared.size - 1));
        let number = self.post(message);
        Ok(self.call(number, move |messages| {
            for (index, part) in parts.iter().enumerate() {
                for (rank, message) in messages.iter().enumerate() {
                    put(&part.whole, part.starts[rank], &message[index]);
                }
            }
        }))
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        let message: Message = parts.iter().map(|part| part.whole.copy()).collect();
        let kept: usize = parts.iter().map(|part| size(&part.own) / self.shared.size).sum();
        self.count(message.iter().map(size).sum::<usize>() - kept);
        let (number, own) = (self.post(message), self.number);
        Ok(self.call(number, move |messages| {
            for (index, part) in parts.iter().enumerate() {
                let (first, rows) = (part.starts[own], part.starts[own + 1] - part.starts[own]);
                for (rank, message) in messages.iter().enumerate() {
                    put(&part.own, rank as i64 * rows, &message[index].narrow(0, first, rows));
                }
            }
        }))
    }

    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        let Some(rank) = ranks.iter().position(|rank| *rank == self.number) else {
            return Err(Error::new(format!("rank {} is not in the group {ranks:?}", self.number)));
        };
        let mut before = self.subgroups.lock().unwrap_or_else(PoisonError::into_inner);
        let count = before.entry(ranks.to_vec()).or_default();
        let key = (ranks.to_vec(), *count);
        *count += 1;
        let mut table = self.shared.table();
        let shared = table.subgroups.entry(key).or_insert_with(|| Arc::new(Shared::new(ranks.len())));
        Ok(Arc::new(Rank::new(shared, rank)))
    }

    fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Writes `rows` into `whole` from row `first` on.
fn put(whole: &Tensor, first: i64, rows: &Tensor) {
    let count = rows.size().first().copied().unwrap_or(1);
    tch::no_grad(|| whole.narrow(0, first, count).copy_(rows));
}

fn size(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn numbers(first: i64, count: i64) -> Tensor {
        Tensor::arange_start(first, first + count, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn rows_are_gathered_exchanged_and_summed_in_rank_order() {
        let starts = vec![0_i64, 2, 2, 5];
        run(3, |ranks| {
            let rank = ranks.rank();
            let count = starts[rank + 1] - starts[rank];
            let whole = Tensor::zeros([5], (Kind::Float, Device::Cpu));
            let rows = Rows { whole: whole.shallow_clone(), own: numbers(starts[rank], count), starts: starts.clone() };
            let gathering = ranks.start_gather(vec![rows]).unwrap();
            gathering.wait().unwrap();
            assert_eq!(whole, numbers(0, 5));
            assert_eq!(ranks.bytes_sent(), 4 * count as u64 * 2);

            let own = Tensor::zeros([3 * count], (Kind::Float, Device::Cpu));
            let rows = Rows { whole: numbers(10 * rank as i64, 5), own: own.shallow_clone(), starts: starts.clone() };
            ranks.start_exchange(vec![rows]).unwrap().wait().unwrap();
            let expected: Vec<Tensor> = (0..3).map(|from| numbers(10 * from + starts[rank], count)).collect();
            assert_eq!(own, Tensor::cat(&expected, 0));

            // In another order the small ones would be lost in the great one.
            let value = [1e16, 1.0, -1e16][rank];
            let sum = ranks.sum(&Tensor::from_slice(&[value])).unwrap();
            assert_eq!(sum.double_value(&[0]), 1e16 + 1.0 - 1e16);
        });
    }

    #[test]
    fn values_are_shared_broadcast_and_kept_within_subgroups() {
        run(4, |ranks| {
            let rank = ranks.rank();
            assert_eq!(ranks.share(&vec![7; rank]).unwrap(), [vec![], vec![7], vec![7; 2], vec![7; 3]]);
            let mut tensor = Tensor::from_slice(&[rank as f64]);
            ranks.broadcast(&mut tensor, 2).unwrap();
            assert_eq!(tensor.double_value(&[0]), 2.0);
            for _ in 0..2 {
                let pair = ranks.subgroup(&[rank % 2, rank % 2 + 2]).unwrap();
                assert_eq!((pair.rank(), pair.size()), (rank / 2, 2));
                let sum = pair.sum(&Tensor::from_slice(&[rank as f64])).unwrap();
                assert_eq!(sum.double_value(&[0]), (2 * (rank % 2) + 2) as f64);
            }
            ranks.barrier().unwrap();
        });
    }

    #[test]
    fn a_rank_that_is_gone_is_an_error_of_the_others() {
        let ended = run(3, |ranks| if ranks.rank() == 1 { Ok(()) } else { ranks.barrier() });
        assert!(ended[1].is_ok());
        for rank in [0, 2] {
            assert_eq!(ended[rank].as_ref().unwrap_err().to_string(), "rank 1 of 3 is gone");
        }
    }
}
