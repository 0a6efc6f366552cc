//! The chain of segments and its parameters: names, shapes and order are those of `LlamaForCausalLM`'s state dict.

use psann_core::model::{Draw, ParameterSpec, SegmentSpec, Values};

use super::options::{LlamaOptions, Sizes};

/// A linear map: where its weight and bias stand among the parameters of a segment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Map {
    /// `[out, in]`.
    pub weight: usize,
    /// `[out]`, where the model has one.
    pub bias: Option<usize>,
}

/// Where the parameters of a block stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockLayout {
    /// Scale of the norm before attention.
    pub attention_norm: usize,
    /// q, k, v, o.
    pub attention: [Map; 4],
    /// Scale of the norm before the MLP.
    pub mlp_norm: usize,
    /// gate, up, down.
    pub mlp: [Map; 3],
}

/// Collects the parameters of one segment.
struct List {
    prefix: String,
    parameters: Vec<ParameterSpec>,
}

impl List {
    fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), parameters: Vec::new() }
    }

    /// Matrices decay; embeddings, norms and biases do not, as is the field's practice.
    fn add(&mut self, name: &str, shape: &[i64], decays: bool) -> usize {
        let name = format!("{}{name}", self.prefix);
        self.parameters.push(ParameterSpec { name, shape: shape.to_vec(), decays, trainable: true });
        self.parameters.len() - 1
    }

    fn map(&mut self, name: &str, outputs: i64, inputs: i64, has_bias: bool) -> Map {
        let weight = self.add(&format!("{name}.weight"), &[outputs, inputs], true);
        let bias = has_bias.then(|| self.add(&format!("{name}.bias"), &[outputs], false));
        Map { weight, bias }
    }

    fn named(self, name: impl Into<String>) -> SegmentSpec {
        SegmentSpec { name: name.into(), parameters: self.parameters }
    }
}

/// All segments, and the layout that their blocks share.
pub fn segments(options: &LlamaOptions, sizes: Sizes) -> (Vec<SegmentSpec>, BlockLayout) {
    let mut embed = List::new("model.");
    embed.add("embed_tokens.weight", &[sizes.vocabulary, sizes.width], false);
    let mut segments = vec![embed.named("embed")];
    let mut layout = BlockLayout::default();
    for index in 0..sizes.layers {
        let mut list = List::new(format!("model.layers.{index}."));
        layout = block(&mut list, options, sizes);
        segments.push(list.named(format!("layers.{index}")));
    }
    let mut head = List::new("");
    head.add("model.norm.weight", &[sizes.width], false);
    if !options.tie_embeddings {
        head.map("lm_head", sizes.vocabulary, sizes.width, false);
    }
    segments.push(head.named("head"));
    (segments, layout)
}

fn block(list: &mut List, options: &LlamaOptions, sizes: Sizes) -> BlockLayout {
    let Sizes { width, mlp, .. } = sizes;
    let (queries, keys) = (sizes.heads * sizes.head, sizes.kv_heads * sizes.head);
    let attention_norm = list.add("input_layernorm.weight", &[width], false);
    let attention =
        [("q_proj", queries, width), ("k_proj", keys, width), ("v_proj", keys, width), ("o_proj", width, queries)].map(
            |(name, outputs, inputs)| list.map(&format!("self_attn.{name}"), outputs, inputs, options.attention_bias),
        );
    let mlp_norm = list.add("post_attention_layernorm.weight", &[width], false);
    let mlp = [("gate_proj", mlp, width), ("up_proj", mlp, width), ("down_proj", width, mlp)]
        .map(|(name, outputs, inputs)| list.map(&format!("mlp.{name}"), outputs, inputs, options.mlp_bias));
    BlockLayout { attention_norm, attention, mlp_norm, mlp }
}

/// The draws of the seeded initialisation, in the order of parameters: matrices and the embedding N(0, std), biases 0,
/// norms 1.
pub fn draws(segments: &[SegmentSpec], std: f64) -> Vec<Draw> {
    let specs = segments.iter().enumerate().flat_map(|(segment, specs)| {
        specs.parameters.iter().enumerate().map(move |(parameter, spec)| ((segment, parameter), spec))
    });
    specs
        .map(|(target, spec)| {
            let values = match spec.shape.len() {
                1 => Values::Constant(if spec.name.rsplit('.').next() == Some("bias") { 0.0 } else { 1.0 }),
                _ => Values::Normal { mean: 0.0, std },
            };
            Draw { target: Some(target), shape: spec.shape.clone(), values }
        })
        .collect()
}
