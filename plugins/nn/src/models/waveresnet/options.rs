//! Options of `waveresnet`, and what of them contradicts what.

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::models::vocabulary::Vocabulary;

/// The PSANN language model: a pre-norm causal transformer whose MLPs use a learnable damped sine.
///
/// RMS norms, multi-head attention without biases, an MLP of two linear maps with biases around the activation, a
/// learnable factor on the MLP branch, untied embedding and head. Weights, names and seeded initialisation are those of
/// the Python reference (psannlm 2.0.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaveResNetOptions {
    /// A known size; sizes given beside it win. `3b`: 3072 wide, 30 blocks, 24 heads; `3b-lean`: 24 blocks.
    pub preset: Option<Preset>,
    /// Size of the vocabulary, or the tokenizer whose vocabulary it is.
    pub vocab: Vocabulary,
    /// Width of the residual stream.
    #[schemars(range(min = 1))]
    pub d_model: Option<i64>,
    /// Number of blocks.
    #[schemars(range(min = 1))]
    pub n_layers: Option<i64>,
    /// Attention heads; they divide the width.
    #[schemars(range(min = 1))]
    pub n_heads: Option<i64>,
    /// Width inside the MLP; four times `d_model` when left out.
    #[schemars(range(min = 1))]
    pub d_mlp: Option<i64>,
    /// How attention learns about order.
    pub positional_encoding: PositionalEncoding,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Activation of the MLPs and wave blocks.
    pub activation: Activation,
    /// The damped sine, where `activation` is `sine`.
    pub sine: SineOptions,
    /// Norms inside the blocks; the last norm is always RMS.
    pub norm: Norm,
    /// Initial factor on the MLP branch.
    pub alpha: f64,
    /// Share of values dropped after attention weights, attention and MLP while training.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub dropout: f64,
    /// The optional wave block: a depthwise convolution over time beside or in place of the MLP.
    pub wave: WaveOptions,
}

impl Default for WaveResNetOptions {
    fn default() -> Self {
        Self {
            preset: None,
            vocab: Vocabulary::default(),
            d_model: None,
            n_layers: None,
            n_heads: None,
            d_mlp: None,
            positional_encoding: PositionalEncoding::Rope,
            rope_theta: 10_000.0,
            activation: Activation::Sine,
            sine: SineOptions::default(),
            norm: Norm::Rms,
            alpha: 1.0,
            dropout: 0.0,
            wave: WaveOptions::default(),
        }
    }
}

/// Known sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// 3.7 billion parameters with a vocabulary of 50257.
    #[serde(rename = "3b")]
    ThreeB,
    /// 3.0 billion parameters with a vocabulary of 50257.
    #[serde(rename = "3b-lean")]
    ThreeBLean,
}

/// How attention learns about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PositionalEncoding {
    /// Rotary, interleaved pairs.
    Rope,
    /// A bias that grows with distance.
    Alibi,
    /// A fixed table added to the embedding.
    Sinusoidal,
}

/// Activation functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The damped sine.
    Sine,
    /// GELU with the error function.
    Gelu,
}

/// Norms inside blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Root mean square, eps 1e-6.
    Rms,
    /// Layer norm with weight and bias, eps 1e-5.
    Layer,
    /// No norm.
    None,
}

/// What the sine's envelope decays with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecayMode {
    /// |z|.
    Abs,
    /// max(z, 0).
    Relu,
    /// Nothing.
    None,
}

/// A vector of the damped sine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SineVector {
    /// Height of the wave.
    Amplitude,
    /// Frequency of the wave.
    Frequency,
    /// Decay of the envelope.
    Decay,
}

/// Lower and upper limit; null is unbounded.
pub type Limits = (Option<f64>, Option<f64>);

/// The damped sine `A · exp(−d · g(z)) · sin(f · z)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SineOptions {
    /// Initial amplitude.
    pub amplitude: f64,
    /// Spread of the initial amplitude over features.
    pub amplitude_std: f64,
    /// Initial frequency.
    pub frequency: f64,
    /// Spread of the initial frequency.
    pub frequency_std: f64,
    /// Initial decay.
    pub decay: f64,
    /// Spread of the initial decay.
    pub decay_std: f64,
    /// What the envelope decays with.
    pub decay_mode: DecayMode,
    /// The vectors that are trained; the others keep their initial values.
    pub learnable: Vec<SineVector>,
    /// Limits of the amplitude.
    pub amplitude_bounds: Option<Limits>,
    /// Limits of the frequency.
    pub frequency_bounds: Option<Limits>,
    /// Limits of the decay.
    pub decay_bounds: Option<Limits>,
}

impl Default for SineOptions {
    fn default() -> Self {
        Self {
            amplitude: 1.0,
            amplitude_std: 0.0,
            frequency: 1.0,
            frequency_std: 0.0,
            decay: 0.01,
            decay_std: 0.0,
            decay_mode: DecayMode::Abs,
            learnable: vec![SineVector::Amplitude, SineVector::Frequency, SineVector::Decay],
            amplitude_bounds: None,
            frequency_bounds: None,
            decay_bounds: None,
        }
    }
}

/// Where the wave block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaveMode {
    /// Nowhere.
    Off,
    /// After the MLP.
    Interleave,
    /// In place of the MLP and of the residual stream, as in the reference.
    Replace,
    /// Neither wave block nor MLP.
    AttentionOnly,
}

/// What a position of the convolution sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// Itself and what came before.
    Causal,
    /// As much before as after, as in the reference: it sees the tokens it should predict.
    Same,
}

/// The wave block: norm, depthwise convolution, activation, linear map, added to its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaveOptions {
    /// Where it stands.
    pub mode: WaveMode,
    /// Taps of the convolution.
    #[schemars(range(min = 1))]
    pub kernel: i64,
    /// The dilation of block i is this to the power i.
    #[schemars(range(min = 1))]
    pub dilation_growth: i64,
    /// Share of values dropped at its end while training.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub dropout: f64,
    /// What a position sees.
    pub padding: Padding,
}

impl Default for WaveOptions {
    fn default() -> Self {
        Self { mode: WaveMode::Off, kernel: 3, dilation_growth: 1, dropout: 0.0, padding: Padding::Causal }
    }
}

/// The sizes of a model, all resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of embedding and head.
    pub vocabulary: i64,
    /// Width of the residual stream.
    pub width: i64,
    /// Blocks.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// Width inside the MLP.
    pub mlp: i64,
}

impl WaveResNetOptions {
    /// Resolves the sizes and refuses what cannot be built.
    pub fn sizes(&self) -> Result<Sizes> {
        let vocabulary = self.vocab.size()?;
        let preset = match self.preset {
            None => Sizes { vocabulary, width: 512, layers: 8, heads: 8, mlp: 0 },
            Some(Preset::ThreeB) => Sizes { vocabulary, width: 3072, layers: 30, heads: 24, mlp: 12288 },
            Some(Preset::ThreeBLean) => Sizes { vocabulary, width: 3072, layers: 24, heads: 24, mlp: 12288 },
        };
        let width = self.d_model.unwrap_or(preset.width);
        let mlp = match self.d_mlp {
            Some(mlp) => mlp,
            None if preset.mlp > 0 && width == preset.width => preset.mlp,
            None => 4 * width,
        };
        let sizes = Sizes {
            vocabulary,
            width,
            layers: self.n_layers.unwrap_or(preset.layers),
            heads: self.n_heads.unwrap_or(preset.heads),
            mlp,
        };
        self.check(sizes)?;
        Ok(sizes)
    }

    fn check(&self, sizes: Sizes) -> Result<()> {
        let Sizes { width, heads, .. } = sizes;
        if width % heads != 0 {
            return Err(Error::usage(format!("`n_heads` {heads} does not divide `d_model` {width}")).hint(format!(
                "{} heads of {} would",
                nearest_divisor(width, heads),
                width / nearest_divisor(width, heads)
            )));
        }
        let size = width / heads;
        if self.positional_encoding == PositionalEncoding::Rope && size % 2 != 0 {
            return Err(Error::usage(format!("rotary positions need an even head size; {width} / {heads} is {size}"))
                .hint("change `d_model` or `n_heads`, or use another `positional_encoding`"));
        }
        if self.positional_encoding == PositionalEncoding::Sinusoidal && width % 2 != 0 {
            return Err(Error::usage(format!("sinusoidal positions need an even `d_model`, not {width}")));
        }
        let wave = &self.wave;
        if wave.padding == Padding::Same && wave.kernel % 2 == 0 {
            return Err(Error::usage(format!("`wave.padding` `same` needs an odd `wave.kernel`, not {}", wave.kernel))
                .hint("causal padding takes any kernel"));
        }
        let bounds = [
            ("amplitude", self.sine.amplitude_bounds),
            ("frequency", self.sine.frequency_bounds),
            ("decay", self.sine.decay_bounds),
        ];
        for (name, limits) in bounds {
            if let Some((Some(low), Some(high))) = limits
                && low > high
            {
                return Err(Error::usage(format!(
                    "`sine.{name}_bounds` are [{low}, {high}]: the lower one is above the upper"
                )));
            }
        }
        Ok(())
    }
}

fn nearest_divisor(width: i64, heads: i64) -> i64 {
    (1..=width).filter(|divisor| width % divisor == 0).min_by_key(|divisor| (divisor - heads).abs()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut WaveResNetOptions)) -> Result<Sizes> {
        let mut options = WaveResNetOptions { vocab: Vocabulary::Size(100), ..WaveResNetOptions::default() };
        change(&mut options);
        options.sizes()
    }

    #[test]
    fn sizes_given_beside_a_preset_win() {
        let sizes = with(|o| (o.preset, o.n_layers) = (Some(Preset::ThreeB), Some(2))).unwrap();
        assert_eq!(sizes, Sizes { vocabulary: 100, width: 3072, layers: 2, heads: 24, mlp: 12288 });
        assert_eq!(with(|o| o.d_model = Some(64)).unwrap().mlp, 256);
    }

    #[test]
    fn contradictions_are_usage_errors_with_the_numbers() {
        let message = |result: Result<Sizes>| result.unwrap_err().to_string();
        assert_eq!(
            message(with(|o| (o.d_model, o.n_heads) = (Some(30), Some(4)))),
            "`n_heads` 4 does not divide `d_model` 30"
        );
        assert!(message(with(|o| (o.d_model, o.n_heads) = (Some(9), Some(3)))).contains("even head size"));
        assert!(message(with(|o| (o.wave.padding, o.wave.kernel) = (Padding::Same, 4))).contains("odd"));
        assert!(message(with(|o| o.sine.decay_bounds = Some((Some(2.0), Some(1.0))))).contains("decay_bounds"));
        assert!(message(with(|o| o.vocab = Vocabulary::default())).contains("not known yet"));
    }
}
