//! Forward passes without gradients: products, attention, activations and log-probabilities whose bits do not depend on
//! what is computed beside them.
//!
//! Ordinary matrix products choose their order of summation by the shape of the whole batch, so that a text's
//! log-probability changes in the last digits with its neighbours. On fp32 CPU tensors the kernels here compute every
//! number in an order that follows from its own row: batches, threads, caches and shared prefixes change no bit. Weights
//! may be bf16 there, which halves what each token reads. Other devices and dtypes take libtorch's own operations with
//! the same formulas and without that promise.

mod ffi;

use psann_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// `x · weightᵀ + bias` of x `[.., features]`, weight `[out, features]` of fp32 or bf16, bias `[out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (shape, features) = (weight.size(), x.size().last().copied().unwrap_or(0));
    let fits = shape.len() == 2 && shape[1] == features && bias.is_none_or(|bias| bias.size() == shape[..1]);
    if !fits {
        return Err(Error::new(format!(
            "the product of {:?} with a weight of {shape:?} and a bias of {:?} does not fit",
            x.size(),
            bias.map(Tensor::size)
        )));
    }
    ffi::product(x, weight, bias)
}

/// Rows of weight `[classes, width]` by int64 ids: `[.., width]`. On the CPU fp32 whatever the weight, as the kernels
/// here want it.
pub fn embedding(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let rows = crate::linear::embedding(weight, ids)?;
    Ok(if rows.device() == Device::Cpu && rows.kind() == Kind::BFloat16 { rows.to_kind(Kind::Float) } else { rows })
}

/// Tokens of one sequence in a pass and where their keys and values are.
#[derive(Debug)]
pub struct Keys<'a> {
    /// The first token's place in the pass, and the number of tokens.
    pub tokens: (i64, i64),
    /// Keys before those of the first token: it sees `past + 1`, the next one more.
    pub past: i64,
    /// The first keys and values `[rows, kv_heads, size]`, and how many of their rows count.
    pub head: (&'a Tensor, &'a Tensor, i64),
    /// The keys and values behind them.
    pub tail: (&'a Tensor, &'a Tensor),
}

/// Causal attention of q `[tokens, heads, size]` to the keys of each token's own run; several heads in a row share keys
/// where there are fewer of those (grouped queries). `slopes` `[heads]` subtracts that much for each position of distance
/// (ALiBi). Gives `[tokens, heads, size]`.
///
/// # Errors
/// When a run has not as many keys as its last token sees, or the shapes do not fit.
pub fn attention(q: &Tensor, runs: &[Keys<'_>], scale: f64, slopes: Option<&Tensor>) -> Result<Tensor> {
    let [tokens, heads, size] = <[i64; 3]>::try_from(q.size())
        .map_err(|shape| Error::new(format!("queries must be [tokens, heads, size], not {shape:?}")))?;
    let (mut layout, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for Keys { tokens: (first, count), past, head, tail } in runs {
        let visible = past + count;
        let rows = |tensor: &Tensor| match tensor.size().as_slice() {
            [rows, kv_heads, width] if *width == size && *kv_heads > 0 && heads % kv_heads == 0 => {
                Some((*rows, *kv_heads))
            }
            _ => None,
        };
        let all = [head.0, head.1, tail.0, tail.1].map(rows);
        let fits = match all {
            [Some(head_keys), Some(head_values), Some(tail_keys), Some(tail_values)] => {
                let same_heads = [head_values, tail_keys, tail_values].iter().all(|part| part.1 == head_keys.1);
                let rest = visible - head.2;
                same_heads
                    && head.2 <= head_keys.0.min(head_values.0)
                    && rest <= tail_keys.0.min(tail_values.0)
                    && [head.0, head.1, tail.0, tail.1].iter().all(|part| part.is_contiguous())
            }
            _ => false,
        };
        if !fits || *first != next || *count < 1 || *past < 0 || head.2 < 0 {
            return Err(Error::new(format!(
                "{count} queries from token {first} on that see up to {visible} keys do not fit queries {:?} and keys {all:?}",
                q.size()
            )));
        }
        next += count;
        layout.extend([*first, *count, *past, head.2.min(visible)]);
        keys.extend([head.0, tail.0]);
        values.extend([head.1, tail.1]);
    }
    if next != tokens || slopes.is_some_and(|slopes| slopes.size() != [heads]) {
        return Err(Error::new(format!("runs of {next} tokens do not cover queries {:?}", q.size())));
    }
    ffi::attention(q, &layout, &keys, &values, scale, slopes)
}

/// Log-probabilities of `pairs` (row, class), rows ascending: those of softmax(hidden · weightᵀ) for hidden
/// `[rows, width]` and weight `[classes, width]`, with fp32 logits and sums in double precision. Also the likeliest class of
/// each row, of equals the first. Full logits exist for some rows at a time only.
///
/// # Errors
/// When a pair is out of range or rows do not ascend.
pub fn log_likelihoods(hidden: &Tensor, weight: &Tensor, pairs: &[(i64, i64)]) -> Result<(Vec<f64>, Vec<i64>)> {
    let (rows, classes) = (hidden.size()[0], weight.size()[0]);
    let ascending = pairs.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    if !ascending || pairs.iter().any(|(row, class)| !(0..rows).contains(row) || !(0..classes).contains(class)) {
        return Err(Error::new(format!("a class or a row is outside of logits [{rows}, {classes}]")));
    }
    let (of_pair, targets): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
    ffi::log_likelihoods(hidden, weight, &of_pair, &targets)
}

/// Per row of logits `[rows, classes]`: what a logit is reduced by to be a log-probability (the logarithm of the sum of
/// exponentials, in double precision), and the likeliest class, of equals the first.
///
/// # Errors
/// When logits are not a matrix with at least one class.
pub fn normalisers(logits: &Tensor) -> Result<(Vec<f64>, Vec<i64>)> {
    match logits.size().as_slice() {
        [_, classes] if *classes > 0 => ffi::normalisers(logits),
        shape => Err(Error::new(format!("logits must be [rows, classes], not {shape:?}"))),
    }
}

/// `silu(gate) · up` of two tensors of one shape.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.size() != up.size() || gate.kind() != up.kind() {
        return Err(Error::new(format!("a gate {:?} does not fit {:?}", gate.size(), up.size())));
    }
    ffi::swiglu(gate, up)
}

/// GELU with the error function.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    ffi::gelu(x)
}

#[cfg(test)]
mod tests;
