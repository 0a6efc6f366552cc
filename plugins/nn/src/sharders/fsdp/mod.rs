//! `fsdp`: parameters, gradients and optimizer state are spread over ranks by rows (ZeRO; Rajbhandari et al. 2020).
//!
//! Every parameter is cut along dimension 0 into shares that start at whole blocks of 256 elements. The weights of a
//! segment are brought together just before it is computed and let go right after; its gradients go home to their owners,
//! who add them up in rank order, so that the same run gives the same bits each time.
//!
//! Large matrices travel each by itself: rows are sent from where they lie and arrive where they belong. Everything small
//! of a segment travels as one packed tensor.
//!
//! | file | holds |
//! |---|---|
//! | `gather` | weights of a segment, brought together and let go |
//! | `reduce` | gradients of a segment, on their way home |
//! | `pack` | the small parameters of a segment as one tensor |

mod gather;
mod pack;
mod reduce;

use std::collections::BTreeMap;
use std::sync::Arc;

use psann_core::collective::Collective;
use psann_core::model::SegmentSpec;
use psann_core::sharder::{Gathering, Layout, Placement, Shard};
use psann_core::{Error, Result, Sharder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::layout::{Segments, row_starts};
use gather::Gathered;
use pack::Pack;
use reduce::Reduction;

psann_core::register!(Sharder, "fsdp", FsdpOptions, Fsdp::new);

/// Spreads weights, gradients and optimizer state over all processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FsdpOptions {
    /// When gathered weights are let go.
    pub mode: Mode,
    /// Processes that together hold one copy of the model; with fewer than all, groups of so many hold a copy each and
    /// only gradients travel between groups (one group per machine saves the slow network). By default all.
    #[schemars(range(min = 1))]
    pub shard_ranks: Option<u64>,
    /// What gradients travel in; they are added up in fp32. By default bf16 where that is computed in, fp32 otherwise.
    pub wire: Option<Wire>,
    /// Keep shards, gradients and optimizer state in the memory of the host, and make the optimizer's step there.
    pub offload: bool,
}

/// When gathered weights are let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// After each segment, both ways (ZeRO-3): least memory.
    #[default]
    Full,
    /// After the step (ZeRO-2): weights travel once a step.
    GradOp,
}

/// What gradients travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// 32-bit floating point.
    Fp32,
    /// bfloat16: half the bytes, each rank's part rounded once.
    Bf16,
}

/// Parameters with fewer elements travel packed.
const LARGE: i64 = 1 << 14;

/// Shards of one rank, and what is on its way.
pub struct Fsdp {
    placement: Placement,
    mode: Mode,
    wire: Kind,
    /// Where shards live.
    home: Device,
    /// The ranks of one copy.
    group: Arc<dyn Collective>,
    /// The ranks that hold the same rows of other copies.
    replicas: Option<Arc<dyn Collective>>,
    segments: Segments,
    shards: Vec<Shard>,
    /// First row of each rank, by shard.
    starts: Vec<Vec<i64>>,
    packs: Vec<Pack>,
    gathered: Vec<Gathered>,
    /// Whole gradients that others add into, by shard.
    buffers: BTreeMap<usize, Tensor>,
    reduction: Option<Reduction>,
}

impl Fsdp {
    /// Splits the ranks into groups.
    ///
    /// # Errors
    /// When groups of `shard_ranks` do not divide the ranks.
    #[expect(clippy::needless_pass_by_value, reason = "constructors of plugins take their options")]
    pub fn new(options: FsdpOptions, placement: Placement) -> Result<Self> {
        let (rank, size) = (placement.ranks.rank(), placement.ranks.size());
        let of_copy = options.shard_ranks.map_or(size, |ranks| ranks as usize);
        if of_copy == 0 || !size.is_multiple_of(of_copy) {
            return Err(Error::usage(format!("`shard_ranks` {of_copy} does not divide the {size} ranks of the run")));
        }
        let (group, replicas) = if of_copy == size {
            (Arc::clone(&placement.ranks), None)
        } else {
            let first = rank / of_copy * of_copy;
            let group: Vec<usize> = (first..first + of_copy).collect();
            let replicas: Vec<usize> = (rank % of_copy..size).step_by(of_copy).collect();
            (placement.ranks.subgroup(&group)?, Some(placement.ranks.subgroup(&replicas)?))
        };
        let wire = match options.wire {
            Some(Wire::Fp32) => Kind::Float,
            Some(Wire::Bf16) => Kind::BFloat16,
            None => placement.compute,
        };
        let home = if options.offload { Device::Cpu } else { placement.device };
        Ok(Self {
            placement,
            mode: options.mode,
            wire,
            home,
            group,
            replicas,
            segments: Segments::default(),
            shards: Vec::new(),
            starts: Vec::new(),
            packs: Vec::new(),
            gathered: Vec::new(),
            buffers: BTreeMap::new(),
            reduction: None,
        })
    }

    fn is_alone(&self) -> bool {
        self.group.size() == 1
    }
}

impl Sharder for Fsdp {
    fn ranks(&self) -> Arc<dyn Collective> {
        Arc::clone(&self.placement.ranks)
    }

    fn copy_ranks(&self) -> Arc<dyn Collective> {
        Arc::clone(&self.group)
    }

    fn is_saved(&self) -> bool {
        self.replicas.as_ref().is_none_or(|replicas| replicas.rank() == 0)
    }

    fn layout(&self, segments: &[SegmentSpec]) -> Layout {
        let most = |spec| row_starts(spec, self.group.size())[1];
        let gathered = match self.mode {
            _ if self.is_alone() => Gathering::InPlace,
            Mode::Full => Gathering::Segment,
            Mode::GradOp => Gathering::Step,
        };
        Layout {
            rows: segments.iter().map(|segment| segment.parameters.iter().map(most).collect()).collect(),
            gathered,
            wire: self.wire,
            copy_ranks: self.group.size(),
            offload: self.home != self.placement.device,
        }
    }

    fn install(&mut self, segments: &[SegmentSpec]) -> Result<()> {
        let rank = self.group.rank();
        self.segments = Segments::of(segments);
        for (segment, specs) in segments.iter().enumerate() {
            let starts: Vec<Vec<i64>> =
                specs.parameters.iter().map(|spec| row_starts(spec, self.group.size())).collect();
            let (pack, small) = Pack::new(&specs.parameters, &starts, rank, self.home);
            for (parameter, (spec, starts)) in specs.parameters.iter().zip(&starts).enumerate() {
                let mut shape = spec.shape.clone();
                shape[0] = starts[rank + 1] - starts[rank];
                let value = match &small[parameter] {
                    Some(view) => view.shallow_clone(),
                    None => Tensor::zeros(shape.as_slice(), (self.placement.master_kind(spec), self.home)),
                };
                let first_row = starts[rank];
                self.shards.push(Shard { spec: spec.clone(), segment, parameter, first_row, value, gradient: None });
            }
            self.starts.extend(starts);
            self.packs.push(pack);
            self.gathered.push(Gathered::None);
        }
        Ok(())
    }

    fn start_gather(&mut self, segment: usize) -> Result<()> {
        if self.is_alone() { Ok(()) } else { self.begin_gather(segment) }
    }

    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>> {
        if self.is_alone() {
            let shards = &self.shards[self.segments.range(segment)?];
            return Ok(shards.iter().map(|shard| gather::computed(shard, &self.placement)).collect());
        }
        self.begin_gather(segment)?;
        self.end_gather(segment)
    }

    fn release(&mut self, segment: usize) {
        if self.mode == Mode::Full
            && let Some(gathered) = self.gathered.get_mut(segment)
        {
            gathered.empty();
        }
    }

    fn refills(&self) -> bool {
        self.mode == Mode::Full && !self.is_alone()
    }

    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()> {
        self.segments.check_gradients(segment, &gradients)?;
        self.end_reduction()?;
        self.begin_reduction(segment, gradients)
    }

    fn gradient_buffer(&mut self, segment: usize, parameter: usize) -> Result<Option<Tensor>> {
        let index = self.segments.range(segment)?.start + parameter;
        let shard = &mut self.shards[index];
        if !shard.spec.trainable {
            return Ok(None);
        }
        let zeros = |device: Device| Tensor::zeros(shard.spec.shape.as_slice(), (Kind::Float, device));
        if self.group.size() == 1 && self.home == self.placement.device {
            return Ok(Some(shard.gradient.get_or_insert_with(|| zeros(self.home)).shallow_clone()));
        }
        Ok(Some(self.buffers.entry(index).or_insert_with(|| zeros(self.placement.device)).shallow_clone()))
    }

    fn finish_reductions(&mut self) -> Result<()> {
        self.end_reduction()?;
        self.sum_over_replicas()
    }

    fn shards(&mut self) -> &mut [Shard] {
        &mut self.shards
    }

    fn clear_gradients(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.gradient = None);
        self.gathered.iter_mut().for_each(|gathered| *gathered = Gathered::None);
    }
}
