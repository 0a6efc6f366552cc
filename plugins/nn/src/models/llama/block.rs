//! One block: grouped-query attention, then the MLP.

use psann_core::model::ForwardContext;
use psann_core::pass::Pass;
use psann_core::{Error, Result};
use psann_torch::inference;
use psann_torch::linear::linear;
use psann_torch::norm::rms_norm;
use psann_torch::rotary::rotate_halves;
use tch::Tensor;

use super::options::Sizes;
use super::segments::Map;
use super::{Llama, Tables};
use crate::models::attention;

impl Llama {
    /// Computes block `segment` of x `[batch, time, width]`. `tables` are `None` in a pass.
    pub(super) fn block(
        &self,
        segment: usize,
        parameters: &[Tensor],
        x: &Tensor,
        context: &mut ForwardContext<'_>,
        tables: Option<&Tables>,
    ) -> Result<Tensor> {
        let normed = rms_norm(x, &parameters[self.layout.attention_norm], self.options.norm_eps)?;
        let attended = match (&mut context.pass, tables) {
            (Some(pass), _) => self.attend_in_pass(segment, parameters, &normed, pass)?,
            (None, Some(tables)) => self.attend(parameters, &normed, tables)?,
            (None, None) => return Err(Error::new("a block outside of a pass was handed no tables")),
        };
        let x = x + attended;
        let normed = rms_norm(&x, &parameters[self.layout.mlp_norm], self.options.norm_eps)?;
        Ok(&x + self.mlp(parameters, &normed, context.pass.is_some())?)
    }

    fn mlp(&self, parameters: &[Tensor], x: &Tensor, in_pass: bool) -> Result<Tensor> {
        let [gate, up, down] = self.layout.mlp;
        if in_pass {
            let gated = inference::swiglu(&gate.infer(parameters, x)?, &up.infer(parameters, x)?)?;
            return down.infer(parameters, &gated);
        }
        down.apply(parameters, &(gate.apply(parameters, x)?.silu() * up.apply(parameters, x)?))
    }

    fn attend(&self, parameters: &[Tensor], x: &Tensor, tables: &Tables) -> Result<Tensor> {
        let Sizes { heads, kv_heads, head, .. } = self.sizes;
        let (batch, time) = (x.size()[0], x.size()[1]);
        let [q, k, v, o] = self.layout.attention;
        let split =
            |map: Map, heads: i64| -> Result<Tensor> { Ok(map.apply(parameters, x)?.view([batch, time, heads, head])) };
        let q = rotate_halves(&split(q, heads)?, &tables.cosine, &tables.sine)?;
        let k = rotate_halves(&split(k, kv_heads)?, &tables.cosine, &tables.sine)?;
        // Views: the kernel reads [batch, heads, time, head] with any strides.
        let (q, k, v) = (q.transpose(1, 2), k.transpose(1, 2), split(v, kv_heads)?.transpose(1, 2));
        let (mask, grouped) = (tables.mask.as_ref(), heads > kv_heads);
        let mixed = Tensor::scaled_dot_product_attention(&q, &k, &v, mask, 0.0, mask.is_none(), None, grouped);
        o.apply(parameters, &mixed.transpose(1, 2).reshape([batch, time, heads * head]))
    }

    fn attend_in_pass(&self, segment: usize, parameters: &[Tensor], x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let Sizes { heads, kv_heads, head, .. } = self.sizes;
        let time = x.size()[1];
        let [q, k, v, o] = self.layout.attention;
        let split =
            |map: Map, heads: i64| -> Result<Tensor> { Ok(map.infer(parameters, x)?.view([1, time, heads, head])) };
        let [cosine, sine] = pass.tables.as_slice() else {
            return Err(Error::new("a pass reached a block without the tables of its positions"));
        };
        let q = rotate_halves(&split(q, heads)?, cosine, sine)?;
        let k = rotate_halves(&split(k, kv_heads)?, cosine, sine)?;
        let [q, k, v] = [q, k, split(v, kv_heads)?].map(|tensor| tensor.squeeze_dim(0));
        let mixed = attention::attend(pass, segment, &q, &k, &v, None)?;
        o.infer(parameters, &mixed.view([1, time, heads * head]))
    }
}

impl Map {
    fn apply(self, parameters: &[Tensor], x: &Tensor) -> Result<Tensor> {
        linear(x, &parameters[self.weight], self.bias.map(|bias| &parameters[bias]))
    }

    /// The same in a pass.
    fn infer(self, parameters: &[Tensor], x: &Tensor) -> Result<Tensor> {
        inference::linear(x, &parameters[self.weight], self.bias.map(|bias| &parameters[bias]))
    }
}
