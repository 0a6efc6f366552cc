//! How fast this machine generates, evaluates and serves, on made-up weights and tokens: they cost what real ones cost.

mod evaluate;
mod generate;
mod serve;

use psann_core::initialise::initialise;
use psann_core::{Model, Result, registry};
use serde::Serialize;
use serde_json::json;
use tch::Tensor;

pub use evaluate::{EvaluateBenchOptions, EvaluateBenchReport, evaluate_bench};
pub use generate::{GenerateBenchOptions, GenerateBenchReport, generate_bench};
pub use serve::{Load, ServeBenchOptions, ServeBenchReport, serve_bench};

/// Seed of weights and tokens, the one that the race scripts use too.
pub const SEED: i64 = 1337;

/// A new `waveresnet`, whose weights are drawn as for training: from the same seed the reference software has the same
/// ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BenchModel {
    /// Width of the model.
    pub d_model: i64,
    /// Blocks.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// Width inside the MLP.
    pub d_mlp: i64,
    /// Vocabulary.
    pub vocab: i64,
    /// Threads of libtorch.
    pub threads: usize,
    /// Whether matrices are bf16 instead of fp32.
    pub bf16: bool,
}

impl Default for BenchModel {
    fn default() -> Self {
        Self { d_model: 384, layers: 6, heads: 6, d_mlp: 1536, vocab: 8192, threads: 2, bf16: false }
    }
}

/// A model and its parameters, one list a segment.
pub type Built = (Box<dyn Model>, Vec<Vec<Tensor>>);

impl BenchModel {
    /// The model and its parameters; sets the number of threads.
    ///
    /// # Errors
    /// When the sizes do not make a model.
    pub fn build(&self) -> Result<Built> {
        psann_torch::threads::set(self.threads);
        let model = registry::model(
            "waveresnet",
            &json!({
                "d_model": self.d_model,
                "n_layers": self.layers,
                "n_heads": self.heads,
                "d_mlp": self.d_mlp,
                "vocab": self.vocab,
            }),
        )?;
        let mut parameters = initialise(model.as_ref(), SEED)?;
        if self.bf16 {
            crate::network::store_in_half(&mut parameters);
        }
        Ok((model, parameters))
    }

    /// What matrices are stored in.
    pub fn dtype(&self) -> &'static str {
        if self.bf16 { "bf16" } else { "fp32" }
    }
}

/// Tokens of the linear congruential generator that the race scripts use too (Knuth's MMIX constants), from `seed`.
pub fn made_up_tokens(count: usize, vocabulary: i64, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocabulary.max(1) as u64) as u32
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::made_up_tokens;

    #[test]
    fn made_up_tokens_are_those_of_the_race_scripts() {
        // Printed by `bench_common.tokens`.
        assert_eq!(made_up_tokens(4, 8192, 0), [7615, 5896, 7185, 3444]);
        assert_eq!(made_up_tokens(4, 8192, 1337), [7689, 2581, 812, 5304]);
    }
}
