//! What a gather or an exchange means for one rank: which rows it sends, receives and copies.

use psann_core::Result;
use psann_core::collective::Rows;
use tch::Tensor;

/// Rows that travel between this rank and `peer`.
pub struct Transfer {
    pub peer: usize,
    /// Number of the tensor among those that move together.
    pub part: usize,
    /// A view of the rows.
    pub rows: Tensor,
}

/// All that one rank does in an operation.
#[derive(Default)]
pub struct Moves {
    pub receives: Vec<Transfer>,
    pub sends: Vec<Transfer>,
    /// (from, to) of this rank's own rows, where they are not in place already.
    pub copies: Vec<(Tensor, Tensor)>,
}

impl Moves {
    /// For [`psann_core::Collective::start_gather`].
    pub fn gather(parts: &[Rows], rank: usize, size: usize) -> Result<Self> {
        let mut moves = Self::default();
        for (part, rows) in parts.iter().enumerate() {
            rows.check_gather(rank, size)?;
            let own = rows.own.detach();
            moves.copy(&own, rows.part(rank).detach());
            for (to, from) in peers(rank, size) {
                moves.send(part, to, own.shallow_clone());
                moves.receive(part, from, rows.part(from).detach());
            }
        }
        Ok(moves)
    }

    /// For [`psann_core::Collective::start_exchange`].
    pub fn exchange(parts: &[Rows], rank: usize, size: usize) -> Result<Self> {
        let mut moves = Self::default();
        for (part, rows) in parts.iter().enumerate() {
            rows.check_exchange(rank, size)?;
            moves.copy(&rows.part(rank).detach(), rows.received(rank).detach());
            for (to, from) in peers(rank, size) {
                moves.send(part, to, rows.part(to).detach());
                moves.receive(part, from, rows.received(from).detach());
            }
        }
        Ok(moves)
    }

    /// Bytes that leave this rank.
    pub fn bytes_sent(&self) -> u64 {
        self.sends.iter().map(|transfer| bytes(&transfer.rows)).sum()
    }

    /// Bytes that come to this rank.
    pub fn bytes_received(&self) -> u64 {
        self.receives.iter().map(|transfer| bytes(&transfer.rows)).sum()
    }

    /// Puts this rank's own rows in place.
    pub fn copy_own(&self) -> Result<()> {
        let _no_gradients = tch::no_grad_guard();
        for (from, to) in &self.copies {
            to.shallow_clone().f_copy_(from).map_err(super::libtorch)?;
        }
        Ok(())
    }

    fn send(&mut self, part: usize, peer: usize, rows: Tensor) {
        if rows.numel() > 0 {
            self.sends.push(Transfer { peer, part, rows });
        }
    }

    fn receive(&mut self, part: usize, peer: usize, rows: Tensor) {
        if rows.numel() > 0 {
            self.receives.push(Transfer { peer, part, rows });
        }
    }

    fn copy(&mut self, from: &Tensor, to: Tensor) {
        if from.numel() > 0 && from.data_ptr() != to.data_ptr() {
            self.copies.push((from.shallow_clone(), to));
        }
    }
}

/// (to, from) of each round: in every round each rank sends to one other and receives from one other.
fn peers(rank: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..size).map(move |round| ((rank + round) % size, (rank + size - round) % size))
}

fn bytes(rows: &Tensor) -> u64 {
    (rows.numel() * rows.kind().elt_size_in_bytes()) as u64
}
