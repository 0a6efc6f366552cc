//! The draws of the seeded initialisation, in the reference's order: every layer draws its own default first, then a
//! second pass over the modules draws most of them again. Only the last draw counts, but each moves the generator.

use psann_core::initialise::inverse_softplus;
use psann_core::model::{Draw, SegmentSpec, Values};

use super::options::{SineOptions, WaveResNetOptions};
use super::segments::BlockLayout;

/// All draws for the given chain.
pub fn draws(options: &WaveResNetOptions, segments: &[SegmentSpec], layout: &BlockLayout) -> Vec<Draw> {
    let mut plan = Draws { segments, draws: Vec::new() };
    let last = segments.len() - 1;
    plan.constants(options);
    // Construction.
    plan.draw(0, 0, Values::Normal { mean: 0.0, std: 1.0 });
    for block in 1..last {
        layout.attention.iter().for_each(|&weight| plan.layer_default(block, weight, None));
        if let Some([fc1, bias1, fc2, bias2]) = layout.mlp {
            plan.layer_default(block, fc1, Some(bias1));
            plan.sine(block, layout.mlp_sine, &options.sine);
            plan.layer_default(block, fc2, Some(bias2));
        }
        if let Some(wave) = layout.wave {
            plan.layer_default(block, wave.convolution, None);
            plan.sine(block, wave.sine, &options.sine);
            plan.layer_default(block, wave.projection[0], Some(wave.projection[1]));
        }
    }
    plan.layer_default(last, 1, None);
    // The pass over the modules; the convolution keeps its default.
    plan.draw(0, 0, Values::Normal { mean: 0.0, std: 0.02 });
    for block in 1..last {
        layout.attention.iter().for_each(|&weight| plan.xavier(block, weight));
        if let Some([fc1, bias1, fc2, bias2]) = layout.mlp {
            plan.xavier(block, fc1);
            plan.draw(block, bias1, Values::Constant(0.0));
            plan.xavier(block, fc2);
            plan.draw(block, bias2, Values::Constant(0.0));
        }
        if let Some(wave) = layout.wave {
            plan.xavier(block, wave.projection[0]);
            plan.draw(block, wave.projection[1], Values::Constant(0.0));
        }
    }
    plan.xavier(last, 1);
    plan.draws
}

struct Draws<'a> {
    segments: &'a [SegmentSpec],
    draws: Vec<Draw>,
}

impl Draws<'_> {
    fn shape(&self, segment: usize, parameter: usize) -> &[i64] {
        &self.segments[segment].parameters[parameter].shape
    }

    fn draw(&mut self, segment: usize, parameter: usize, values: Values) {
        let shape = self.shape(segment, parameter).to_vec();
        self.draws.push(Draw { target: Some((segment, parameter)), shape, values });
    }

    /// Norms and the factor, which nobody draws.
    fn constants(&mut self, options: &WaveResNetOptions) {
        for (index, segment) in self.segments.iter().enumerate() {
            for (parameter, spec) in segment.parameters.iter().enumerate() {
                let value = match spec.name.rsplit('.').next() {
                    Some("alpha") => options.alpha,
                    Some("bias") => 0.0,
                    Some("scale" | "weight") if spec.shape.len() == 1 => 1.0,
                    _ => continue,
                };
                self.draw(index, parameter, Values::Constant(value));
            }
        }
    }

    /// A layer's own default: uniform within 1 / sqrt(inputs), the bias likewise.
    fn layer_default(&mut self, segment: usize, weight: usize, bias: Option<usize>) {
        let inputs: i64 = self.shape(segment, weight)[1..].iter().product();
        let bound = 1.0 / (inputs as f64).sqrt();
        let values = Values::Uniform { low: -bound, high: bound };
        self.draw(segment, weight, values);
        if let Some(bias) = bias {
            self.draw(segment, bias, values);
        }
    }

    fn xavier(&mut self, segment: usize, weight: usize) {
        let shape = self.shape(segment, weight);
        // In the reference's order of operations: std first, then its bound.
        let bound = 3.0_f64.sqrt() * (2.0 / (shape[0] + shape[1]) as f64).sqrt();
        self.draw(segment, weight, Values::Uniform { low: -bound, high: bound });
    }

    fn sine(&mut self, segment: usize, vectors: Option<[usize; 3]>, options: &SineOptions) {
        let Some(vectors) = vectors else { return };
        let settings = [
            (options.amplitude, options.amplitude_std),
            (options.frequency, options.frequency_std),
            (options.decay, options.decay_std),
        ];
        for (parameter, (mean, std)) in vectors.into_iter().zip(settings) {
            let values = match std {
                0.0 => Values::Constant(inverse_softplus(mean)),
                std => Values::InverseSoftplusNormal { mean, std },
            };
            self.draw(segment, parameter, values);
        }
    }
}
