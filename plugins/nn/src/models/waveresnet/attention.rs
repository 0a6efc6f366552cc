//! Multi-head attention: through libtorch's scaled dot product where gradients are wanted, through the caches of a pass
//! where they are not.

use psann_core::Result;
use psann_core::model::ForwardContext;
use psann_torch::inference;
use psann_torch::linear::linear;
use psann_torch::rotary::rotate;
use tch::{Kind, Tensor};

use super::dropout::dropout;
use super::{Tables, WaveResNet};
use crate::models::attention;

/// Attention of x `[batch, time, width]`, after its output projection. `tables` are `None` in a pass.
pub fn attend(
    model: &WaveResNet,
    segment: usize,
    parameters: &[Tensor],
    x: &Tensor,
    context: &mut ForwardContext<'_>,
    tables: Option<&Tables>,
    places: u64,
) -> Result<Tensor> {
    let size = x.size();
    let (batch, time, width) = (size[0], size[1], size[2]);
    let heads = model.sizes.heads;
    let [q, k, v, o] = model.layout.attention.map(|index| &parameters[index]);
    if let Some(pass) = &mut context.pass {
        let split = |weight: &Tensor| -> Result<Tensor> {
            Ok(inference::linear(x, weight, None)?.view([1, time, heads, width / heads]))
        };
        let [mut q, mut k, v] = [split(q)?, split(k)?, split(v)?];
        let mut slopes = None;
        match pass.tables.as_slice() {
            [cosine, sine] => {
                q = rotate(&q, cosine, sine)?;
                k = rotate(&k, cosine, sine)?;
            }
            tables => slopes = tables.first().map(Tensor::shallow_clone),
        }
        let [q, k, v] = [q, k, v].map(|tensor| tensor.squeeze_dim(0));
        let mixed = attention::attend(pass, segment, &q, &k, &v, slopes.as_ref())?;
        return inference::linear(&mixed.view([1, time, width]), o, None);
    }
    let split =
        |weight: &Tensor| -> Result<Tensor> { Ok(linear(x, weight, None)?.view([batch, time, heads, width / heads])) };
    let [mut q, mut k, v] = [split(q)?, split(k)?, split(v)?];
    let mask = tables.and_then(|tables| tables.mask.as_ref());
    if let Some((cosine, sine)) = tables.and_then(|tables| tables.rotary.as_ref()) {
        q = rotate(&q, cosine, sine)?;
        k = rotate(&k, cosine, sine)?;
    }
    // Views: the kernel reads [batch, heads, time, size] with any strides.
    let (q, k, v) = (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2));
    let rate = if context.dropout_key.is_some() { model.options.dropout } else { 0.0 };
    let mixed = if rate > 0.0 {
        explicit(&q, &k, &v, mask, |weights| dropout(weights, rate, context.dropout_key, places))
    } else {
        scaled_dot_product(&q, &k, &v, mask, mask.is_none())
    };
    linear(&mixed.transpose(1, 2).reshape([batch, time, width]), o, None)
}

fn scaled_dot_product(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, None, false)
}

/// Attention op by op, for what the fused kernel does not do: dropout by counter.
fn explicit(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, drop: impl FnOnce(Tensor) -> Tensor) -> Tensor {
    let scores = q.matmul(&k.transpose(-2, -1)) / (q.size()[3] as f64).sqrt();
    let scores = match mask {
        Some(mask) if mask.kind() == Kind::Bool => scores.masked_fill(&mask.logical_not(), f64::NEG_INFINITY),
        Some(bias) => scores + bias,
        None => {
            let visible = super::positions::visible(q.size()[2], None, q.device());
            scores.masked_fill(&visible.logical_not(), f64::NEG_INFINITY)
        }
    };
    drop(scores.softmax(-1, scores.kind())).matmul(v)
}
