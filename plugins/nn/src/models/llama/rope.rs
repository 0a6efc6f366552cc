//! Rotary frequencies and the public rules that stretch them for long texts, as transformers 5 computes them: in fp32 and
//! in its order of operations, because at position 8,000 a last digit of a frequency is visible.
//!
//! | rule | source |
//! |---|---|
//! | `linear` | positions divided by a factor (Chen et al. 2023) |
//! | `llama3` | only long wavelengths are divided, with a smooth passage (Llama 3.1) |
//! | `yarn` | the same by rotations, and a factor on attention (Peng et al. 2023) |

use std::f64::consts::PI;

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// Rules that change the rotary frequencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RopeType {
    /// None.
    #[default]
    Default,
    /// All frequencies divided by `factor`.
    Linear,
    /// That of Llama 3.1.
    Llama3,
    /// YaRN.
    Yarn,
}

/// How rotary frequencies are changed for texts longer than those of the first training. Names are those of `config.json`
/// in Hugging Face folders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RopeScaling {
    /// The rule.
    pub rope_type: RopeType,
    /// By how much texts are longer. `yarn` without it takes `max_position_embeddings` over the original number.
    pub factor: Option<f64>,
    /// Longest text of the first training, for `llama3` and `yarn`; `max_position_embeddings` when left out.
    #[schemars(range(min = 1))]
    pub original_max_position_embeddings: Option<i64>,
    /// Wavelengths beyond the original length over this are divided by all of `factor` (`llama3`).
    pub low_freq_factor: f64,
    /// Wavelengths below the original length over this are left alone (`llama3`).
    pub high_freq_factor: f64,
    /// Features that turn more often than this within the original length are left alone (`yarn`).
    pub beta_fast: f64,
    /// Features that turn less often than this are divided by all of `factor` (`yarn`).
    pub beta_slow: f64,
    /// Factor on rotated queries and keys (`yarn`); by default it follows from `factor`.
    pub attention_factor: Option<f64>,
    /// Weight of the factor on attention; counts only together with `mscale_all_dim` (`yarn`).
    pub mscale: Option<f64>,
    /// See `mscale`.
    pub mscale_all_dim: Option<f64>,
    /// Let the range between `beta_fast` and `beta_slow` begin and end at whole features (`yarn`).
    pub truncate: bool,
}

impl Default for RopeScaling {
    fn default() -> Self {
        Self {
            rope_type: RopeType::Default,
            factor: None,
            original_max_position_embeddings: None,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        }
    }
}

impl RopeScaling {
    /// Refuses what no rule can do.
    pub fn check(&self) -> Result<()> {
        let needs_factor = matches!(self.rope_type, RopeType::Linear | RopeType::Llama3);
        match self.factor {
            None if needs_factor => {
                return Err(Error::usage("`rope_scaling.factor` is missing").hint("say by how much texts are longer"));
            }
            Some(factor) if !(factor >= 1.0 && factor.is_finite()) => {
                return Err(Error::usage(format!("`rope_scaling.factor` is {factor}, it must be at least 1")));
            }
            _ => {}
        }
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        if self.rope_type == RopeType::Llama3 && !(low > 0.0 && low < high) {
            return Err(Error::usage(format!(
                "`rope_scaling.low_freq_factor` {low} must be above 0 and below `high_freq_factor` {high}"
            )));
        }
        let (fast, slow) = (self.beta_fast, self.beta_slow);
        if self.rope_type == RopeType::Yarn && !(slow > 0.0 && slow < fast) {
            return Err(Error::usage(format!(
                "`rope_scaling.beta_slow` {slow} must be above 0 and below `beta_fast` {fast}"
            )));
        }
        Ok(())
    }
}

/// The turning of heads.
#[derive(Debug)]
pub struct Rope {
    /// Angle by position of each pair of features, `head / 2` of them.
    pub frequencies: Vec<f32>,
    /// Factor on rotated queries and keys.
    pub attention_factor: f64,
}

impl Rope {
    /// For heads of width `head` and texts of up to `positions` tokens.
    ///
    /// # Errors
    /// When the frequencies cannot be read back.
    pub fn new(theta: f64, scaling: &RopeScaling, head: i64, positions: i64) -> Result<Self> {
        let original = scaling.original_max_position_embeddings.unwrap_or(positions) as f64;
        let factor = scaling.factor.unwrap_or(positions as f64 / original);
        let exponents = Tensor::arange_start_step(0, head, 2, (Kind::Float, Device::Cpu)) / head as f64;
        let periods = Tensor::pow_scalar(theta, &exponents);
        let plain = periods.reciprocal();
        let (frequencies, attention_factor) = match scaling.rope_type {
            RopeType::Default => (plain, 1.0),
            RopeType::Linear => (plain / factor, 1.0),
            RopeType::Llama3 => (llama3(&plain, factor, original, scaling), 1.0),
            RopeType::Yarn => (yarn(&periods, theta, factor, original, scaling), attention_factor(factor, scaling)),
        };
        let frequencies = Vec::try_from(frequencies).map_err(|e| Error::new("cannot read frequencies").because(e))?;
        Ok(Self { frequencies, attention_factor })
    }

    /// Cosines and sines `[.., head / 2]` of positions `[..]`, each times the factor on attention.
    pub fn tables(&self, positions: &Tensor) -> (Tensor, Tensor) {
        let frequencies = Tensor::from_slice(&self.frequencies).to_device(positions.device());
        let angles = positions.to_kind(Kind::Float).unsqueeze(-1) * frequencies;
        (angles.cos() * self.attention_factor, angles.sin() * self.attention_factor)
    }
}

fn llama3(plain: &Tensor, factor: f64, original: f64, scaling: &RopeScaling) -> Tensor {
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    let (longest, shortest) = (original / low, original / high);
    let wavelengths = plain.reciprocal() * (2.0 * PI);
    let is_long = wavelengths.gt(longest);
    let divided = (plain / factor).where_self(&is_long, plain);
    // original / wavelength, as a tensor divides a number.
    let smooth = (wavelengths.reciprocal() * original - low) / (high - low);
    let between: Tensor = (1.0 - &smooth) * &divided / factor + &smooth * &divided;
    let is_between = wavelengths.lt(shortest).logical_or(&is_long).logical_not();
    between.where_self(&is_between, &divided)
}

fn yarn(periods: &Tensor, theta: f64, factor: f64, original: f64, scaling: &RopeScaling) -> Tensor {
    let half = periods.size()[0];
    let head = (2 * half) as f64;
    // The feature that turns so often within the original length.
    let feature = |rotations: f64| head * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (feature(scaling.beta_fast), feature(scaling.beta_slow));
    if scaling.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(head - 1.0));
    if low == high {
        high += 0.001;
    }
    let ramp = ((Tensor::arange(half, (Kind::Float, Device::Cpu)) - low) / (high - low)).clamp(0.0, 1.0);
    let kept = 1.0 - ramp;
    let (extrapolated, interpolated) = (periods.reciprocal(), (periods * factor).reciprocal());
    interpolated * (1.0 - &kept) + extrapolated * &kept
}

fn attention_factor(factor: f64, scaling: &RopeScaling) -> f64 {
    let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
    match (scaling.attention_factor, given(scaling.mscale), given(scaling.mscale_all_dim)) {
        (Some(factor), ..) => factor,
        (None, Some(mscale), Some(all)) => scale(mscale) / scale(all),
        (None, ..) => scale(1.0),
    }
}
