//! The small parameters of a segment as one fp32 tensor: norm scales, biases, activation vectors. One message instead of a
//! dozen; a message costs as much as some ten thousand bytes.

use psann_core::model::ParameterSpec;
use tch::{Device, Kind, Tensor};

use super::LARGE;

/// Where the small parameters of a segment stand in the packed tensor, which goes by ranks and then by parameters.
#[derive(Debug)]
pub struct Pack {
    /// This rank's part; the shards of small parameters are views of it.
    pub own: Tensor,
    /// First element of each rank, and the number of all.
    pub starts: Vec<i64>,
    small: Vec<Small>,
}

#[derive(Debug)]
struct Small {
    /// Place in the segment.
    parameter: usize,
    shape: Vec<i64>,
    /// First row of each rank.
    rows: Vec<i64>,
    /// First element in the packed tensor, by rank.
    offsets: Vec<i64>,
}

impl Small {
    /// Elements of rank `rank`'s rows.
    fn elements(&self, rank: usize) -> i64 {
        (self.rows[rank + 1] - self.rows[rank]) * self.shape[1..].iter().product::<i64>()
    }
}

impl Pack {
    /// Lays out the small ones of `specs`; `rows` says who owns which. Gives the shards of `rank` too, by parameter.
    pub fn new(specs: &[ParameterSpec], rows: &[Vec<i64>], rank: usize, device: Device) -> (Self, Vec<Option<Tensor>>) {
        let ranks = rows.first().map_or(1, |rows| rows.len() - 1);
        let is_small = |spec: &ParameterSpec| spec.elements() < LARGE || spec.shape.len() == 1;
        let mut small: Vec<Small> = specs
            .iter()
            .zip(rows)
            .enumerate()
            .filter(|(_, (spec, _))| is_small(spec))
            .map(|(parameter, (spec, rows))| Small {
                parameter,
                shape: spec.shape.clone(),
                rows: rows.clone(),
                offsets: Vec::new(),
            })
            .collect();
        let (mut starts, mut end) = (vec![0], 0);
        for of in 0..ranks {
            for one in &mut small {
                one.offsets.push(end);
                end += one.elements(of);
            }
            starts.push(end);
        }
        let own = Tensor::zeros([starts[rank + 1] - starts[rank]], (Kind::Float, device));
        let mut views: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
        for one in &small {
            let mut shape = one.shape.clone();
            shape[0] = one.rows[rank + 1] - one.rows[rank];
            let view = own.narrow(0, one.offsets[rank] - starts[rank], one.elements(rank)).view(shape.as_slice());
            views[one.parameter] = Some(view);
        }
        (Self { own, starts, small }, views)
    }

    /// Whether parameter `parameter` is in here.
    pub fn contains(&self, parameter: usize) -> bool {
        self.small.iter().any(|one| one.parameter == parameter)
    }

    /// Whether nothing is in here.
    pub fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    /// Takes the whole parameters out of the packed tensor of all ranks.
    pub fn unpack(&self, whole: &Tensor) -> Vec<(usize, Tensor)> {
        let ranks = self.starts.len() - 1;
        let unpacked = self.small.iter().map(|one| {
            let parts: Vec<Tensor> = (0..ranks)
                .filter(|rank| one.elements(*rank) > 0)
                .map(|rank| whole.narrow(0, one.offsets[rank], one.elements(rank)))
                .collect();
            (one.parameter, Tensor::cat(&parts, 0).view(one.shape.as_slice()))
        });
        unpacked.collect()
    }

    /// Packs whole gradients, by parameter, as they go to their owners; zeros where there is none.
    pub fn pack(&self, gradients: &[Option<Tensor>], device: Device) -> Tensor {
        let ranks = self.starts.len() - 1;
        let flat: Vec<Tensor> = self
            .small
            .iter()
            .map(|one| match &gradients[one.parameter] {
                Some(gradient) => gradient.to_kind(Kind::Float).reshape([-1]),
                None => Tensor::zeros([one.shape.iter().product::<i64>()], (Kind::Float, device)),
            })
            .collect();
        let mut parts = Vec::with_capacity(ranks * self.small.len());
        for rank in 0..ranks {
            for (one, flat) in self.small.iter().zip(&flat) {
                let inner: i64 = one.shape[1..].iter().product();
                parts.push(flat.narrow(0, one.rows[rank] * inner, one.elements(rank)));
            }
        }
        Tensor::cat(&parts, 0)
    }

    /// Cuts this rank's sums into gradients, by parameter.
    pub fn shards_of(&self, sums: &Tensor, rank: usize) -> Vec<(usize, Tensor)> {
        let cut = self.small.iter().map(|one| {
            let mut shape = one.shape.clone();
            shape[0] = one.rows[rank + 1] - one.rows[rank];
            let offset = one.offsets[rank] - self.starts[rank];
            (one.parameter, sums.narrow(0, offset, one.elements(rank)).view(shape.as_slice()))
        });
        cut.collect()
    }
}
