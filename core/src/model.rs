//! [`Model`]: a network as a chain of segments, embed → block 0 … block L−1 → head.
//!
//! A model owns no weights. It lists the parameters of each segment and computes a segment from the
//! parameters it is handed. That one decision gives sharding, activation checkpointing and offload
//! without the model knowing of them.

use tch::{Kind, Tensor};

use crate::pass::Pass;
use crate::{Error, Result};

/// One parameter of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Full name in checkpoints, e.g. `blocks.0.attn.q_proj.weight`.
    pub name: String,
    /// Shape; weights of linear maps are `[out, in]`.
    pub shape: Vec<i64>,
    /// Whether weight decay is sensible: true for matrices, false for norms, biases, scales and activation vectors.
    pub decays: bool,
    /// Whether it is trained; a frozen parameter keeps its place in checkpoints.
    pub trainable: bool,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn elements(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Number of elements of `rows` rows of dimension 0; a parameter without dimensions is one row.
    pub fn elements_of(&self, rows: i64) -> u64 {
        (rows * self.shape.iter().skip(1).product::<i64>()).unsigned_abs()
    }
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentSpec {
    /// `embed`, `blocks.0`, …, `head`.
    pub name: String,
    /// Its parameters, in checkpoint order.
    pub parameters: Vec<ParameterSpec>,
}

/// One draw of the seeded initialisation, in order. Draws whose `target` is `None` are made and thrown away:
/// they keep the random stream in step with the reference, which initialises some layers twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// The segment and parameter (indices into [`Model::segments`]) that receive the values.
    pub target: Option<(usize, usize)>,
    /// Shape of the draw.
    pub shape: Vec<i64>,
    /// Distribution, and what becomes of the drawn values.
    pub values: Values,
}

/// How values come about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// N(mean, std).
    Normal { mean: f64, std: f64 },
    /// Uniform on [low, high).
    Uniform { low: f64, high: f64 },
    /// The same value everywhere; nothing is drawn.
    Constant(f64),
    /// N(mean, std), kept at or above fp32 epsilon, then stored as its inverse softplus `ln(expm1(v))`.
    InverseSoftplusNormal { mean: f64, std: f64 },
}

/// What a model remembers of one sequence between passes.
#[derive(Debug, Default)]
pub struct Cache {
    /// Tokens already seen; the position of the next one.
    pub length: i64,
    /// Per segment, the tensors that segment keeps; empty until its first pass.
    pub segments: Vec<Vec<Tensor>>,
}

impl Cache {
    /// An empty cache for a model of `segments` segments.
    pub fn new(segments: usize) -> Self {
        Self { length: 0, segments: (0..segments).map(|_| Vec::new()).collect() }
    }
}

impl Clone for Cache {
    /// A copy that grows on its own: models write into the tensors they cached.
    fn clone(&self) -> Self {
        let copy = |tensors: &Vec<Tensor>| tensors.iter().map(Tensor::copy).collect();
        Self { length: self.length, segments: self.segments.iter().map(copy).collect() }
    }
}

/// What a segment is told beside its input.
#[derive(Debug, Default)]
pub struct ForwardContext<'a> {
    /// Set where nobody wants gradients: the input is one row `[1, tokens]` in which the runs of several sequences stand
    /// one behind the other.
    pub pass: Option<&'a mut Pass>,
    /// Document number of each input id, int64 `[batch, time]`, when documents are kept apart: attention stays
    /// within a document and positions restart with it.
    pub documents: Option<&'a Tensor>,
    /// Key of this pass's dropout masks; `None` switches dropout off. The same key gives the same masks, so a
    /// recomputed segment equals the first pass.
    pub dropout_key: Option<u64>,
}

/// Bytes that a segment takes beside its input, its output and its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// What its graph keeps for the backward pass.
    pub kept: u64,
    /// Temporaries of the backward pass.
    pub work: u64,
    /// Bytes of its output.
    pub output: u64,
}

/// The last segment up to, but without, the product with the vocabulary matrix: the loss needs no full logits.
#[derive(Debug)]
pub struct Projection {
    /// Final hidden states `[batch, time, width]`.
    pub hidden: Tensor,
    /// Index of the vocabulary matrix `[vocabulary, width]` among the parameters that [`Model::project`] was handed;
    /// logits = hidden · weightᵀ.
    pub weight: usize,
}

/// A network as a chain of segments. Holds sizes and switches, never weights.
pub trait Model: Send + Sync {
    /// The chain, in order: the first segment takes token ids, the last one gives logits.
    fn segments(&self) -> &[SegmentSpec];

    /// The draws that initialise all parameters. Every parameter is the target of the last draw that names it.
    fn initialisation(&self) -> Vec<Draw>;

    /// Computes one segment but the last.
    ///
    /// `parameters` are in the order of the segment's specs, in the compute dtype. `input` is int64 `[batch, time]`
    /// for the first segment and `[batch, time, width]` after it. The output is `[batch, time, width]`.
    fn forward(
        &self,
        segment: usize,
        parameters: &[Tensor],
        input: &Tensor,
        context: &mut ForwardContext<'_>,
    ) -> Result<Tensor>;

    /// Computes the last segment up to the vocabulary matrix.
    ///
    /// `parameters` are the segment's own, and behind them the one that [`Model::tied_vocabulary`] names.
    fn project(&self, parameters: &[Tensor], input: &Tensor) -> Result<Projection>;

    /// Where the vocabulary matrix is, when it is a parameter of an earlier segment: (segment, parameter). It then exists
    /// once, in that segment, and its gradient is the sum of what both uses give.
    fn tied_vocabulary(&self) -> Option<(usize, usize)> {
        None
    }

    /// Whether the backward pass of `segment` reads the values of its parameters. An embedding's does not: its weights
    /// need not come back, and computing it again would save nothing.
    fn backward_needs_weights(&self, segment: usize) -> bool {
        let _ = segment;
        true
    }

    /// Rows of the vocabulary matrix.
    fn vocabulary(&self) -> i64;

    /// Floating-point operations per token of one forward and backward pass over sequences of `length` tokens.
    fn flops_per_token(&self, length: i64) -> f64;

    /// What computing `segment` for so many tokens takes, for memory plans. Unknown by default, which counts as nothing.
    fn footprint(&self, segment: usize, tokens: i64, compute: Kind) -> Footprint {
        let _ = (segment, tokens, compute);
        Footprint::default()
    }

    /// What a user should be told before training ("the wave block sees future tokens").
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Runs the whole chain: int64 ids `[batch, time]` to logits `[batch, time, vocabulary]`, and moves the cache on.
///
/// `parameters` holds one list per segment.
pub fn logits(
    model: &dyn Model,
    parameters: &[Vec<Tensor>],
    ids: &Tensor,
    context: &mut ForwardContext<'_>,
) -> Result<Tensor> {
    let states = hidden_states(model, parameters, ids, context)?;
    let (hidden, weight) = project(model, parameters, &states)?;
    Ok(hidden.matmul(&weight.tr()))
}

/// Runs the last segment on what [`hidden_states`] gave: final hidden states `[batch, time, width]`, and the vocabulary
/// matrix, wherever it is.
///
/// `parameters` holds one list per segment.
pub fn project<'a>(model: &dyn Model, parameters: &'a [Vec<Tensor>], states: &Tensor) -> Result<(Tensor, &'a Tensor)> {
    let last = parameters.last().ok_or_else(|| Error::new("a model has no segments"))?;
    let tied = model.tied_vocabulary().map(|(segment, parameter)| &parameters[segment][parameter]);
    let projection = match tied {
        Some(tied) => {
            let all: Vec<Tensor> = last.iter().chain([tied]).map(Tensor::shallow_clone).collect();
            model.project(&all, states)?
        }
        None => model.project(last, states)?,
    };
    let weight = last.iter().chain(tied).nth(projection.weight);
    Ok((projection.hidden, weight.ok_or_else(|| Error::new("a model names no vocabulary matrix"))?))
}

/// Runs all segments but the last: int64 ids `[batch, time]` to hidden states `[batch, time, width]`.
pub fn hidden_states(
    model: &dyn Model,
    parameters: &[Vec<Tensor>],
    ids: &Tensor,
    context: &mut ForwardContext<'_>,
) -> Result<Tensor> {
    if ids.kind() != Kind::Int64 || ids.dim() != 2 {
        return Err(Error::new(format!(
            "token ids must be int64 [batch, time], not {:?} {:?}",
            ids.kind(),
            ids.size()
        )));
    }
    let mut state = ids.shallow_clone();
    let chain = parameters.iter().take(model.segments().len() - 1);
    for (segment, parameters) in chain.enumerate() {
        state = model.forward(segment, parameters, &state, context)?;
    }
    if let Some(pass) = &mut context.pass {
        pass.remember_lengths();
    }
    Ok(state)
}
