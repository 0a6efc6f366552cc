//! Guards: what becomes of a step whose loss or gradient is no finite number, or far above those of the steps before.
//!
//! A guard sees only numbers that are the same on all ranks, so all ranks decide alike without asking each other. It
//! remembers the steps it let pass; its memory is part of a checkpoint, so that a resumed run decides as the undisturbed
//! one did.

use std::collections::VecDeque;
use std::fmt;

use psann_core::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What to do about steps that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardOptions {
    /// When loss or gradient are no finite numbers.
    pub non_finite: Policy,
    /// When loss or norm of the gradient spike.
    pub spike: Policy,
    /// A spike is so many standard deviations above the mean of the last steps.
    #[schemars(range(min = 1.0))]
    pub deviations: f64,
    /// Steps that mean and deviation are taken over; spikes are looked for as soon as half of them are there.
    #[schemars(range(min = 2))]
    pub window: u64,
    /// With `"rewind"`: batches that are left out, the last being the one that went wrong.
    #[schemars(range(min = 1))]
    pub rewind_batches: u64,
    /// With `"rewind"`: how often, before the run stops.
    pub most_rewinds: u64,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            non_finite: Policy::Stop,
            spike: Policy::Ignore,
            deviations: 6.0,
            window: 128,
            rewind_batches: 1,
            most_rewinds: 10,
        }
    }
}

impl GuardOptions {
    /// Whether a run may have to go back to a checkpoint.
    pub fn rewinds(&self) -> bool {
        [self.non_finite, self.spike].contains(&Policy::Rewind)
    }
}

/// What to do about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Make it like any other.
    Ignore,
    /// Leave its gradient out and go on with the next batch.
    Skip,
    /// End the run with an error; nothing moves.
    Stop,
    /// Go back to the last checkpoint and leave the batch out.
    Rewind,
}

/// Why a guard fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// What to do.
    pub policy: Policy,
    /// `loss` or `gradient norm`.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
    /// Mean and standard deviation of the last steps, for spikes.
    pub usual: Option<(f64, f64)>,
}

impl Fired {
    /// As a line of the log.
    pub fn json(&self) -> Value {
        // JSON has no NaN: a value that is no number is written as text.
        let value = if self.value.is_finite() { json!(self.value) } else { json!(self.value.to_string()) };
        json!({
            "what": self.what,
            "value": value,
            "usual": self.usual.map(|(mean, deviation)| json!({ "mean": mean, "deviation": deviation })),
            "action": self.policy,
        })
    }
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.4}", self.what, self.value)?;
        match self.usual {
            Some((mean, deviation)) => write!(f, ", usually {mean:.4} ± {deviation:.4}"),
            None => Ok(()),
        }
    }
}

/// Watches loss and gradient norm of each step.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    options: GuardOptions,
    memory: Memory,
}

/// The last steps that passed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    losses: VecDeque<f64>,
    norms: VecDeque<f64>,
}

impl Guard {
    /// One that has seen nothing.
    pub fn new(options: GuardOptions) -> Self {
        Self { options, memory: Memory::default() }
    }

    /// One that remembers what [`Guard::state`] gave.
    ///
    /// # Errors
    /// When it did not.
    pub fn restore(options: GuardOptions, state: &Value) -> Result<Self> {
        if state.is_null() {
            return Ok(Self::new(options));
        }
        let memory = serde_json::from_value(state.clone())
            .map_err(|e| Error::new("the checkpoint's memory of the guards is damaged").because(e))?;
        Ok(Self { options, memory })
    }

    /// What it remembers.
    pub fn state(&self) -> Value {
        json!(self.memory)
    }

    /// Looks at a step; gives why it should not be made like any other, if so.
    pub fn judge(&mut self, loss: f64, norm: f64) -> Option<Fired> {
        let values = [("loss", loss), ("gradient norm", norm)];
        if let Some((what, value)) = values.into_iter().find(|(_, value)| !value.is_finite()) {
            return Some(Fired { policy: self.options.non_finite, what, value, usual: None });
        }
        if self.options.spike != Policy::Ignore {
            for ((what, value), past) in values.into_iter().zip([&self.memory.losses, &self.memory.norms]) {
                let Some((mean, deviation)) = self.usual(past) else { continue };
                if value > mean + self.options.deviations * deviation {
                    return Some(Fired { policy: self.options.spike, what, value, usual: Some((mean, deviation)) });
                }
            }
        }
        for ((_, value), past) in values.into_iter().zip([&mut self.memory.losses, &mut self.memory.norms]) {
            past.push_back(value);
            if past.len() as u64 > self.options.window {
                past.pop_front();
            }
        }
        None
    }

    /// Mean and standard deviation, once there is enough to tell.
    fn usual(&self, past: &VecDeque<f64>) -> Option<(f64, f64)> {
        if (past.len() as u64) < self.options.window.div_ceil(2).max(2) {
            return None;
        }
        let count = past.len() as f64;
        let mean = past.iter().sum::<f64>() / count;
        let variance = past.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Some((mean, variance.sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(spike: Policy) -> Guard {
        Guard::new(GuardOptions { spike, window: 8, deviations: 3.0, ..GuardOptions::default() })
    }

    /// Steps that vary a little.
    fn pass(guard: &mut Guard, steps: u64) {
        for step in 0..steps {
            let value = 2.0 + 0.1 * (step % 3) as f64;
            assert_eq!(guard.judge(value, value), None);
        }
    }

    #[test]
    fn a_spike_fires_once_enough_steps_were_seen_and_is_not_learned_from() {
        let mut early = guard(Policy::Skip);
        pass(&mut early, 3);
        assert_eq!(early.judge(50.0, 2.0), None, "three steps tell nothing yet");
        let mut guard = guard(Policy::Skip);
        pass(&mut guard, 8);
        for _ in 0..20 {
            let fired = guard.judge(3.0, 2.0).unwrap();
            assert_eq!((fired.policy, fired.what), (Policy::Skip, "loss"));
            assert_eq!(guard.judge(2.0, 9.0).unwrap().what, "gradient norm");
        }
        assert_eq!(guard.judge(2.1, 2.1), None);
        assert_eq!(guard.judge(0.1, 0.1), None, "low is no spike");
    }

    #[test]
    fn what_is_no_number_fires_always_and_a_spike_only_when_asked() {
        let mut guard = guard(Policy::Ignore);
        pass(&mut guard, 8);
        assert_eq!(guard.judge(1e9, 2.0), None);
        let fired = guard.judge(f64::NAN, 2.0).unwrap();
        assert_eq!((fired.policy, fired.json()["value"].as_str()), (Policy::Stop, Some("NaN")));
        assert_eq!(guard.judge(2.0, f64::INFINITY).unwrap().to_string(), "gradient norm inf");
    }

    #[test]
    fn a_restored_guard_decides_as_the_first_one() {
        let mut first = guard(Policy::Rewind);
        pass(&mut first, 7);
        let text = first.state().to_string();
        let mut second = Guard::restore(first.options, &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.judge(2.7, 2.0), second.judge(2.7, 2.0));
        assert!(Guard::restore(first.options, &json!({ "losses": 3 })).is_err());
    }
}
