//! Ranks as threads of one process.

use std::sync::{Barrier, Mutex};

use psann_core::Result;
use psann_core::optimizer::ShardSum;
use psann_core::sharder::Shard;
use tch::Tensor;

/// Where the ranks meet to add up.
pub struct Meeting {
    barrier: Barrier,
    values: Mutex<Vec<Option<Tensor>>>,
}

/// One of them.
pub struct Rank<'a> {
    pub number: usize,
    pub meeting: &'a Meeting,
}

impl Meeting {
    pub fn new(ranks: usize) -> Self {
        Self { barrier: Barrier::new(ranks), values: Mutex::new((0..ranks).map(|_| None).collect()) }
    }
}

impl ShardSum for Rank<'_> {
    fn sum(&self, values: &Tensor) -> Result<Tensor> {
        self.meeting.values.lock().unwrap()[self.number] = Some(values.copy());
        self.meeting.barrier.wait();
        let sum = {
            let all = self.meeting.values.lock().unwrap();
            let mut all = all.iter().map(|values| values.as_ref().unwrap());
            let first = all.next().unwrap().copy();
            all.fold(first, |sum, values| sum + values)
        };
        // Nobody brings the next values before everybody has read these.
        self.meeting.barrier.wait();
        Ok(sum)
    }
}

/// Rows of `shard` that stand on `rank` of `ranks`, cut at multiples of 256 elements as sharders do.
pub fn part(shard: &Shard, rank: usize, ranks: usize) -> Shard {
    let rows = shard.spec.shape[0];
    let inner: i64 = shard.spec.shape.iter().skip(1).product();
    let aligned = (1..=256).find(|rows| rows * inner % 256 == 0).unwrap();
    let of_each = (rows + ranks as i64 - 1) / ranks as i64;
    let of_each = (of_each + aligned - 1) / aligned * aligned;
    let first = (of_each * rank as i64).min(rows);
    let length = of_each.min(rows - first);
    let cut = |tensor: &Tensor| tensor.narrow(0, first, length).copy();
    Shard {
        spec: shard.spec.clone(),
        segment: shard.segment,
        parameter: shard.parameter,
        first_row: first,
        value: cut(&shard.value),
        // A rank without rows may have no gradient either.
        gradient: shard.gradient.as_ref().filter(|_| length > 0).map(cut),
    }
}
