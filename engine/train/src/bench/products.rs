//! The matrix products of a training step, each shape timed by itself: the floor below any step.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::{BenchOptions, median};
use crate::executor::Recompute;

/// All products of one step.
pub struct Products {
    shapes: Vec<Product>,
}

/// One shape, `[batch, rows, inner] x [batch, inner, columns]`.
struct Product {
    left: Tensor,
    right: Tensor,
    /// How often a step computes it.
    times: f64,
    attention: bool,
    seconds: Vec<f64>,
}

/// What a step's products need.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Needed {
    /// Seconds of all.
    pub seconds: f64,
    /// Seconds of attention's.
    pub attention_seconds: f64,
    /// Floating-point operations of all.
    pub operations: f64,
}

impl Products {
    /// Those of a bench's steps.
    pub fn new(options: &BenchOptions) -> Self {
        let kind = if options.bf16 { Kind::BFloat16 } else { Kind::Float };
        // Ordinary values: zeros and denormals can be faster or slower than what a model holds.
        let filled = |shape: &[i64]| {
            let count: i64 = shape.iter().product();
            Tensor::arange(count, (Kind::Float, Device::Cpu)).sin().view(shape).to_kind(kind)
        };
        let (width, layers) = (options.d_model as i64, options.layers as f64);
        let inner = options.d_mlp.map_or(4 * width, |inner| inner as i64);
        let (rows, parts) = ((options.batch * options.seq) as i64, options.accumulation as f64);
        // Forward passes of a block: one, and another for each that is computed again.
        let again = match options.checkpoint.0 {
            Recompute::None => 0.0,
            Recompute::Full => layers,
            Recompute::Every(_) => {
                (1..=options.layers as usize).filter(|s| options.checkpoint.0.applies_to(*s)).count() as f64
            }
        };
        let mut shapes = Vec::new();
        let mut add = |left: Tensor, right: Tensor, times: f64, attention: bool| {
            shapes.push(Product { left, right, times: times * parts, attention, seconds: Vec::new() });
        };
        let vocabulary = options.vocab as i64;
        let linear = [
            (width, width, 4.0 * layers, 4.0 * again),
            (width, inner, layers, again),
            (inner, width, layers, again),
            (width, vocabulary, 1.0, 0.0),
        ];
        for (from, to, count, repeated) in linear {
            // As a model's linear maps compute: weights are [out, in] and multiplied transposed.
            let (input, output, weight) = (filled(&[rows, from]), filled(&[rows, to]), filled(&[to, from]));
            add(input.shallow_clone(), weight.tr(), count + repeated, false);
            add(output.shallow_clone(), weight, count, false);
            add(output.tr(), input, count, false);
        }
        let (heads, time) = ((options.batch * options.heads) as i64, options.seq as i64);
        let size = width / options.heads.max(1) as i64;
        let (vectors, scores) = (filled(&[heads, time, size]), filled(&[heads, time, time]));
        // Scores and, back, the gradient of the probabilities; then the values' sum and the gradients of q, k and v.
        add(vectors.shallow_clone(), vectors.transpose(1, 2), layers + again + layers, true);
        add(scores.shallow_clone(), vectors.shallow_clone(), layers + again + layers, true);
        add(scores.transpose(1, 2), vectors, 2.0 * layers, true);
        Self { shapes }
    }

    /// Times every shape once.
    pub fn measure(&mut self) {
        for product in &mut self.shapes {
            let start = Instant::now();
            drop(product.left.matmul(&product.right));
            product.seconds.push(start.elapsed().as_secs_f64());
        }
    }

    /// What one step needs, by the medians so far.
    pub fn total(&self) -> Needed {
        let mut needed = Needed::default();
        for product in &self.shapes {
            let seconds = product.times * median(product.seconds.iter().copied());
            needed.seconds += seconds;
            if product.attention {
                needed.attention_seconds += seconds;
            }
            let columns = product.right.size().last().copied().unwrap_or(0);
            needed.operations += product.times * 2.0 * product.left.numel() as f64 * columns as f64;
        }
        needed
    }
}

/// Floating-point operations per second of fp32 matrix products on this machine now, from a few of middling size.
pub fn matrix_product_rate() -> f64 {
    const SIZE: i64 = 1024;
    let left = Tensor::ones([SIZE, SIZE], (Kind::Float, Device::Cpu));
    let once = || {
        let start = Instant::now();
        drop(left.matmul(&left));
        start.elapsed().as_secs_f64()
    };
    once();
    2.0 * (SIZE as f64).powi(3) / median((0..5).map(|_| once()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ActivationCheckpointing;

    #[test]
    fn operations_are_those_of_the_model() {
        let options = BenchOptions {
            d_model: 16,
            heads: 2,
            layers: 3,
            d_mlp: Some(24),
            vocab: 40,
            batch: 2,
            seq: 8,
            ..BenchOptions::default()
        };
        let linear = 16.0 * (3.0 * (4.0 * 16.0 * 16.0 + 2.0 * 16.0 * 24.0) + 16.0 * 40.0);
        let attention = 3.0 * 2.0 * 8.0 * 8.0 * 2.0 * 16.0;
        assert_eq!(Products::new(&options).total().operations, 2.0 * 3.0 * (linear + attention));
        let full = BenchOptions { checkpoint: ActivationCheckpointing(Recompute::Full), accumulation: 2, ..options };
        let blocks = linear - 16.0 * 16.0 * 40.0 + attention;
        assert_eq!(Products::new(&full).total().operations, 2.0 * 2.0 * (3.0 * (linear + attention) + blocks));
    }
}
