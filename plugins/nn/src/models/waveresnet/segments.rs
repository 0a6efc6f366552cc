//! The chain of segments and its parameters: names, shapes and order are those of the reference's state dict.

use psann_core::model::{ParameterSpec, SegmentSpec};

use super::options::{Activation, Norm, SineVector, Sizes, WaveMode, WaveResNetOptions};

/// Where the parameters of a block stand in its list; `None` for parts the block does not have.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockLayout {
    /// q, k, v, o.
    pub attention: [usize; 4],
    /// fc1 weight and bias, fc2 weight and bias.
    pub mlp: Option<[usize; 4]>,
    /// A, f, d of the MLP.
    pub mlp_sine: Option<[usize; 3]>,
    /// First parameter of norm1 and norm2: the scale, or weight and then bias.
    pub norms: Option<[usize; 2]>,
    /// The wave block.
    pub wave: Option<WaveLayout>,
}

/// Where the parameters of a wave block stand.
#[derive(Debug, Clone, Copy)]
pub struct WaveLayout {
    /// Scale of the norm.
    pub norm: usize,
    /// Depthwise convolution.
    pub convolution: usize,
    /// A, f, d.
    pub sine: Option<[usize; 3]>,
    /// Weight and bias.
    pub projection: [usize; 2],
}

/// Collects the parameters of one segment.
struct List {
    prefix: String,
    parameters: Vec<ParameterSpec>,
}

impl List {
    /// Matrices decay; embeddings, norms, biases and activation vectors do not, as is the field's practice.
    fn add(&mut self, name: &str, shape: &[i64], decays: bool, trainable: bool) -> usize {
        let name = format!("{}{name}", self.prefix);
        self.parameters.push(ParameterSpec { name, shape: shape.to_vec(), decays, trainable });
        self.parameters.len() - 1
    }

    fn matrix(&mut self, name: &str, rows: i64, columns: i64) -> usize {
        self.add(name, &[rows, columns], true, true)
    }

    fn vector(&mut self, name: &str, length: i64) -> usize {
        self.add(name, &[length], false, true)
    }

    fn sine(&mut self, prefix: &str, features: i64, options: &WaveResNetOptions) -> Option<[usize; 3]> {
        if options.activation != Activation::Sine {
            return None;
        }
        let vectors = [("_A", SineVector::Amplitude), ("_f", SineVector::Frequency), ("_d", SineVector::Decay)];
        Some(vectors.map(|(name, vector)| {
            let trainable = options.sine.learnable.contains(&vector);
            self.add(&format!("{prefix}.{name}"), &[features], false, trainable)
        }))
    }

    fn norm(&mut self, prefix: &str, width: i64, norm: Norm) -> Option<usize> {
        match norm {
            Norm::Rms => Some(self.vector(&format!("{prefix}.scale"), width)),
            Norm::Layer => {
                let weight = self.vector(&format!("{prefix}.weight"), width);
                self.vector(&format!("{prefix}.bias"), width);
                Some(weight)
            }
            Norm::None => None,
        }
    }
}

/// All segments, and the layout that their blocks share.
pub fn segments(options: &WaveResNetOptions, sizes: Sizes) -> (Vec<SegmentSpec>, BlockLayout) {
    let mut segments = Vec::new();
    let mut embed = List { prefix: "embed.".into(), parameters: Vec::new() };
    embed.add("weight", &[sizes.vocabulary, sizes.width], false, true);
    segments.push(SegmentSpec { name: "embed".into(), parameters: embed.parameters });
    let mut layout = BlockLayout::default();
    for index in 0..sizes.layers {
        let mut list = List { prefix: format!("blocks.{index}."), parameters: Vec::new() };
        layout = block(&mut list, options, sizes);
        segments.push(SegmentSpec { name: format!("blocks.{index}"), parameters: list.parameters });
    }
    let mut head = List { prefix: String::new(), parameters: Vec::new() };
    head.vector("ln_f.scale", sizes.width);
    head.matrix("lm_head.weight", sizes.vocabulary, sizes.width);
    segments.push(SegmentSpec { name: "head".into(), parameters: head.parameters });
    (segments, layout)
}

fn block(list: &mut List, options: &WaveResNetOptions, sizes: Sizes) -> BlockLayout {
    let Sizes { width, mlp, .. } = sizes;
    // The factor stands first, at index 0, in every block.
    list.vector("alpha", 1);
    let attention =
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| list.matrix(&format!("attn.{name}.weight"), width, width));
    let mode = options.wave.mode;
    let mut layout = BlockLayout { attention, ..BlockLayout::default() };
    if matches!(mode, WaveMode::Off | WaveMode::Interleave) {
        let (fc1, bias1) = (list.matrix("mlp.fc1.weight", mlp, width), list.vector("mlp.fc1.bias", mlp));
        layout.mlp_sine = list.sine("mlp.act", mlp, options);
        let (fc2, bias2) = (list.matrix("mlp.fc2.weight", width, mlp), list.vector("mlp.fc2.bias", width));
        layout.mlp = Some([fc1, bias1, fc2, bias2]);
    }
    let first = list.norm("norm1", width, options.norm);
    let second = list.norm("norm2", width, options.norm);
    layout.norms = first.zip(second).map(|(first, second)| [first, second]);
    if matches!(mode, WaveMode::Interleave | WaveMode::Replace) {
        layout.wave = Some(WaveLayout {
            norm: list.vector("wave.norm.scale", width),
            convolution: list.add("wave.dw.weight", &[width, 1, options.wave.kernel], true, true),
            sine: list.sine("wave.act", width, options),
            projection: [list.matrix("wave.proj.weight", width, width), list.vector("wave.proj.bias", width)],
        });
    }
    layout
}
