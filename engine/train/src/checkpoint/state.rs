//! Where a run stands, beside its tensors: plain data in `state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use psann_core::plan::Component;
use psann_core::tokens::{Cursor, Skip};
use psann_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::record::Record;
use super::tensors::damaged;
use super::{STATE, way_out};

/// Version of the layout.
pub const VERSION: u32 = 2;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Steps done.
    pub step: u64,
    /// Steps in which weights moved; fewer where a guard decided against the move.
    #[serde(default)]
    pub updates: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Loss of the last step, in nats per target.
    #[serde(with = "number")]
    pub loss: f64,
    /// Seed of the run; everything random follows from it and the step.
    pub seed: u64,
    /// Where the data stream stands.
    pub cursor: Cursor,
    /// Batches that guards left out.
    #[serde(default)]
    pub left_out: Vec<Skip>,
    /// What guards remember.
    #[serde(default)]
    pub guard: Value,
    /// The model, as the registry makes it.
    pub model: Component,
    /// What decides the run's result; another run must not continue from here.
    pub identity: Value,
    /// The files beside this one, by path; filled in when they are written.
    #[serde(default)]
    pub files: BTreeMap<String, Record>,
}

/// What stands between the fields and their own hash, which is the last one.
const SEAL: &str = ",\n  \"hash\": \"";

impl State {
    /// Reads the state of the checkpoint in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        let text = fs::read_to_string(&path)
            .map_err(|e| Error::new(format!("cannot read `{}`", path.display())).because(e).hint(way_out(folder)))?;
        let fail = |what: &str| damaged(&path, what).hint(way_out(folder));
        let value: Value = serde_json::from_str(&text).map_err(|e| fail(&e.to_string()))?;
        // Before the layout is looked at: another version's may differ.
        match value.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            version => {
                let found = version.map_or("none".into(), |version| version.to_string());
                return Err(Error::new(format!(
                    "`{}` has version {found}, this program reads {VERSION}",
                    path.display()
                ))
                .hint("use the program that wrote it, or start over with `--fresh`"));
            }
        }
        let sealed = text.rsplit_once(SEAL).is_some_and(|(fields, hash)| hash == seal(fields));
        if !sealed {
            return Err(fail("its content is not what was saved"));
        }
        serde_json::from_value(value).map_err(|e| fail(&e.to_string()))
    }

    /// As JSON text, sealed with its own hash.
    pub fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::new("cannot write the state").because(e))?;
        let fields = text.trim_end_matches("\n}");
        Ok(format!("{fields}{SEAL}{}", seal(fields)))
    }

    /// Fails when this state belongs to a run with another `identity`, and says where the two differ.
    pub fn check_identity(&self, identity: &Value, folder: &Path) -> Result<()> {
        match difference(&self.identity, identity, String::new()) {
            None => Ok(()),
            Some((place, then, now)) => {
                let place = if place.is_empty() { "identity".to_owned() } else { place };
                Err(Error::usage(format!(
                    "`{}` belongs to another run: `{place}` was {then} and is {now}",
                    folder.display()
                ))
                .hint("undo the change, give the run another name, or start over with `--fresh`"))
            }
        }
    }
}

/// The end of a state's text.
fn seal(fields: &str) -> String {
    format!("{}\"\n}}\n", blake3::hash(fields.as_bytes()).to_hex())
}

/// Numbers that may be none: JSON has no NaN, and a run that ignores one must be able to go on from it.
mod number {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// The first place where two values differ, with what stands there.
fn difference(then: &Value, now: &Value, place: String) -> Option<(String, String, String)> {
    if then == now {
        return None;
    }
    if let (Value::Object(then), Value::Object(now)) = (then, now) {
        let mut keys: Vec<&String> = then.keys().chain(now.keys()).collect();
        keys.sort();
        return keys.into_iter().find_map(|key| {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            difference(then.get(key).unwrap_or(&Value::Null), now.get(key).unwrap_or(&Value::Null), inner)
        });
    }
    let show = |value: &Value| if value.is_null() { "not set".to_owned() } else { format!("`{value}`") };
    Some((place, show(then), show(now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn a_difference_is_found_by_its_path_whatever_the_order_of_keys() {
        let then = json!({ "model": { "d_model": 16, "n_layers": 2 }, "seed": 1 });
        assert_eq!(
            difference(&then, &json!({ "seed": 1, "model": { "n_layers": 2, "d_model": 16 } }), String::new()),
            None
        );
        let now = json!({ "model": { "d_model": 32, "n_layers": 2 }, "seed": 1 });
        let found = difference(&then, &now, String::new()).unwrap();
        assert_eq!(found, ("model.d_model".into(), "`16`".into(), "`32`".into()));
        let missing = difference(&then, &json!({ "model": { "d_model": 16, "n_layers": 2 } }), String::new()).unwrap();
        assert_eq!(missing, ("seed".into(), "`1`".into(), "not set".into()));
    }
}
