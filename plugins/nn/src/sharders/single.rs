//! `single`: everything lives in this process, on one device. Nothing moves, so nothing is copied in fp32.

use std::sync::Arc;

use psann_core::collective::Collective;
use psann_core::model::SegmentSpec;
use psann_core::sharder::{Gathering, Layout, Placement, Shard};
use psann_core::{Error, Result, Sharder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::layout::Segments;

psann_core::register!(Sharder, "single", SingleOptions, Single::new);

/// One process, one device: parameters, gradients and optimizer state are whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SingleOptions {}

/// Whole parameters in one place.
pub struct Single {
    placement: Placement,
    shards: Vec<Shard>,
    segments: Segments,
}

impl Single {
    /// Parameters go to the placement's device.
    ///
    /// # Errors
    /// When the run has more than one rank.
    pub fn new(_: SingleOptions, placement: Placement) -> Result<Self> {
        if placement.ranks.size() > 1 {
            return Err(Error::usage(format!(
                "sharder `single` works in one process, the run has {}",
                placement.ranks.size()
            ))
            .hint("use `sharder: sharder::fsdp()`"));
        }
        Ok(Self { placement, shards: Vec::new(), segments: Segments::default() })
    }
}

impl Sharder for Single {
    fn ranks(&self) -> Arc<dyn Collective> {
        Arc::clone(&self.placement.ranks)
    }

    fn layout(&self, segments: &[SegmentSpec]) -> Layout {
        let rows =
            segments.iter().map(|segment| segment.parameters.iter().map(|spec| spec.shape[0]).collect()).collect();
        let wire = self.placement.compute;
        Layout { rows, gathered: Gathering::InPlace, wire, copy_ranks: 1, offload: false }
    }

    fn install(&mut self, segments: &[SegmentSpec]) -> Result<()> {
        self.segments = Segments::of(segments);
        for (segment, specs) in segments.iter().enumerate() {
            for (parameter, spec) in specs.parameters.iter().enumerate() {
                let options = (self.placement.master_kind(spec), self.placement.device);
                let value = Tensor::zeros(spec.shape.as_slice(), options);
                self.shards.push(Shard { spec: spec.clone(), segment, parameter, first_row: 0, value, gradient: None });
            }
        }
        Ok(())
    }

    fn start_gather(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn gather(&mut self, segment: usize) -> Result<Vec<Tensor>> {
        let shards = &self.shards[self.segments.range(segment)?];
        Ok(shards.iter().map(|shard| shard.value.to_kind(self.placement.compute_kind(&shard.spec))).collect())
    }

    fn release(&mut self, _: usize) {}

    fn reduce(&mut self, segment: usize, gradients: Vec<Option<Tensor>>) -> Result<()> {
        self.segments.check_gradients(segment, &gradients)?;
        let shards = &mut self.shards[self.segments.range(segment)?];
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
        let range = self.segments.range(segment)?;
        let shard = &mut self.shards[range][parameter];
        if !shard.spec.trainable {
            return Ok(None);
        }
        let buffer = shard.gradient.get_or_insert_with(|| shard.value.zeros_like().to_kind(Kind::Float));
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
}

#[cfg(test)]
mod tests {
    use psann_core::model::ParameterSpec;
    use tch::Device;

    use super::*;

    fn installed(compute: Kind) -> Single {
        let spec = |name: &str, shape: &[i64]| ParameterSpec {
            name: name.into(),
            shape: shape.to_vec(),
            decays: true,
            trainable: true,
        };
        let segment = |name: &str, parameters| SegmentSpec { name: name.into(), parameters };
        let mut single = Single::new(SingleOptions::default(), Placement::alone(Device::Cpu, compute)).unwrap();
        let segments =
            [segment("embed", vec![spec("a", &[2, 2])]), segment("head", vec![spec("b", &[3]), spec("c", &[2, 1])])];
        single.install(&segments).unwrap();
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
        assert!(single.reduce(1, vec![None]).is_err());
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
