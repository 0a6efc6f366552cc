//! `single`: everything lives in this process, on one device. Nothing moves, so nothing is copied in fp32.

use psann_core::model::ParameterSpec;
use psann_core::sharder::{Placement, Shard};
use psann_core::{Error, Result, Sharder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

psann_core::register!(Sharder, "single", SingleOptions, Single::new);

/// One process, one device: parameters, gradients and optimizer state are whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SingleOptions {}

/// Whole parameters in one place.
#[derive(Debug)]
pub struct Single {
    placement: Placement,
    shards: Vec<Shard>,
    /// First shard of each segment.
    starts: Vec<usize>,
}

impl Single {
    /// Parameters go to the placement's device.
    pub fn new(_: SingleOptions, placement: Placement) -> Result<Self> {
        Ok(Self { placement, shards: Vec::new(), starts: Vec::new() })
    }

    fn of_segment(&mut self, segment: usize) -> Result<&mut [Shard]> {
        let start =
            *self.starts.get(segment).ok_or_else(|| Error::new(format!("segment {segment} was never installed")))?;
        let end = self.starts.get(segment + 1).copied().unwrap_or(self.shards.len());
        Ok(&mut self.shards[start..end])
    }
}

impl Sharder for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn install(&mut self, specs: &[ParameterSpec], values: Vec<Tensor>) -> Result<()> {
        if specs.len() != values.len() {
            return Err(Error::new(format!("{} parameters got {} values", specs.len(), values.len())));
        }
        let segment = self.starts.len();
        self.starts.push(self.shards.len());
        for (spec, value) in specs.iter().zip(values) {
            if value.size() != spec.shape {
                return Err(Error::new(format!("`{}` has shape {:?}, not {:?}", spec.name, spec.shape, value.size())));
            }
            let value = value.to_device(self.placement.device).to_kind(Kind::Float).detach();
            self.shards.push(Shard { spec: spec.clone(), segment, first_row: 0, value, gradient: None });
        }
        Ok(())
    }

    fn start_gather(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>> {
        let compute = self.placement.compute;
        // Norm scales, biases and activation vectors stay fp32: they cost nothing and their kernels compute in fp32.
        let gathered = |shard: &Shard| match shard.spec.shape.len() {
            1 => shard.value.shallow_clone(),
            _ => shard.value.to_kind(compute),
        };
        Ok(self.of_segment(segment)?.iter().map(gathered).collect())
    }

    fn release(&mut self, _: usize) {}

    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()> {
        let shards = self.of_segment(segment)?;
        if shards.len() != gradients.len() {
            return Err(Error::new(format!(
                "segment {segment} has {} parameters, got {} gradients",
                shards.len(),
                gradients.len()
            )));
        }
        for (shard, gradient) in shards.iter_mut().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            match &mut shard.gradient {
                // The first one is taken as it is: no zeros, no sum.
                None => shard.gradient = Some(gradient.to_kind(Kind::Float)),
                Some(sum) => drop(sum.g_add_(&gradient.to_kind(Kind::Float))),
            }
        }
        Ok(())
    }

    fn gradient_buffer(&mut self, segment: usize, parameter: usize) -> Result<Option<Tensor>> {
        let shard = &mut self.of_segment(segment)?[parameter];
        if !shard.spec.trainable {
            return Ok(None);
        }
        let buffer = shard.gradient.get_or_insert_with(|| shard.value.zeros_like());
        Ok(Some(buffer.shallow_clone()))
    }

    fn finish_reductions(&mut self) -> Result<()> {
        Ok(())
    }

    fn shards(&mut self) -> &mut [Shard] {
        &mut self.shards
    }

    fn clear_gradients(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.gradient = None);
    }

    fn all_reduce(&mut self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn installed(compute: Kind) -> Single {
        let spec = |name: &str, shape: &[i64]| ParameterSpec {
            name: name.into(),
            shape: shape.to_vec(),
            decays: true,
            trainable: true,
        };
        let mut single = Single::new(SingleOptions::default(), Placement { device: Device::Cpu, compute }).unwrap();
        let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        single.install(&[spec("a", &[2, 2])], vec![ones(&[2, 2])]).unwrap();
        single.install(&[spec("b", &[3]), spec("c", &[2, 1])], vec![ones(&[3]), ones(&[2, 1])]).unwrap();
        single
    }

    #[test]
    fn gradients_sum_and_the_buffer_is_the_gradient() {
        let mut single = installed(Kind::Float);
        let one = |shape: &[i64]| Some(Tensor::ones(shape, (Kind::Float, Device::Cpu)));
        single.reduce(1, vec![one(&[3]), None]).unwrap();
        single.reduce(1, vec![one(&[3]), one(&[2, 1])]).unwrap();
        let mut buffer = single.gradient_buffer(1, 1).unwrap().unwrap();
        let _ = buffer.g_add_scalar_(5.0);
        let gradients: Vec<f64> =
            single.shards()[1..].iter().map(|s| s.gradient.as_ref().unwrap().double_value(&[0])).collect();
        assert_eq!(gradients, [2.0, 6.0], "two gradients summed; one gradient and what was added to its buffer");
        single.clear_gradients();
        assert!(single.shards().iter().all(|shard| shard.gradient.is_none()));
    }

    #[test]
    fn matrices_are_gathered_in_the_compute_dtype_and_vectors_in_fp32() {
        let mut single = installed(Kind::BFloat16);
        let kinds: Vec<Kind> = single.gather(1).unwrap().iter().map(Tensor::kind).collect();
        assert_eq!(kinds, [Kind::Float, Kind::BFloat16]);
        assert!(single.gather(2).is_err());
    }
}
