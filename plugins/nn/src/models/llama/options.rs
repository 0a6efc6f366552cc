//! Options of `llama`, and what of them contradicts what.

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rope::RopeScaling;
use crate::models::vocabulary::Vocabulary;

/// The Llama architecture, as most public language models have it: a baseline, and a way to use their weights.
///
/// RMS norms before attention and MLP, rotary positions in halves, grouped-query attention, an MLP of three linear maps
/// with SwiGLU. Weights have the names of Hugging Face's `LlamaForCausalLM`, and folders of such models are read and
/// written as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LlamaOptions {
    /// Size of the vocabulary, or the tokenizer whose vocabulary it is.
    pub vocab: Vocabulary,
    /// Width of the residual stream.
    #[schemars(range(min = 1))]
    pub d_model: i64,
    /// Number of blocks.
    #[schemars(range(min = 1))]
    pub n_layers: i64,
    /// Attention heads.
    #[schemars(range(min = 1))]
    pub n_heads: i64,
    /// Heads of keys and values, each of which serves `n_heads` / `n_kv_heads` heads; as many as `n_heads` when left out.
    #[schemars(range(min = 1))]
    pub n_kv_heads: Option<i64>,
    /// Width of a head; `d_model` / `n_heads` when left out.
    #[schemars(range(min = 2))]
    pub head_dim: Option<i64>,
    /// Width inside the MLP; when left out 8/3 of `d_model`, rounded up to a multiple of 64, which makes its three matrices
    /// as large as two of four times the width.
    #[schemars(range(min = 1))]
    pub d_mlp: Option<i64>,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How rotary frequencies are changed for texts longer than those of the first training.
    pub rope_scaling: RopeScaling,
    /// Tokens of the longest text that the model is made for.
    #[schemars(range(min = 1))]
    pub max_position_embeddings: i64,
    /// What RMS norms add to the mean square.
    pub norm_eps: f64,
    /// Let embedding and head be one matrix.
    pub tie_embeddings: bool,
    /// Give the four maps of attention biases.
    pub attention_bias: bool,
    /// Give the three maps of the MLP biases.
    pub mlp_bias: bool,
    /// Standard deviation of the initial matrices.
    #[schemars(range(min = 0.0))]
    pub initializer_range: f64,
}

impl Default for LlamaOptions {
    fn default() -> Self {
        Self {
            vocab: Vocabulary::default(),
            d_model: 512,
            n_layers: 8,
            n_heads: 8,
            n_kv_heads: None,
            head_dim: None,
            d_mlp: None,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::default(),
            max_position_embeddings: 2048,
            norm_eps: 1e-5,
            tie_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            initializer_range: 0.02,
        }
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
    /// Heads of keys and values.
    pub kv_heads: i64,
    /// Width of a head.
    pub head: i64,
    /// Width inside the MLP.
    pub mlp: i64,
}

impl LlamaOptions {
    /// Resolves the sizes and refuses what cannot be built.
    pub fn sizes(&self) -> Result<Sizes> {
        let (width, heads) = (self.d_model, self.n_heads);
        let head = match self.head_dim {
            Some(head) => head,
            None if width % heads == 0 => width / heads,
            None => {
                return Err(Error::usage(format!("`n_heads` {heads} does not divide `d_model` {width}"))
                    .hint("change one of them, or give `head_dim`"));
            }
        };
        if head % 2 != 0 {
            return Err(Error::usage(format!("rotary positions need an even width of heads, not {head}"))
                .hint("change `head_dim`, `d_model` or `n_heads`"));
        }
        let kv_heads = self.n_kv_heads.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(Error::usage(format!("`n_kv_heads` {kv_heads} does not divide `n_heads` {heads}"))
                .hint("each head of keys and values serves the same number of heads"));
        }
        self.rope_scaling.check()?;
        let mlp = self.d_mlp.unwrap_or_else(|| (8 * width + 191) / 192 * 64);
        Ok(Sizes { vocabulary: self.vocab.size()?, width, layers: self.n_layers, heads, kv_heads, head, mlp })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rope::RopeType;
    use super::*;

    fn with(change: impl FnOnce(&mut LlamaOptions)) -> Result<Sizes> {
        let mut options = LlamaOptions { vocab: Vocabulary::Size(100), ..LlamaOptions::default() };
        change(&mut options);
        options.sizes()
    }

    #[test]
    fn what_is_left_out_follows_from_the_rest() {
        let sizes = with(|o| (o.d_model, o.n_heads) = (288, 6)).unwrap();
        assert_eq!((sizes.kv_heads, sizes.head, sizes.mlp), (6, 48, 768));
        let sizes = with(|o| (o.d_model, o.n_heads, o.n_kv_heads, o.head_dim) = (100, 6, Some(2), Some(32))).unwrap();
        assert_eq!((sizes.kv_heads, sizes.head, sizes.mlp), (2, 32, 320));
    }

    #[test]
    fn contradictions_are_usage_errors_with_the_numbers() {
        let message = |result: Result<Sizes>| result.unwrap_err().to_string();
        assert_eq!(message(with(|o| o.n_heads = 7)), "`n_heads` 7 does not divide `d_model` 512");
        assert_eq!(message(with(|o| o.n_kv_heads = Some(3))), "`n_kv_heads` 3 does not divide `n_heads` 8");
        assert!(message(with(|o| o.head_dim = Some(7))).contains("even width of heads, not 7"));
        assert!(message(with(|o| o.rope_scaling.rope_type = RopeType::Linear)).contains("`rope_scaling.factor`"));
        assert!(message(with(|o| o.vocab = Vocabulary::default())).contains("not known yet"));
    }
}
