//! [`Collective`]: how the ranks of a run exchange tensors.
//!
//! It exists so that sharding, loss scaling and checkpoints are written once: for processes on one machine, machines
//! on a network, GPUs and a dry run that talks to nobody. Two movements suffice: every rank's rows to everybody
//! ([`Collective::start_gather`]), and everybody's rows to their owner ([`Collective::start_exchange`]). Neither adds
//! up: whoever needs a sum adds what arrived in rank order, so that results do not depend on which came first and
//! every rank holds the same bits. All other operations are gathers and have default implementations here.
//!
//! Every rank starts the same operations in the same order, like with any message-passing library; an operation that
//! one rank never starts ends in an error on the others once their time is up.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// Work under way between ranks. Dropping it does not stop the work; its tensors live until it is done.
pub trait Pending: Send {
    /// Whether [`Pending::wait`] would return at once; it may take a moment to know.
    fn is_done(&self) -> bool;

    /// Waits until the tensors may be used again; the error names the rank that failed.
    fn wait(self: Box<Self>) -> Result<()>;
}

/// A tensor whose rows (dimension 0) are spread over ranks: rank `r` has rows `starts[r]..starts[r + 1]`, perhaps none.
#[derive(Debug)]
pub struct Rows {
    /// All rows, `[rows, …]`, contiguous.
    pub whole: Tensor,
    /// What this rank owns, contiguous, dtype and device of `whole`: `[own rows, …]` in a gather and
    /// `[size · own rows, …]` in an exchange.
    pub own: Tensor,
    /// `size + 1` ascending row numbers from 0 to the number of rows.
    pub starts: Vec<i64>,
}

impl Rows {
    /// The rows of `rank`.
    pub fn of(&self, rank: usize) -> Range<i64> {
        self.starts[rank]..self.starts[rank + 1]
    }

    /// The part of `whole` that `rank` owns, as a view.
    pub fn part(&self, rank: usize) -> Tensor {
        let rows = self.of(rank);
        self.whole.narrow(0, rows.start, rows.end - rows.start)
    }

    /// In an exchange: the place in `own` of the rows that came from `rank`, as a view.
    pub fn received(&self, rank: usize) -> Tensor {
        let rows = self.own.size()[0] / (self.starts.len() as i64 - 1);
        self.own.narrow(0, rank as i64 * rows, rows)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> u64 {
        let elements: i64 = self.whole.size().iter().skip(1).product();
        elements as u64 * self.whole.kind().elt_size_in_bytes() as u64
    }

    /// Checks shapes, dtype, device and layout for a gather.
    pub fn check_gather(&self, rank: usize, size: usize) -> Result<()> {
        self.check(rank, size, 1)
    }

    /// Checks shapes, dtype, device and layout for an exchange.
    pub fn check_exchange(&self, rank: usize, size: usize) -> Result<()> {
        self.check(rank, size, size as i64)
    }

    fn check(&self, rank: usize, size: usize, copies: i64) -> Result<()> {
        let (whole, own) = (self.whole.size(), self.own.size());
        let ascending = self.starts.windows(2).all(|pair| pair[0] <= pair[1]);
        let ends = self.starts.first() == Some(&0) && self.starts.last() == whole.first();
        if self.starts.len() != size + 1 || !ascending || !ends {
            return Err(Error::new(format!(
                "rows {:?} do not divide a tensor of shape {whole:?} among {size} ranks",
                self.starts
            )));
        }
        let mut expected = whole;
        expected[0] = copies * (self.starts[rank + 1] - self.starts[rank]);
        if own != expected {
            return Err(Error::new(format!("rank {rank} brings a tensor of shape {own:?}, not {expected:?}")));
        }
        if self.own.kind() != self.whole.kind() || self.own.device() != self.whole.device() {
            return Err(Error::new("a rank's rows and the whole tensor differ in dtype or device"));
        }
        if !self.own.is_contiguous() || !self.whole.is_contiguous() {
            return Err(Error::new("only contiguous tensors can move between ranks"));
        }
        Ok(())
    }
}

/// A group of ranks.
pub trait Collective: Send + Sync {
    /// This process's number in the group, 0-based.
    fn rank(&self) -> usize;

    /// Number of ranks in the group.
    fn size(&self) -> usize;

    /// Where the tensors of this group live.
    fn device(&self) -> Device;

    /// Every rank's `own` goes to all ranks: afterwards `whole` is complete everywhere. Until it is done nobody may
    /// write to `own` or touch `whole`. `own` may be the rank's part of `whole` itself.
    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>>;

    /// Every rank's `whole` is cut: rank `r` gets rows `starts[r]..starts[r + 1]` of every rank, one rank after the
    /// other, in its `own` `[size · own rows, …]`. Until it is done nobody may write to `whole` or touch `own`.
    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>>;

    /// The group of `ranks` (ascending numbers in this group, this rank among them). All ranks call it at the same
    /// time, each with the list that it belongs to.
    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>>;

    /// Bytes this rank sent so far, not counting those of subgroups.
    fn bytes_sent(&self) -> u64;

    /// Sum over ranks, element by element in rank order, floating point in fp64: the same bits on every rank. Meant for
    /// small tensors, because each rank receives everybody's.
    fn sum(&self, values: &Tensor) -> Result<Tensor> {
        let size = self.size() as i64;
        let shape = values.size();
        let own = values.detach().contiguous().unsqueeze(0);
        let whole_shape: Vec<i64> = std::iter::once(size).chain(shape).collect();
        let whole = Tensor::empty(whole_shape.as_slice(), (values.kind(), values.device()));
        let gathered = whole.shallow_clone();
        self.start_gather(vec![Rows { whole, own, starts: (0..=size).collect() }])?.wait()?;
        let exact = if values.is_floating_point() { Kind::Double } else { Kind::Int64 };
        let mut sum = gathered.get(0).to_dtype(exact, false, true);
        for rank in 1..size {
            sum += gathered.get(rank).to_dtype(exact, false, false);
        }
        Ok(sum.to_dtype(values.kind(), false, false))
    }

    /// Everybody's `tensor` (contiguous, same shape and dtype everywhere) becomes that of rank `from`.
    fn broadcast(&self, tensor: &mut Tensor, from: usize) -> Result<()> {
        if !tensor.is_contiguous() {
            return Err(Error::new("only contiguous tensors can move between ranks"));
        }
        let whole = tensor.detach().view([-1]);
        let count = whole.size()[0];
        let starts = (0..=self.size()).map(|rank| if rank > from { count } else { 0 }).collect();
        let own = whole.narrow(0, 0, if self.rank() == from { count } else { 0 });
        self.start_gather(vec![Rows { whole, own, starts }])?.wait()
    }

    /// Returns once every rank has called it.
    fn barrier(&self) -> Result<()> {
        self.sum(&Tensor::zeros([1], (Kind::Uint8, self.device()))).map(|_| ())
    }

    /// What each rank gave, by rank; lengths may differ.
    fn share(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let size = self.size();
        let mut lengths = vec![0_i64; size];
        lengths[self.rank()] = bytes.len() as i64;
        let lengths = self.sum(&Tensor::from_slice(&lengths).to_device(self.device()))?;
        let lengths = Vec::<i64>::try_from(lengths.to_device(Device::Cpu))
            .map_err(|error| Error::new("cannot read the lengths that ranks gave").because(error))?;
        let mut starts = vec![0_i64];
        starts.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        let whole = Tensor::empty([starts[size]], (Kind::Uint8, self.device()));
        let own = Tensor::from_slice(bytes).to_device(self.device());
        let gathered = whole.shallow_clone();
        self.start_gather(vec![Rows { whole, own, starts: starts.clone() }])?.wait()?;
        let gathered = Vec::<u8>::try_from(gathered.to_device(Device::Cpu))
            .map_err(|error| Error::new("cannot read the bytes that ranks gave").because(error))?;
        Ok(starts.windows(2).map(|ends| gathered[ends[0] as usize..ends[1] as usize].to_vec()).collect())
    }
}

/// Sums each of a few values over the ranks of `group`, in rank order and double precision.
pub fn sum_values(group: &dyn Collective, values: &mut [f64]) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let sums = group.sum(&Tensor::from_slice(values).to_device(group.device()))?;
    sums.to_device(Device::Cpu).copy_data(values, values.len());
    Ok(())
}

/// Work that was done before it was asked about.
#[derive(Debug, Clone, Copy)]
pub struct Done;

impl Pending for Done {
    fn is_done(&self) -> bool {
        true
    }

    fn wait(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The group of one process.
#[derive(Debug, Clone, Copy)]
pub struct Alone {
    /// Where its tensors live.
    pub device: Device,
}

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn device(&self) -> Device {
        self.device
    }

    fn start_gather(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        for Rows { whole, own, .. } in checked(parts)? {
            if whole.data_ptr() != own.data_ptr() {
                let _no_gradients = tch::no_grad_guard();
                whole.detach().copy_(&own);
            }
        }
        Ok(Box::new(Done))
    }

    fn start_exchange(&self, parts: Vec<Rows>) -> Result<Box<dyn Pending>> {
        for Rows { whole, own, .. } in checked(parts)? {
            if whole.data_ptr() != own.data_ptr() {
                let _no_gradients = tch::no_grad_guard();
                own.detach().copy_(&whole);
            }
        }
        Ok(Box::new(Done))
    }

    fn subgroup(&self, ranks: &[usize]) -> Result<Arc<dyn Collective>> {
        position(ranks, 0, 1)?;
        Ok(Arc::new(*self))
    }

    fn bytes_sent(&self) -> u64 {
        0
    }
}

/// Checks the list given to [`Collective::subgroup`]; this rank's number in the new group.
pub fn position(ranks: &[usize], rank: usize, size: usize) -> Result<usize> {
    let ascending = ranks.windows(2).all(|pair| pair[0] < pair[1]) && ranks.last().is_some_and(|&last| last < size);
    let own = ranks.iter().position(|&member| member == rank);
    own.filter(|_| ascending)
        .ok_or_else(|| Error::new(format!("rank {rank} of {size} cannot be in a group of the ranks {ranks:?}")))
}

/// In a group of one, rows of a gather and of an exchange have the same shape.
fn checked(parts: Vec<Rows>) -> Result<Vec<Rows>> {
    parts.iter().try_for_each(|rows| rows.check_gather(0, 1))?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Alone = Alone { device: Device::Cpu };

    #[test]
    fn one_process_gets_back_what_it_gave() {
        let own = Tensor::from_slice(&[1.0_f32, 2.0]);
        let whole = own.zeros_like();
        let rows = Rows { whole: whole.shallow_clone(), own: own.shallow_clone(), starts: vec![0, 2] };
        ALONE.start_gather(vec![rows]).unwrap().wait().unwrap();
        assert_eq!(whole, own);
        assert_eq!(ALONE.sum(&own).unwrap(), own);
        assert_eq!(ALONE.share(b"abc").unwrap(), [b"abc".to_vec()]);
        let mut scalar = Tensor::from(3_i64);
        ALONE.broadcast(&mut scalar, 0).unwrap();
        assert_eq!(scalar, Tensor::from(3_i64));
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_with_both_shapes() {
        let rows = |starts: &[i64], own: i64| Rows {
            whole: Tensor::zeros([5, 2], (Kind::Float, Device::Cpu)),
            own: Tensor::zeros([own, 2], (Kind::Float, Device::Cpu)),
            starts: starts.to_vec(),
        };
        assert!(rows(&[0, 3, 5], 2).check_gather(1, 2).is_ok());
        assert!(rows(&[0, 3, 5], 4).check_exchange(1, 2).is_ok());
        let message = rows(&[0, 3, 5], 3).check_gather(1, 2).unwrap_err().to_string();
        assert_eq!(message, "rank 1 brings a tensor of shape [3, 2], not [2, 2]");
        for starts in [&[0, 3][..], &[0, 3, 4], &[1, 3, 5], &[0, 6, 5]] {
            let message = rows(starts, 2).check_gather(1, 2).unwrap_err().to_string();
            assert!(message.ends_with("do not divide a tensor of shape [5, 2] among 2 ranks"), "{message}");
        }
    }

    #[test]
    fn a_group_must_be_ascending_and_hold_the_rank() {
        assert_eq!(position(&[1, 3], 3, 4).unwrap(), 1);
        for ranks in [&[][..], &[3, 1], &[0, 1], &[3, 4]] {
            assert!(position(ranks, 3, 4).is_err(), "{ranks:?}");
        }
    }
}
