//! `waveresnet`: the PSANN language model. Reference: psannlm 2.0.1, architecture kinds `wave` and `residual`.
//!
//! Segments: `embed`, `blocks.0` …, `head`. A block computes
//!
//! ```text
//! x = x + attention(norm1(x))
//! x = x + alpha · mlp(norm2(x))
//! x = wave(x)                        with `wave.mode: "interleave"`
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `options` | options, presets, checks |
//! | `segments` | parameter names, shapes, order |
//! | `initial` | the seeded draws |
//! | `positions` | rotary, ALiBi and sinusoidal tables, masks |
//! | `attention`, `block` | the computation |

mod attention;
mod block;
mod dropout;
mod initial;
pub mod options;
pub mod positions;
mod segments;

use psann_core::model::{Draw, Footprint, ForwardContext, Projection, SegmentSpec};
use psann_core::{Error, Model, Result};
use psann_torch::inference;
use psann_torch::linear::embedding;
use psann_torch::norm::rms_norm;
use tch::{Device, Kind, Tensor};

use crate::models::last::Last;
use options::{Padding, PositionalEncoding, Sizes, WaveMode, WaveResNetOptions};
use segments::BlockLayout;

psann_core::register!(Model, "waveresnet", WaveResNetOptions, WaveResNet::new);

/// The model: sizes and switches.
#[derive(Debug)]
pub struct WaveResNet {
    options: WaveResNetOptions,
    sizes: Sizes,
    segments: Vec<SegmentSpec>,
    layout: BlockLayout,
    /// Without documents.
    tables: Last<TablesKey, Tables>,
}

/// What the tables of a batch depend on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TablesKey {
    time: i64,
    device: Device,
    kind: Kind,
}

/// Tables that every block uses for a batch.
#[derive(Debug)]
struct Tables {
    /// Cosines and sines, with rotary positions.
    rotary: Option<(Tensor, Tensor)>,
    /// What attention may see: bool, or the ALiBi bias with −inf; `None` where plain causality says it.
    mask: Option<Tensor>,
}

impl Tables {
    fn shallow_clone(&self) -> Self {
        let rotary = self.rotary.as_ref().map(|(cosine, sine)| (cosine.shallow_clone(), sine.shallow_clone()));
        Self { rotary, mask: self.mask.as_ref().map(Tensor::shallow_clone) }
    }
}

impl WaveResNet {
    /// Builds the model, or says which options contradict each other.
    pub fn new(options: WaveResNetOptions) -> Result<Self> {
        let sizes = options.sizes()?;
        let (segments, layout) = segments::segments(&options, sizes);
        Ok(Self { options, sizes, segments, layout, tables: Last::new() })
    }

    fn tables(&self, context: &ForwardContext<'_>, time: i64, device: Device, kind: Kind) -> Tables {
        let key = TablesKey { time, device, kind };
        if let Some(documents) = context.documents {
            return self.new_tables(key, Some(documents));
        }
        self.tables.get(key, Tables::shallow_clone, || self.new_tables(key, None))
    }

    fn new_tables(&self, key: TablesKey, documents: Option<&Tensor>) -> Tables {
        let _no_gradients = tch::no_grad_guard();
        let TablesKey { time, device, kind } = key;
        let rotary = (self.options.positional_encoding == PositionalEncoding::Rope)
            .then(|| self.rotary(&positions::positions(time, documents, device)));
        let alibi = self.options.positional_encoding == PositionalEncoding::Alibi;
        let mask = (alibi || documents.is_some()).then(|| {
            let visible = positions::visible(time, documents, device);
            if alibi {
                let bias = positions::alibi_bias(self.sizes.heads, time, device);
                bias.masked_fill(&visible.logical_not(), f64::NEG_INFINITY).to_kind(kind)
            } else {
                visible
            }
        });
        // The kernel wants four dimensions.
        let mask = mask.map(|mask| match mask.dim() {
            2 => mask.unsqueeze(0).unsqueeze(0),
            3 => mask.unsqueeze(0),
            _ => mask,
        });
        Tables { rotary, mask }
    }

    fn rotary(&self, positions: &Tensor) -> (Tensor, Tensor) {
        positions::rotary(positions, self.sizes.width / self.sizes.heads, self.options.rope_theta)
    }

    fn embed(&self, parameters: &[Tensor], ids: &Tensor, context: &mut ForwardContext<'_>) -> Result<Tensor> {
        let (embedded, positions) = if let Some(pass) = &mut context.pass {
            let positions = pass.positions(ids.device());
            pass.tables = match self.options.positional_encoding {
                PositionalEncoding::Rope => <[Tensor; 2]>::from(self.rotary(&positions)).into(),
                PositionalEncoding::Alibi => vec![positions::alibi_slopes(self.sizes.heads, ids.device())],
                PositionalEncoding::Sinusoidal => Vec::new(),
            };
            (inference::embedding(&parameters[0], ids)?, positions)
        } else {
            let positions = positions::positions(ids.size()[1], context.documents, ids.device());
            (embedding(&parameters[0], ids)?, positions)
        };
        if self.options.positional_encoding != PositionalEncoding::Sinusoidal {
            return Ok(embedded);
        }
        let table = positions::sinusoidal(&positions, self.sizes.width).to_kind(embedded.kind());
        Ok(embedded + table)
    }
}

impl Model for WaveResNet {
    fn segments(&self) -> &[SegmentSpec] {
        &self.segments
    }

    fn initialisation(&self) -> Vec<Draw> {
        initial::draws(&self.options, &self.segments, &self.layout)
    }

    fn forward(
        &self,
        segment: usize,
        parameters: &[Tensor],
        input: &Tensor,
        context: &mut ForwardContext<'_>,
    ) -> Result<Tensor> {
        if segment == 0 {
            return self.embed(parameters, input, context);
        }
        let width = self.sizes.width;
        match input.size().as_slice() {
            [_, time, found] if *found == width => {
                if context.pass.is_some() {
                    return self.block(segment, parameters, input, context, None);
                }
                let tables = self.tables(context, *time, input.device(), input.kind());
                self.block(segment, parameters, input, context, Some(&tables))
            }
            shape => Err(Error::new(format!("a block takes [batch, time, {width}], not {shape:?}"))),
        }
    }

    fn project(&self, parameters: &[Tensor], input: &Tensor) -> Result<Projection> {
        Ok(Projection { hidden: rms_norm(input, &parameters[0], 1e-6)?, weight: 1 })
    }

    fn backward_needs_weights(&self, segment: usize) -> bool {
        segment > 0
    }

    fn vocabulary(&self) -> i64 {
        self.sizes.vocabulary
    }

    fn flops_per_token(&self, length: i64) -> f64 {
        let matrices: i64 = self.segments[1..]
            .iter()
            .flat_map(|segment| &segment.parameters)
            .filter(|spec| spec.shape.len() > 1)
            .map(psann_core::model::ParameterSpec::elements)
            .sum();
        let attention = 12 * self.sizes.layers * self.sizes.width * length;
        (6 * matrices + attention) as f64
    }

    fn footprint(&self, segment: usize, tokens: i64, compute: Kind) -> Footprint {
        let Sizes { width, heads, mlp, .. } = self.sizes;
        let (element, tokens) = (compute.elt_size_in_bytes() as u64, tokens as u64);
        let of = |elements: i64| elements as u64 * tokens * element;
        let output = of(width);
        if segment == 0 || segment + 1 == self.segments.len() {
            return Footprint { kept: 0, work: 0, output };
        }
        // Two norms' outputs; queries, keys, values, what attention mixed and its copy for the output map; the sum in the
        // middle; the MLP's output. And inside the MLP what comes before the sine. Per row: norms and log-sum-exps in fp32.
        let kept = of(9 * width + mlp) + tokens * (4 * heads as u64 + 8);
        // Gradients of both sides of the sine, its recomputed output, and gradients of the parts of attention.
        let work = of(2 * mlp + 6 * width);
        Footprint { kept, work, output }
    }

    fn warnings(&self) -> Vec<String> {
        let wave = &self.options.wave;
        let used = matches!(wave.mode, WaveMode::Interleave | WaveMode::Replace);
        let mut warnings = Vec::new();
        if used && wave.padding == Padding::Same && wave.kernel > 1 {
            warnings.push(
                "`wave.padding` `same` lets each position see the tokens it should predict; losses mean little, and the model cannot generate"
                    .to_owned(),
            );
        }
        if self.options.wave.mode == WaveMode::AttentionOnly {
            warnings.push("`wave.mode` `attention_only` builds blocks without any MLP".to_owned());
        }
        warnings
    }
}
