//! The learning rate as a pure function of the step, so that a checkpoint needs one integer to continue it.
//!
//! Steps are 1-based. Warm-up is `s / warmup` for `s <= warmup`; the decay runs over the steps after it (and after the
//! stable part, if there is one) with progress `x = (s − start) / (total − start)`, so the last step stands at the
//! floor. With floor 0 and a cosine this is the schedule of the reference trainer, bit for bit.

use psann_core::quantity::Span;
use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate moves over a run, as a factor on the optimizer's own rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Steps until the full rate is reached.
    pub warmup: Span,
    /// Shape of the way down.
    pub decay: Decay,
    /// Steps at the full rate between warm-up and decay. `"wsd"` fills it so that the last fifth of the run decays.
    pub stable: Option<Span>,
    /// Factor that the decay ends at.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup: Span::Share(0.01), decay: Decay::Cosine, stable: None, floor: 0.1 }
    }
}

/// Shape of the way from the full rate down to the floor, x from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// `(1 + cos πx) / 2`.
    #[default]
    Cosine,
    /// `1 − x`.
    Linear,
    /// `1 − √x`.
    Sqrt,
    /// Warm-up, stable, decay: the full rate until the last fifth of the run, then `1 − √x`.
    Wsd,
    /// The full rate to the end.
    None,
}

/// The part of a run that `wsd` decays over when `stable` does not say.
const WSD_DECAY: f64 = 0.2;

impl Schedule {
    /// A rate that never moves.
    pub fn constant() -> Self {
        Self { warmup: Span::Steps(0), decay: Decay::None, stable: None, floor: 1.0 }
    }

    /// The factor on the peak rate at 1-based `step` of `total`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup.steps(total);
        if step <= warmup {
            return step as f64 / warmup as f64;
        }
        let start = warmup + self.stable_steps(total);
        if self.decay == Decay::None || step <= start || total <= start {
            return 1.0;
        }
        let x = ((step - start) as f64 / (total - start) as f64).min(1.0);
        let fall = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * x).cos()),
            Decay::Linear => 1.0 - x,
            Decay::Sqrt | Decay::Wsd => 1.0 - x.sqrt(),
            Decay::None => 1.0,
        };
        self.floor + (1.0 - self.floor) * fall
    }

    /// Fails when warm-up and stable part do not leave room in a run of `total` steps.
    pub fn check(&self, total: u64) -> Result<()> {
        let (warmup, stable) = (self.warmup.steps(total), self.stable_steps(total));
        if warmup + stable <= total {
            return Ok(());
        }
        Err(Error::usage(format!("the schedule needs {warmup} warm-up and {stable} stable steps, the run has {total}"))
            .hint("give `schedule.warmup` and `schedule.stable` as shares of the run, such as `\"1%\"`"))
    }

    fn stable_steps(&self, total: u64) -> u64 {
        match (self.stable, self.decay) {
            (Some(span), _) => span.steps(total),
            (None, Decay::Wsd) => {
                let decay = (total as f64 * WSD_DECAY).round() as u64;
                total.saturating_sub(self.warmup.steps(total)).saturating_sub(decay)
            }
            (None, _) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(schedule: Schedule, total: u64) -> Vec<f64> {
        (1..=total).map(|step| schedule.factor(step, total)).collect()
    }

    #[test]
    fn cosine_with_floor_zero_is_the_references() {
        let schedule = Schedule { warmup: Span::Steps(3), floor: 0.0, ..Schedule::default() };
        let expected = [0.33333, 0.66667, 1.0, 0.95048, 0.81174, 0.61126, 0.38874, 0.18826, 0.04952, 0.0];
        for (found, expected) in factors(schedule, 10).into_iter().zip(expected) {
            assert!((found - expected).abs() < 5e-6, "{found} {expected}");
        }
    }

    #[test]
    fn every_decay_ends_at_the_floor_and_none_stays_up() {
        for decay in [Decay::Cosine, Decay::Linear, Decay::Sqrt, Decay::Wsd] {
            let schedule = Schedule { warmup: Span::Steps(2), decay, stable: None, floor: 0.1 };
            let found = factors(schedule, 20);
            assert_eq!(found[1], 1.0);
            assert!((found[19] - 0.1).abs() < 1e-12, "{decay:?} {found:?}");
            assert!(found[1..].windows(2).all(|pair| pair[1] <= pair[0]), "{decay:?} {found:?}");
        }
        assert_eq!(factors(Schedule::constant(), 5), [1.0; 5]);
    }

    #[test]
    fn wsd_holds_the_full_rate_until_the_last_fifth() {
        let schedule = Schedule { warmup: Span::Steps(10), decay: Decay::Wsd, stable: None, floor: 0.0 };
        let found = factors(schedule, 100);
        assert!(found[9..80].iter().all(|factor| *factor == 1.0));
        assert!((found[84] - 0.5).abs() < 1e-12, "a quarter of the decay: 1 − √¼");
        let stable = Schedule { stable: Some(Span::Share(0.5)), ..schedule };
        assert!(factors(stable, 100)[60] < 1.0);
    }

    #[test]
    fn a_schedule_longer_than_the_run_is_refused() {
        let schedule = Schedule { warmup: Span::Steps(30), ..Schedule::default() };
        assert!(schedule.check(30).is_ok());
        assert!(schedule.check(29).unwrap_err().to_string().contains("30 warm-up"));
    }
}
