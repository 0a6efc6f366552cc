//! [`Collective`]: how ranks exchange tensors. Sharders, trainers and checkpoints speak of rows and sums; which library
//! carries the bytes is decided below them.

use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::Result;

/// Work under way between ranks.
pub trait Pending: Send {
    /// Whether waiting would return at once.
    fn is_done(&self) -> bool;

    /// Returns when the work is done.
    ///
    /// # Errors
    /// When a rank is gone or does not answer in time.
    fn wait(self: Box<Self>) -> Result<()>;
}

/// A tensor whose rows (dimension 0) are spread over ranks: rank r has rows `starts[r]..starts[r + 1]`, maybe none.
#[derive(Debug)]
pub struct Rows {
    /// All rows, contiguous.
    pub whole: Tensor,
    /// What this rank gives or gets, contiguous, of the same dtype and on the same device.
    pub own: Tensor,
    /// First row of each rank, and the number of all rows: one entry more than there are ranks.
    pub starts: Vec<i64>,
}

/// A group of ranks. Every rank of the group makes the same calls in the same order.
pub trait Collective: Send + Sync {
    /// This process's number within the group, 0-based.
    fn rank(&self) -> usize;

    /// Number of processes in the group.
    fn size(&self) -> usize;

    /// Copies every rank's `own` rows into `whole` of all ranks; `own` is `[rows of this rank, …]`.
    ///
    /// Nobody may write to the tensors until it is done.
    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>>;

    /// Cuts every rank's `whole` and gives rank r the rows of r: they come one rank after the other in `own`, which is
    /// `[size · rows of this rank, …]`. No arithmetic: who asks sums, in rank order.
    ///
    /// Nobody may write to the tensors until it is done.
    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>>;

    /// The sum over ranks, added in rank order: every rank gets the same bits.
    fn sum(&self, values: &Tensor) -> Result<Tensor>;

    /// Copies `tensor` of rank `from` into that of all others.
    fn broadcast(&self, tensor: &mut Tensor, from: usize) -> Result<()>;

    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()>;

    /// What each rank gave, by rank.
    fn share(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The group of `ranks`, ascending and containing this one. Every rank of it calls this with the same list.
    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>>;

    /// Bytes this rank has sent.
    fn bytes_sent(&self) -> u64;
}

/// The group of one rank: nothing moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone;

struct Done;

impl Pending for Done {
    fn is_done(&self) -> bool {
        true
    }

    fn wait(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Alone {
    fn copy(parts: Vec<Rows>, copy: impl Fn(Rows)) -> Box<dyn Pending> {
        parts.into_iter().for_each(copy);
        Box::new(Done)
    }
}

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        Ok(Self::copy(parts, |mut part| part.whole.copy_(&part.own)))
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        Ok(Self::copy(parts, |mut part| part.own.copy_(&part.whole)))
    }

    fn sum(&self, values: &Tensor) -> Result<Tensor> {
        Ok(values.copy())
    }

    fn broadcast(&self, _: &mut Tensor, _: usize) -> Result<()> {
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn share(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn subgroup(&self, _: &[usize]) -> Result<Arc<dyn Collective>> {
        Ok(Arc::new(*self))
    }

    fn bytes_sent(&self) -> u64 {
        0
    }
}

/// Sums each of a few values over the ranks of `group`, in rank order and double precision.
pub fn sum_values(group: &dyn Collective, values: &mut [f64]) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let sums = group.sum(&Tensor::from_slice(values).to_kind(Kind::Double))?;
    sums.copy_data(values, values.len());
    Ok(())
}
