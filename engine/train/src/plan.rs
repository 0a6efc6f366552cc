//! What a training run would take: memory of one device by part, floating-point operations, bytes that ranks send.
//!
//! Nothing is allocated: sizes follow from the model's specs, the sharder's layout and the optimizer's own word. What
//! counts as memory is what the run adds to a process that has made a step of a toy model: weights, gradients, optimizer
//! state and activations, with what the allocator loses to gaps. The program, libtorch and the data stream are not in it.
//!
//! The peak is the largest of three moments: after the forward pass with the head at work, somewhere on the way back, and
//! when all gradients stand. On the way back graphs go while gradients come, so every segment is looked at.

use std::sync::Arc;

use psann_core::model::{Footprint, ParameterSpec};
use psann_core::sharder::{Gathering, Layout, Placement};
use psann_core::{Model, Optimizer, Result, registry};
use psann_torch::distributed::Fake;
use psann_torch::loss::default_chunk;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::executor::Recompute;
use crate::options::PretrainOptions;

/// The device of plans for processors.
pub const CPU: Device = Device::Cpu;

/// What a run would take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// Bytes that a rank sends in one step.
    pub bytes_sent: u64,
    /// Memory of one device.
    pub memory: MemoryPlan,
}

/// Bytes on the rank that needs most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Weights that the rank owns.
    pub weights: u64,
    /// Optimizer state of them.
    pub optimizer: u64,
    /// Gradients of owned weights, all of them: how much of it stands at the peak depends on the moment.
    pub gradients: u64,
    /// Weights brought together, or cast, at once.
    pub gathered: u64,
    /// Gradients on their way, at most.
    pub reducing: u64,
    /// The head: gradient of the vocabulary matrix, logits of a few rows, hidden states and their gradients.
    pub head: u64,
    /// Activations and borders that wait for the backward pass.
    pub activations: u64,
    /// Temporaries of one segment's backward pass.
    pub work: u64,
    /// What the allocator loses to gaps.
    pub gaps: u64,
    /// A copy of weights and optimizer state that a thread writes to a checkpoint.
    pub saved: u64,
    /// All that is in memory at the worst moment.
    pub peak: u64,
}

/// How a run computes, as far as memory goes.
struct Setting<'a> {
    model: &'a dyn Model,
    optimizer: &'a dyn Optimizer,
    placement: Placement,
    layout: Layout,
    recompute: Recompute,
    /// Tokens of one micro-batch.
    tokens: i64,
    /// Micro-batches of a step, and how many of them walk together.
    parts: u64,
    together: u64,
    /// Whether checkpoints are written while steps go on.
    background: bool,
}

/// Plans a run of `options`, whose model is complete, on `ranks` devices of kind `device`.
pub fn plan(
    options: &PretrainOptions,
    model: &dyn Model,
    optimizer: &dyn Optimizer,
    ranks: usize,
    device: Device,
) -> Result<TrainingPlan> {
    let group = Arc::new(Fake::new(0, ranks.max(1)));
    let placement = options.placement(device, group);
    let component = options.sharder(ranks);
    let sharder = registry::sharder(&component.name, &component.options, placement.clone())?;
    let layout = sharder.layout(model.segments());
    let rows = options.batch.div_ceil(ranks as u64).div_ceil(options.accumulation);
    let together = match options.together(ranks) as u64 {
        0 => options.accumulation,
        together => together.min(options.accumulation),
    };
    let setting = Setting {
        model,
        optimizer,
        placement,
        layout,
        recompute: options.activation_checkpointing.0,
        tokens: (rows * options.seq_len) as i64,
        parts: options.accumulation,
        together,
        background: options.checkpoint.in_background(device),
    };
    Ok(TrainingPlan { bytes_sent: setting.bytes_sent(), memory: setting.memory() })
}

impl Setting<'_> {
    fn last(&self) -> usize {
        self.model.segments().len() - 1
    }

    /// Sums `of` over the parameters of a segment; it gets the spec and the rows that the rank owns.
    fn sum(&self, segment: usize, of: impl Fn(&ParameterSpec, i64) -> u64) -> u64 {
        let specs = &self.model.segments()[segment].parameters;
        specs.iter().zip(&self.layout.rows[segment]).map(|(spec, rows)| of(spec, *rows)).sum()
    }

    fn total(&self, of: impl Fn(&ParameterSpec, i64) -> u64) -> u64 {
        (0..=self.last()).map(|segment| self.sum(segment, &of)).sum()
    }

    /// Whole weights of a segment in the dtype of computation.
    fn computed(&self, segment: usize) -> u64 {
        self.sum(segment, |spec, _| spec.elements() as u64 * size(self.placement.compute_kind(spec)))
    }

    /// Whole gradients of a segment in `kind`.
    fn whole_gradients(&self, segment: usize, kind: Kind) -> u64 {
        self.sum(segment, |spec, _| if spec.trainable { spec.elements() as u64 * size(kind) } else { 0 })
    }

    fn own_gradients(&self, segment: usize) -> u64 {
        self.sum(segment, |spec, rows| if spec.trainable { 4 * spec.elements_of(rows) } else { 0 })
    }

    /// `of` the vocabulary matrix where an earlier segment owns it: the head computes with it and adds to its gradient.
    fn tied(&self, of: impl Fn(&ParameterSpec, i64) -> u64) -> u64 {
        self.model.tied_vocabulary().map_or(0, |(segment, parameter)| {
            of(&self.model.segments()[segment].parameters[parameter], self.layout.rows[segment][parameter])
        })
    }

    fn footprint(&self, segment: usize) -> Footprint {
        self.model.footprint(segment, self.tokens, self.placement.compute)
    }

    fn is_alone(&self) -> bool {
        self.layout.gathered == Gathering::InPlace
    }

    fn again(&self, segment: usize) -> bool {
        self.recompute.applies_to(segment) && self.model.backward_needs_weights(segment)
    }

    fn memory(&self) -> MemoryPlan {
        let weights = self.total(|spec, rows| spec.elements_of(rows) * size(self.placement.master_kind(spec)));
        let optimizer =
            self.total(|spec, rows| if spec.trainable { self.optimizer.state_bytes(spec, rows) } else { 0 });
        let gradients = (0..=self.last()).map(|segment| self.own_gradients(segment)).sum();
        let gathered = self.gathered();
        let head = self.head();
        let on_host = self.layout.offload;
        let (of_shards, of_gradients) = if on_host { (0, 0) } else { (weights + optimizer, gradients) };
        // From the second walk on all gradients stand, and those of the walk are added to them.
        let mut standing = if self.walks() > 1 { of_gradients } else { 0 };
        // A process alone adds the head's gradient up where it stands.
        let before_head = standing.saturating_sub(if self.is_alone() { self.head_gradients() } else { 0 });
        let forward = self.activations(self.last()) + head + gathered + before_head;
        let mut moments = vec![forward, of_gradients + self.applied()];
        let stays = |segment| if self.walks() > 1 || on_host { 0 } else { self.own_gradients(segment) };
        standing += stays(self.last()) + if standing > 0 && self.is_alone() { 0 } else { self.tied_gradient() };
        for segment in (0..self.last()).rev() {
            let again = if self.again(segment) { self.footprint(segment).kept } else { 0 };
            let now = self.activations(segment + 1) + again + self.footprint(segment).work + self.reducing(segment);
            moments.push(now + gathered + standing);
            standing += stays(segment);
        }
        let worst = moments.into_iter().max().unwrap_or(0);
        let gaps = (worst as f64 * self.gaps()) as u64;
        // The copy is in the memory of the host, which is that of the device where processors compute.
        let saved = if self.background && self.placement.device == Device::Cpu { weights + optimizer } else { 0 };
        MemoryPlan {
            weights,
            optimizer,
            gradients,
            gathered,
            reducing: (0..self.last()).map(|segment| self.reducing(segment)).max().unwrap_or(0),
            head,
            activations: self.activations(self.last()),
            work: (0..self.last()).map(|segment| self.footprint(segment).work).max().unwrap_or(0),
            gaps,
            saved,
            peak: of_shards + worst + gaps + saved,
        }
    }

    /// Share of what comes and goes that lies in gaps. Measured on the CPU, where freed memory is kept for the next step
    /// unless activations are computed again: a second walk then finds the gradients of the first in the gaps that its
    /// activations would need, which shows in fp32. A caching allocator of a GPU is said to lose a twentieth.
    fn gaps(&self) -> f64 {
        match (self.placement.device, self.recompute) {
            (Device::Cpu, Recompute::None) if self.walks() > 1 && self.placement.compute == Kind::Float => 0.53,
            (Device::Cpu, Recompute::None) => 0.28,
            (Device::Cpu, _) => 0.02,
            _ => 0.05,
        }
    }

    /// How often the micro-batches of a step walk through the model.
    fn walks(&self) -> u64 {
        self.parts.div_ceil(self.together)
    }

    /// What the optimizer's step adds: weights that stay together until then, and a fp32 copy of one shard where weights
    /// are kept in bf16.
    fn applied(&self) -> u64 {
        let stay = if self.layout.gathered == Gathering::Step { self.gathered() } else { 0 };
        let widened = |(spec, rows): (&ParameterSpec, &i64)| match self.placement.master_kind(spec) {
            Kind::Float => 0,
            _ => 4 * spec.elements_of(*rows),
        };
        let specs = self.model.segments().iter().map(|segment| segment.parameters.iter());
        let widest = specs.zip(&self.layout.rows).flat_map(|(specs, rows)| specs.zip(rows)).map(widened).max();
        stay + if self.layout.offload { 0 } else { widest.unwrap_or(0) }
    }

    /// Most weights that are together at once.
    fn gathered(&self) -> u64 {
        let all = || (0..=self.last()).map(|segment| self.computed(segment)).sum();
        match self.layout.gathered {
            Gathering::Step => all(),
            Gathering::Segment => {
                let tied = self.tied(|spec, _| spec.elements() as u64 * size(self.placement.compute_kind(spec)));
                let at = |segment| if segment + 1 == self.last() { tied } else { 0 };
                let both = |segment| self.computed(segment) + self.computed(segment + 1) + at(segment);
                (0..self.last()).map(both).max().unwrap_or(0)
            }
            // The shards themselves, unless they are cast.
            Gathering::InPlace if self.placement.compute == self.placement.master => 0,
            Gathering::InPlace if self.recompute == Recompute::None => all(),
            Gathering::InPlace => (0..=self.last()).map(|segment| self.computed(segment)).max().unwrap_or(0),
        }
    }

    /// Gradients of a segment as they leave its graph, and those of the one before on their way.
    fn reducing(&self, segment: usize) -> u64 {
        let own = self.whole_gradients(segment, Kind::Float);
        if self.is_alone() {
            return own;
        }
        let before = (segment + 1).min(self.last());
        own + 2 * self.whole_gradients(before, self.layout.wire)
    }

    fn head(&self) -> u64 {
        let last = self.last();
        let hidden = self.footprint(last).output;
        let chunk = default_chunk(self.model.vocabulary()).min(self.tokens);
        let logits = chunk as u64 * self.model.vocabulary() as u64 * size(self.placement.compute);
        // Normed states and their gradient for the part at work, gradients of the inputs for all.
        let states = 2 * hidden + self.together * hidden;
        self.head_gradients() + logits + states
    }

    /// Gradients that the head adds up: those of its own weights, and of a tied vocabulary matrix.
    fn head_gradients(&self) -> u64 {
        if self.is_alone() && !self.layout.offload {
            return self.own_gradients(self.last()) + self.tied_gradient();
        }
        self.whole_gradients(self.last(), Kind::Float) + self.tied_gradient()
    }

    /// The whole gradient of a tied vocabulary matrix. It stands from the head on until its owner's come to it.
    fn tied_gradient(&self) -> u64 {
        self.tied(|spec, _| if spec.trainable { 4 * spec.elements() as u64 } else { 0 })
    }

    /// What waits for the backward pass once the first `segments` segments were computed.
    fn activations(&self, segments: usize) -> u64 {
        let of = |segment| {
            let Footprint { kept, output, .. } = self.footprint(segment);
            output + if self.again(segment) { 0 } else { kept }
        };
        self.together * (0..segments).map(of).sum::<u64>()
    }

    /// Own rows go to all ranks of a copy once for each pass that needs them, whole gradients but one's own rows to their
    /// owners; between copies, own gradients to all others.
    fn bytes_sent(&self) -> u64 {
        let copy = self.layout.copy_ranks as u64;
        let ranks = self.placement.ranks.size() as u64;
        let walks = self.walks();
        let mut sent = 0;
        for segment in 0..=self.last() {
            let own = self.sum(segment, |spec, rows| spec.elements_of(rows) * size(self.placement.compute_kind(spec)));
            let comes_back = segment < self.last() && self.model.backward_needs_weights(segment);
            let gathers = match self.layout.gathered {
                Gathering::InPlace => 0,
                Gathering::Step => 1,
                Gathering::Segment => walks * (1 + u64::from(comes_back)),
            };
            let reduced = walks * self.whole_gradients(segment, self.layout.wire) * (copy - 1) / copy;
            let between = if ranks > copy { self.own_gradients(segment) * (ranks / copy - 1) } else { 0 };
            sent += gathers * own * (copy - 1) + reduced + between;
        }
        if self.layout.gathered == Gathering::Segment {
            // The head needs it once more.
            let own = self.tied(|spec, rows| spec.elements_of(rows) * size(self.placement.compute_kind(spec)));
            sent += walks * own * (copy - 1);
        }
        sent
    }
}

fn size(kind: Kind) -> u64 {
    kind.elt_size_in_bytes() as u64
}
