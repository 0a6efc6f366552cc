//! One block: attention, then the MLP, then the wave block, as far as the options ask for them.

use psann_core::model::ForwardContext;
use psann_core::pass::Pass;
use psann_core::{Error, Result};
use psann_torch::inference;
use psann_torch::linear::{linear, scaled_add};
use psann_torch::norm::rms_norm;
use psann_torch::sine::{Bounds, Decay, damped_sine, damped_sine_linear};
use tch::Tensor;

use super::dropout::dropout;
use super::options::{DecayMode, Limits, Norm, Padding, SineOptions, WaveMode};
use super::segments::WaveLayout;
use super::{Tables, WaveResNet, attention};
use crate::models::attention::{VALUES, with_earlier_rows};

const RMS_EPS: f64 = 1e-6;
const LAYER_EPS: f64 = 1e-5;

/// Bits of a dropout place below the block's number: which of its dropouts it is.
const PLACES: u64 = 8;

impl WaveResNet {
    /// Computes block `segment` of x `[batch, time, width]`.
    pub(super) fn block(
        &self,
        segment: usize,
        parameters: &[Tensor],
        x: &Tensor,
        context: &mut ForwardContext<'_>,
        tables: Option<&Tables>,
    ) -> Result<Tensor> {
        let layout = &self.layout;
        let places = segment as u64 * PLACES;
        let first = self.norm(x, parameters, layout.norms.map(|norms| norms[0]))?;
        let attended = attention::attend(self, segment, parameters, &first, context, tables, places)?;
        let x = x + dropout(attended, self.options.dropout, context.dropout_key, places + 1);
        let mode = self.options.wave.mode;
        if mode == WaveMode::AttentionOnly {
            return Ok(x);
        }
        let second = self.norm(&x, parameters, layout.norms.map(|norms| norms[1]))?;
        if let (WaveMode::Replace, Some(wave)) = (mode, layout.wave) {
            // The reference drops the residual stream here and goes on with the wave block's own.
            return Ok(
                self.wave(segment, parameters, &wave, &second, context, places)? * parameters[0].to_kind(x.kind())
            );
        }
        let x = match layout.mlp {
            Some(mlp) => {
                let m = self.mlp(parameters, mlp, &second, context.pass.is_some())?;
                let m = dropout(m, self.options.dropout, context.dropout_key, places + 2);
                scaled_add(&x, &parameters[0], &m)?
            }
            None => x,
        };
        match layout.wave {
            Some(wave) => self.wave(segment, parameters, &wave, &x, context, places),
            None => Ok(x),
        }
    }

    fn norm(&self, x: &Tensor, parameters: &[Tensor], index: Option<usize>) -> Result<Tensor> {
        let Some(index) = index else { return Ok(x.shallow_clone()) };
        match self.options.norm {
            Norm::Rms => rms_norm(x, &parameters[index], RMS_EPS),
            Norm::Layer => {
                let (weight, bias) = (parameters[index].to_kind(x.kind()), parameters[index + 1].to_kind(x.kind()));
                Ok(x.layer_norm([self.sizes.width], Some(weight), Some(bias), LAYER_EPS, false))
            }
            Norm::None => Ok(x.shallow_clone()),
        }
    }

    fn mlp(&self, parameters: &[Tensor], mlp: [usize; 4], x: &Tensor, in_pass: bool) -> Result<Tensor> {
        let [fc1, bias1, fc2, bias2] = mlp.map(|index| &parameters[index]);
        if in_pass {
            let z = inference::linear(x, fc1, Some(bias1))?;
            return inference::linear(&self.activation(&z, parameters, self.layout.mlp_sine, true)?, fc2, Some(bias2));
        }
        let z = linear(x, fc1, Some(bias1))?;
        let Some(vectors) = self.layout.mlp_sine else { return linear(&z.gelu("none"), fc2, Some(bias2)) };
        let (mode, bounds) = formula(&self.options.sine);
        damped_sine_linear(&z, vectors.map(|index| &parameters[index]), mode, &bounds, fc2, bias2)
    }

    fn activation(&self, z: &Tensor, parameters: &[Tensor], sine: Option<[usize; 3]>, in_pass: bool) -> Result<Tensor> {
        let Some(vectors) = sine else {
            return if in_pass { inference::gelu(z) } else { Ok(z.gelu("none")) };
        };
        let [amplitude, frequency, decay] = vectors.map(|index| &parameters[index]);
        let (mode, bounds) = formula(&self.options.sine);
        damped_sine(z, amplitude, frequency, decay, mode, &bounds)
    }

    /// Norm, depthwise convolution over time, activation, linear map; added to its input.
    fn wave(
        &self,
        segment: usize,
        parameters: &[Tensor],
        layout: &WaveLayout,
        x: &Tensor,
        context: &mut ForwardContext<'_>,
        places: u64,
    ) -> Result<Tensor> {
        let options = &self.options.wave;
        let dilation = self.dilation(segment);
        let reach = (options.kernel - 1) * dilation;
        let normed = rms_norm(x, &parameters[layout.norm], RMS_EPS)?;
        let convolution = &parameters[layout.convolution];
        let [weight, bias] = layout.projection.map(|index| &parameters[index]);
        if let Some(pass) = &mut context.pass {
            if options.padding == Padding::Same {
                return Err(Error::usage(
                    "a model with `wave.padding` `same` cannot generate: it needs the tokens to come",
                )
                .hint("train with causal padding, the default"));
            }
            let mixed = convolved(pass, segment, &normed, convolution, dilation, reach);
            let active = self.activation(&mixed, parameters, layout.sine, true)?;
            return Ok(x + inference::linear(&active, weight, Some(bias))?);
        }
        let padding = if options.padding == Padding::Causal { [reach, 0] } else { [reach / 2, reach / 2] };
        let padded = normed.transpose(1, 2).constant_pad_nd(padding);
        let width = self.sizes.width;
        let mixed = padded.conv1d(convolution, None::<Tensor>, 1, 0, dilation, width).transpose(1, 2);
        let active = self.activation(&mixed.contiguous(), parameters, layout.sine, false)?;
        let out = linear(&active, weight, Some(bias))?;
        Ok(x + dropout(out, options.dropout, context.dropout_key, places + 3))
    }

    fn dilation(&self, segment: usize) -> i64 {
        let growth = self.options.wave.dilation_growth;
        if growth > 1 { growth.pow(segment as u32 - 1) } else { 1 }
    }
}

/// The causal depthwise convolution of the runs of a pass, x `[1, tokens, width]`: a sum over taps in one order, so that no
/// bit depends on the length of a run.
fn convolved(pass: &mut Pass, segment: usize, x: &Tensor, convolution: &Tensor, dilation: i64, reach: i64) -> Tensor {
    let taps = convolution.squeeze_dim(1).to_kind(x.kind()).tr().contiguous();
    let runs = with_earlier_rows(pass, segment, &x.squeeze_dim(0), reach, VALUES + 1);
    let mixed: Vec<Tensor> = runs
        .iter()
        .map(|padded| {
            let time = padded.size()[0] - reach;
            let tap = |index: i64| padded.narrow(0, index * dilation, time) * taps.get(index);
            (1..taps.size()[0]).fold(tap(0), |sum, index| sum + tap(index))
        })
        .collect();
    Tensor::cat(&mixed, 0).unsqueeze(0)
}

fn formula(options: &SineOptions) -> (Decay, Bounds) {
    let mode = match options.decay_mode {
        DecayMode::Abs => Decay::Abs,
        DecayMode::Relu => Decay::Relu,
        DecayMode::None => Decay::None,
    };
    let limits = |bounds: Option<Limits>| bounds.unwrap_or((None, None));
    let bounds = Bounds {
        amplitude: limits(options.amplitude_bounds),
        frequency: limits(options.frequency_bounds),
        decay: limits(options.decay_bounds),
    };
    (mode, bounds)
}
