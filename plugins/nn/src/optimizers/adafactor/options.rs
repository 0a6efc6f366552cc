//! Options of Adafactor, and the numbers that follow from them and the step.

use psann_core::optimizer::Step;
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optimizers::Groups;

/// Adafactor: second moments of matrices as one row and one column, updates clipped by their own size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdafactorOptions {
    /// Whose rule is followed: PyTorch's, or that of fairseq and Hugging Face.
    pub rule: Rule,
    /// Learning rate at the top of the schedule; not used with `relative_step`.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Power of the step by which the second moment forgets: it takes in `step ^ beta2_decay` of a new square (fairseq's
    /// `decay_rate`).
    #[schemars(range(max = 0.0))]
    pub beta2_decay: f64,
    /// Smallest root of a second moment under rule `torch` (by default fp32's epsilon), or what is added to squared
    /// gradients under rule `fairseq` (by default 1e-30); and the smallest size of a weight that scales a step.
    pub eps: (Option<f64>, f64),
    /// Greatest root mean square of an update (fairseq's `clip_threshold`).
    pub d: f64,
    /// Weight decay per unit of learning rate.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// What decays.
    pub groups: Groups,
    /// Rule `fairseq`: the rate is `min(0.01, 1 / root of the step)` in place of `lr`.
    pub relative_step: bool,
    /// Rule `fairseq`: the rate is a share of the size of the weights; rule `torch` always does so.
    pub scale_parameter: bool,
    /// With `relative_step`: the rate begins at 1e-6 and grows by as much each step.
    pub warmup_init: bool,
    /// Rule `fairseq`: decay of a running mean of updates, which costs 4 bytes a weight; none by default.
    pub beta1: Option<f64>,
}

impl Default for AdafactorOptions {
    fn default() -> Self {
        Self {
            rule: Rule::Torch,
            lr: 1e-2,
            beta2_decay: -0.8,
            eps: (None, 1e-3),
            d: 1.0,
            weight_decay: 0.0,
            groups: Groups::Matrices,
            relative_step: false,
            scale_parameter: false,
            warmup_init: false,
            beta1: None,
        }
    }
}

/// Whose Adafactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// `torch.optim.Adafactor`.
    Torch,
    /// `transformers.Adafactor`, which follows fairseq.
    Fairseq,
}

/// Top of the relative rate.
const RELATIVE_PEAK: f64 = 1e-2;

impl AdafactorOptions {
    pub(super) fn check(&self) -> Result<()> {
        let others = [
            ("relative_step", self.relative_step),
            ("scale_parameter", self.scale_parameter),
            ("warmup_init", self.warmup_init),
            ("beta1", self.beta1.is_some()),
        ];
        if let Some((name, _)) = others.iter().find(|(_, set)| *set && self.rule == Rule::Torch) {
            return Err(Error::usage(format!("`{name}` belongs to another rule")).hint("set `rule` to \"fairseq\""));
        }
        if self.warmup_init && !self.relative_step {
            return Err(Error::usage("`warmup_init` shapes the relative rate").hint("set `relative_step` too"));
        }
        if self.beta1.is_some_and(|beta1| !(0.0..1.0).contains(&beta1)) {
            return Err(Error::usage("`beta1` must be at least 0 and below 1"));
        }
        let positive = [("d", self.d), ("eps", self.eps.1), ("eps", self.eps.0.unwrap_or(1.0))];
        match positive.iter().find(|(_, value)| *value <= 0.0) {
            Some((name, value)) => Err(Error::usage(format!("`{name}` holds {value}; it must be above 0"))),
            None => Ok(()),
        }
    }

    pub(super) fn peak(&self) -> f64 {
        if self.relative_step { RELATIVE_PEAK } else { self.lr }
    }

    /// Share of this step's squares in the second moment.
    pub(super) fn weight_of_step(&self, step: Step) -> f64 {
        (step.number as f64).powf(self.beta2_decay)
    }

    /// What is added to squared gradients.
    pub(super) fn added(&self) -> f64 {
        match self.rule {
            Rule::Torch => 0.0,
            Rule::Fairseq => self.eps.0.unwrap_or(1e-30),
        }
    }

    /// Smallest root of a second moment.
    pub(super) fn least_root(&self) -> f64 {
        match self.rule {
            Rule::Torch => self.eps.0.unwrap_or(f64::from(f32::EPSILON)),
            Rule::Fairseq => 0.0,
        }
    }

    pub(super) fn needs_size_of_weights(&self) -> bool {
        self.rule == Rule::Torch || self.scale_parameter
    }

    /// The factor on weights, and the rate before the size of the update is known. `size` is the weights' root mean square.
    pub(super) fn move_of_step(&self, step: Step, size: f64) -> (f64, f64) {
        let scale = if self.needs_size_of_weights() { size.max(self.eps.1) } else { 1.0 };
        let relative = 1.0 / (step.number as f64).sqrt();
        match self.rule {
            Rule::Torch => {
                let lr = self.lr * step.rate;
                (1.0 - lr * self.weight_decay, scale * lr.min(relative))
            }
            Rule::Fairseq => {
                let top = if self.warmup_init { 1e-6 * step.number as f64 } else { RELATIVE_PEAK };
                let lr = if self.relative_step { top.min(relative) } else { self.lr };
                let rate = lr * step.rate * scale;
                (1.0 - rate * self.weight_decay, rate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_one_rule_are_refused_under_the_other() {
        let refused = |options: AdafactorOptions| options.check().unwrap_err().to_string();
        assert!(refused(AdafactorOptions { beta1: Some(0.9), ..Default::default() }).contains("beta1"));
        assert!(refused(AdafactorOptions { relative_step: true, ..Default::default() }).contains("relative_step"));
        let fairseq = AdafactorOptions { rule: Rule::Fairseq, ..Default::default() };
        assert!(refused(AdafactorOptions { warmup_init: true, ..fairseq.clone() }).contains("warmup_init"));
        assert!(refused(AdafactorOptions { beta1: Some(1.0), ..fairseq.clone() }).contains("beta1"));
        assert!(refused(AdafactorOptions { d: 0.0, ..fairseq.clone() }).contains("`d`"));
        assert!(fairseq.check().is_ok());
    }

    #[test]
    fn the_relative_rate_warms_up_and_falls_with_the_root_of_the_step() {
        let options =
            AdafactorOptions { rule: Rule::Fairseq, relative_step: true, warmup_init: true, ..Default::default() };
        let rate = |number: i64| options.move_of_step(Step { number, rate: 1.0, gradient_scale: 1.0 }, 0.0).1;
        assert!((rate(3) - 3e-6).abs() < 1e-12);
        assert!((rate(1_000_000) - 1e-3).abs() < 1e-12);
    }
}
