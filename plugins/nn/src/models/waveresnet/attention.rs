//! Multi-head attention through libtorch's scaled dot product, and its cache.

use psann_core::Result;
use psann_core::model::{Cache, ForwardContext};
use psann_torch::linear::linear;
use psann_torch::rotary::rotate;
use tch::{Kind, Tensor};

use super::dropout::dropout;
use super::{Pass, WaveResNet};

/// The cache of keys and values grows by so many positions at once, so that most steps copy nothing.
const GROWTH: i64 = 256;

/// Attention of x `[batch, time, width]`, after its output projection.
pub fn attend(
    model: &WaveResNet,
    segment: usize,
    parameters: &[Tensor],
    x: &Tensor,
    context: &mut ForwardContext<'_>,
    pass: &Pass,
    places: u64,
) -> Result<Tensor> {
    let size = x.size();
    let (batch, time, width) = (size[0], size[1], size[2]);
    let heads = model.sizes.heads;
    let [q, k, v, o] = model.layout.attention.map(|index| &parameters[index]);
    let split =
        |weight: &Tensor| -> Result<Tensor> { Ok(linear(x, weight, None)?.view([batch, time, heads, width / heads])) };
    let [mut q, mut k, v] = [split(q)?, split(k)?, split(v)?];
    if let Some((cosine, sine)) = &pass.rotary {
        q = rotate(&q, cosine, sine)?;
        k = rotate(&k, cosine, sine)?;
    }
    // Views: the kernel reads [batch, heads, time, size] with any strides.
    let (q, mut k, mut v) = (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2));
    let start = context.start();
    if let Some(cache) = &mut context.cache {
        (k, v) = remember(cache, segment, &k, &v, start);
    }
    let rate = if context.dropout_key.is_some() { model.options.dropout } else { 0.0 };
    let mixed = if rate > 0.0 {
        explicit(&q, &k, &v, pass, start, |weights| dropout(weights, rate, context.dropout_key, places))
    } else {
        match &pass.mask {
            Some(mask) => scaled_dot_product(&q, &k, &v, Some(mask), false),
            // One query sees all keys; several start with the keys.
            None => scaled_dot_product(&q, &k, &v, None, time > 1),
        }
    };
    linear(&mixed.transpose(1, 2).reshape([batch, time, width]), o, None)
}

fn scaled_dot_product(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, None, false)
}

/// Attention op by op, for what the fused kernel does not do: dropout by counter.
fn explicit(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pass: &Pass,
    start: i64,
    drop: impl FnOnce(Tensor) -> Tensor,
) -> Tensor {
    let scores = q.matmul(&k.transpose(-2, -1)) / (q.size()[3] as f64).sqrt();
    let scores = match &pass.mask {
        Some(mask) if mask.kind() == Kind::Bool => scores.masked_fill(&mask.logical_not(), f64::NEG_INFINITY),
        Some(bias) => scores + bias,
        None => {
            let visible = super::positions::visible(start, q.size()[2], None, q.device());
            scores.masked_fill(&visible.logical_not(), f64::NEG_INFINITY)
        }
    };
    drop(scores.softmax(-1, scores.kind())).matmul(v)
}

/// Writes the new keys and values behind the earlier ones and returns all of them: `[batch, heads, start + time, size]`.
fn remember(cache: &mut Cache, segment: usize, k: &Tensor, v: &Tensor, start: i64) -> (Tensor, Tensor) {
    let time = k.size()[2];
    let kept = &mut cache.segments[segment];
    if kept.len() < 2 {
        kept.extend([k, v].map(|new| room(new, time)));
    }
    let all = [(0, k), (1, v)].map(|(index, new)| {
        if kept[index].size()[2] < start + time {
            let larger = room(new, start + time);
            larger.narrow(2, 0, start).copy_(&kept[index].narrow(2, 0, start));
            kept[index] = larger;
        }
        kept[index].narrow(2, start, time).copy_(new);
        kept[index].narrow(2, 0, start + time)
    });
    let [k, v] = all;
    (k, v)
}

/// An empty tensor like `new` with room for `length` positions and some more.
fn room(new: &Tensor, length: i64) -> Tensor {
    let mut size = new.size();
    size[2] = (length + GROWTH - 1) / GROWTH * GROWTH;
    Tensor::zeros(size.as_slice(), (new.kind(), new.device()))
}
