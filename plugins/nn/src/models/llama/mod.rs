//! `llama`: the architecture of Llama and its many relatives. Reference: `LlamaForCausalLM` of transformers 5.
//!
//! Segments: `embed`, `layers.0` …, `head`. A block computes
//!
//! ```text
//! x = x + o(attention(rope(q(n)), rope(k(n)), v(n)))      n = norm(x)
//! x = x + down(silu(gate(m)) · up(m))                     m = norm(x)
//! ```
//!
//! With tied embeddings the head has no matrix of its own: [`Model::tied_vocabulary`] says that it is the embedding's.
//!
//! | file | holds |
//! |---|---|
//! | `options` | options, checks |
//! | `rope` | rotary frequencies and their scaling |
//! | `segments` | parameter names, shapes, order, initial values |
//! | `block` | the computation |

mod block;
pub mod options;
pub mod rope;
mod segments;

use psann_core::model::{Draw, Footprint, ForwardContext, ParameterSpec, Projection, SegmentSpec};
use psann_core::{Error, Model, Result};
use psann_torch::inference;
use psann_torch::linear::embedding;
use psann_torch::norm::rms_norm;
use tch::{Device, Kind, Tensor};

use crate::models::last::Last;
use crate::models::waveresnet::positions;
use options::{LlamaOptions, Sizes};
use rope::Rope;
use segments::BlockLayout;

psann_core::register!(Model, "llama", LlamaOptions, Llama::new);

/// The model: sizes and switches.
#[derive(Debug)]
pub struct Llama {
    options: LlamaOptions,
    sizes: Sizes,
    segments: Vec<SegmentSpec>,
    layout: BlockLayout,
    rope: Rope,
    /// Without documents.
    tables: Last<TablesKey, Tables>,
}

/// What tables without documents depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TablesKey {
    time: i64,
    device: Device,
}

/// What every block uses outside of a pass.
#[derive(Debug)]
struct Tables {
    /// Cosines of rotary positions.
    cosine: Tensor,
    /// Their sines.
    sine: Tensor,
    /// What attention may see; `None` where plain causality says it.
    mask: Option<Tensor>,
}

impl Tables {
    fn shallow_clone(&self) -> Self {
        let Self { cosine, sine, mask } = self;
        Self {
            cosine: cosine.shallow_clone(),
            sine: sine.shallow_clone(),
            mask: mask.as_ref().map(Tensor::shallow_clone),
        }
    }
}

impl Llama {
    /// Builds the model, or says which options contradict each other.
    pub fn new(options: LlamaOptions) -> Result<Self> {
        let sizes = options.sizes()?;
        let (segments, layout) = segments::segments(&options, sizes);
        let rope = Rope::new(options.rope_theta, &options.rope_scaling, sizes.head, options.max_position_embeddings)?;
        Ok(Self { options, sizes, segments, layout, rope, tables: Last::new() })
    }

    fn tables(&self, context: &ForwardContext<'_>, time: i64, device: Device) -> Tables {
        let key = TablesKey { time, device };
        if let Some(documents) = context.documents {
            return self.new_tables(key, Some(documents));
        }
        self.tables.get(key, Tables::shallow_clone, || self.new_tables(key, None))
    }

    fn new_tables(&self, key: TablesKey, documents: Option<&Tensor>) -> Tables {
        let _no_gradients = tch::no_grad_guard();
        let TablesKey { time, device } = key;
        let (cosine, sine) = self.rope.tables(&positions::positions(time, documents, device));
        let mask = documents.map(|documents| positions::visible(time, Some(documents), device));
        Tables { cosine, sine, mask }
    }

    /// Where the vocabulary matrix stands among the parameters of the head: its own or the embedding behind them.
    const VOCABULARY: usize = 1;
}

impl Model for Llama {
    fn segments(&self) -> &[SegmentSpec] {
        &self.segments
    }

    fn initialisation(&self) -> Vec<Draw> {
        segments::draws(&self.segments, self.options.initializer_range)
    }

    fn forward(
        &self,
        segment: usize,
        parameters: &[Tensor],
        input: &Tensor,
        context: &mut ForwardContext<'_>,
    ) -> Result<Tensor> {
        if segment == 0 {
            let Some(pass) = &mut context.pass else { return embedding(&parameters[0], input) };
            pass.tables = <[Tensor; 2]>::from(self.rope.tables(&pass.positions(input.device()))).into();
            return inference::embedding(&parameters[0], input);
        }
        let width = self.sizes.width;
        match input.size().as_slice() {
            [_, time, found] if *found == width => {
                let tables = context.pass.is_none().then(|| self.tables(context, *time, input.device()));
                self.block(segment, parameters, input, context, tables.as_ref())
            }
            shape => Err(Error::new(format!("a block takes [batch, time, {width}], not {shape:?}"))),
        }
    }

    fn project(&self, parameters: &[Tensor], input: &Tensor) -> Result<Projection> {
        if parameters.len() <= Self::VOCABULARY {
            return Err(Error::new("the head of a model with tied embeddings was not handed the embedding"));
        }
        let hidden = rms_norm(input, &parameters[0], self.options.norm_eps)?;
        Ok(Projection { hidden, weight: Self::VOCABULARY })
    }

    fn tied_vocabulary(&self) -> Option<(usize, usize)> {
        self.options.tie_embeddings.then_some((0, 0))
    }

    fn backward_needs_weights(&self, segment: usize) -> bool {
        segment > 0
    }

    fn vocabulary(&self) -> i64 {
        self.sizes.vocabulary
    }

    fn flops_per_token(&self, length: i64) -> f64 {
        let Sizes { vocabulary, width, layers, heads, head, .. } = self.sizes;
        let blocks = self.segments[1..self.segments.len() - 1].iter().flat_map(|segment| &segment.parameters);
        let matrices: i64 = blocks.filter(|spec| spec.shape.len() > 1).map(ParameterSpec::elements).sum();
        let attention = 12 * layers * heads * head * length;
        (6 * (matrices + vocabulary * width) + attention) as f64
    }

    fn footprint(&self, segment: usize, tokens: i64, compute: Kind) -> Footprint {
        let Sizes { width, heads, kv_heads, head, mlp, .. } = self.sizes;
        let (element, tokens) = (compute.elt_size_in_bytes() as u64, tokens as u64);
        let of = |elements: i64| elements as u64 * tokens * element;
        let output = of(width);
        if segment == 0 || segment + 1 == self.segments.len() {
            return Footprint { kept: 0, work: 0, output };
        }
        // Two norms' outputs and the sum in the middle; queries, what attention mixed and its copy for the output map; keys
        // and values; gate, its activation, the other map and their product. Per row: norms and log-sum-exps in fp32.
        let kept = of(3 * width + 3 * heads * head + 2 * kv_heads * head + 4 * mlp) + tokens * (4 * heads as u64 + 8);
        // Gradients of the product, of both its sides and of what was activated, and those of the parts of attention.
        let work = of(3 * mlp + 2 * width + 3 * heads * head + 2 * kv_heads * head);
        Footprint { kept, work, output }
    }
}
