//! Cases of tensors: folders with a `config.json`, whose tolerances stand in the set's `index.json`. Tests take every case
//! of a kind, so that further cases need no code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::set_directory;

/// One case of a set.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// Where its files are.
    pub directory: PathBuf,
    /// Its own description.
    pub config: Value,
    /// Tolerance by group.
    pub tolerances: BTreeMap<String, f64>,
}

/// A named pair to compare: name in the file, expected, found.
pub type Pair = (String, Tensor, Tensor);

/// All cases of `set`, sorted by name.
pub fn all_cases(set: &str) -> Vec<Case> {
    let folder = set_directory(set);
    let read = |path: &Path| -> Value {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let index = read(&folder.join("index.json"));
    let mut directories: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.map(|entry| entry.path()).unwrap_or_default())
        .filter(|path| path.join("config.json").is_file())
        .collect();
    directories.sort();
    let case = |directory: PathBuf| {
        let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let entry = index["cases"].as_array().and_then(|cases| cases.iter().find(|case| case["name"] == name.as_str()));
        let groups = entry.and_then(|entry| entry["tolerance"].as_object()).cloned().unwrap_or_default();
        let tolerances = groups.iter().map(|(group, of)| (group.clone(), of["tol"].as_f64().unwrap_or(0.0))).collect();
        Case { config: read(&directory.join("config.json")), name, directory, tolerances }
    };
    directories.into_iter().map(case).collect()
}

/// The cases of one kind, sorted by name.
pub fn cases(set: &str, kind: &str) -> Vec<Case> {
    all_cases(set).into_iter().filter(|case| case.kind() == kind).collect()
}

/// The cases whose kind is none of `built`, sorted by name; each is listed as skipped.
pub fn skip_unbuilt(set: &str, built: &[&str]) -> Vec<String> {
    let unbuilt = all_cases(set).into_iter().filter(|case| !built.contains(&case.kind()));
    let skipped = unbuilt.map(|case| {
        skip(&case, &format!("kind `{}` is not built", case.kind()));
        case.name
    });
    skipped.collect()
}

/// Says which case is left out and why: nothing is skipped silently.
#[expect(clippy::print_stderr, reason = "the output of a test")]
pub fn skip(case: &Case, reason: &str) {
    eprintln!("skipped golden case {}: {reason}", case.name);
}

impl Case {
    /// What the case tests.
    pub fn kind(&self) -> &str {
        self.config["kind"].as_str().unwrap_or_default()
    }

    /// The tensors of `FILE.safetensors`.
    pub fn read(&self, file: &str) -> BTreeMap<String, Tensor> {
        let path = self.directory.join(file).with_extension("safetensors");
        let tensors = Tensor::read_safetensors(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        tensors.into_iter().collect()
    }

    /// Compares by the rule of the index: per tensor `max|x − ref| ≤ tol · max(max|ref|, 0.01 · G)` with G the largest
    /// |ref| of the tensor's group; for integers the share of entries that may differ.
    ///
    /// # Errors
    /// Lists every tensor that is off, the worst first.
    pub fn compare(&self, pairs: &[Pair]) -> Result<(), String> {
        let mut largest: BTreeMap<String, f64> = BTreeMap::new();
        for (name, expected, _) in pairs {
            let most = largest.entry(group(name)).or_insert(0.0);
            *most = most.max(magnitude(expected));
        }
        let mut off: Vec<(f64, String)> = Vec::new();
        for (name, expected, found) in pairs {
            let group = group(name);
            let Some(tolerance) = self.tolerances.get(&group) else {
                return Err(format!("{}: no tolerance for group `{group}` of `{name}`", self.name));
            };
            if expected.size() != found.size() {
                off.push((f64::INFINITY, format!("{name}: shape {:?}, expected {:?}", found.size(), expected.size())));
                continue;
            }
            if expected.numel() == 0 {
                continue;
            }
            let (difference, allowed) = if matches!(expected.kind(), Kind::Int64 | Kind::Int | Kind::Uint8) {
                let differing = expected.not_equal_tensor(found).to_kind(Kind::Double).mean(Kind::Double);
                (number(&differing), *tolerance)
            } else {
                (distance(expected, found), tolerance * magnitude(expected).max(0.01 * largest[&group]))
            };
            if difference.is_nan() || difference > allowed {
                off.push((
                    difference / allowed.max(1e-300),
                    format!("{name}: off by {difference:.3e}, allowed {allowed:.3e}"),
                ));
            }
        }
        if off.is_empty() {
            return Ok(());
        }
        off.sort_by(|a, b| b.0.total_cmp(&a.0));
        let lines: Vec<String> = off.into_iter().map(|(_, line)| format!("  {line}")).collect();
        Err(format!("{}: {} of {} tensors are off\n{}", self.name, lines.len(), pairs.len(), lines.join("\n")))
    }
}

/// The word after `out.`, or the first word (`grad`, `weights`).
fn group(name: &str) -> String {
    let rest = name.strip_prefix("out.").unwrap_or(name);
    rest.split('.').next().unwrap_or_default().to_owned()
}

fn number(tensor: &Tensor) -> f64 {
    tensor.double_value(&[])
}

/// Largest finite absolute value.
fn magnitude(tensor: &Tensor) -> f64 {
    if tensor.numel() == 0 {
        return 0.0;
    }
    let wide = tensor.to_kind(Kind::Double);
    number(&wide.abs().where_self(&wide.isfinite(), &wide.zeros_like()).max())
}

/// Largest difference; infinities of one sign are equal.
fn distance(expected: &Tensor, found: &Tensor) -> f64 {
    let (expected, found) = (expected.to_kind(Kind::Double), found.to_kind(Kind::Double));
    let same = expected.eq_tensor(&found);
    let difference = (&expected - &found).abs();
    number(&difference.where_self(&same.logical_not(), &expected.zeros_like()).max())
}

/// The cases of one kind whose model `waveresnet` builds, with its options; the others are listed as skipped.
pub fn waveresnet_cases(set: &str, kind: &str) -> Vec<(Case, Value)> {
    let built = |case: Case| match waveresnet_options(&case.config) {
        Ok(options) => Some((case, options)),
        Err(reason) => {
            skip(&case, &reason);
            None
        }
    };
    cases(set, kind).into_iter().filter_map(built).collect()
}

/// The options of model `waveresnet` for the `model` of a case's description.
///
/// # Errors
/// Says what of it is not built, when something is not.
pub fn waveresnet_options(config: &Value) -> Result<Value, String> {
    let model = &config["model"];
    let architecture = model["architecture"].as_str().unwrap_or_default();
    if !["waveresnet", "respsann"].contains(&architecture) {
        return Err(format!("architecture `{architecture}` is not built"));
    }
    if model["spectral"].is_object() || model["geometry"].is_object() {
        return Err("spectral gates and sparse geometry are not built".into());
    }
    if model["residual"]["drop_path"].as_f64().unwrap_or(0.0) != 0.0 {
        return Err("stochastic depth is not built".into());
    }
    let activation = &model["activation"];
    let mut options = json!({
        "vocab": model["vocab_size"],
        "d_model": model["d_model"],
        "n_layers": model["n_layers"],
        "n_heads": model["n_heads"],
        "d_mlp": model["d_mlp"],
        "dropout": model["dropout"],
        "positional_encoding": model["positional_encoding"],
        "rope_theta": model["rope_theta"],
        "norm": model["residual"]["norm"].as_str().unwrap_or("rms"),
        "alpha": model["residual"]["alpha_init"].as_f64().unwrap_or(1.0),
    });
    match activation["kind"].as_str() {
        Some("psann") => {
            let bounds = &activation["bounds"];
            options["activation"] = json!("sine");
            options["sine"] = json!({
                "amplitude": activation["amplitude_init"],
                "amplitude_std": activation["amplitude_std"],
                "frequency": activation["frequency_init"],
                "frequency_std": activation["frequency_std"],
                "decay": activation["decay_init"],
                "decay_std": activation["decay_std"],
                "learnable": activation["learnable"],
                "decay_mode": activation["decay_mode"],
                "amplitude_bounds": bounds["amplitude"],
                "frequency_bounds": bounds["frequency"],
                "decay_bounds": bounds["decay"],
            });
        }
        Some("gelu") => options["activation"] = json!("gelu"),
        other => return Err(format!("activation {other:?} is not built")),
    }
    let temporal = &model["temporal"];
    if let Some(mode) = temporal["mode"].as_str().filter(|mode| *mode != "disabled") {
        options["wave"] = json!({
            "mode": mode.replace('-', "_"),
            "kernel": temporal["kernel_size"],
            "dilation_growth": temporal["dilation_growth"],
            "dropout": temporal["dropout"],
            // The reference pads on both sides.
            "padding": "same",
        });
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(tolerance: f64) -> Case {
        Case {
            name: "made".into(),
            directory: PathBuf::new(),
            config: json!({ "kind": "model" }),
            tolerances: [("grad".to_owned(), tolerance), ("tokens".to_owned(), 0.5)].into(),
        }
    }

    fn pair(name: &str, expected: &[f32], found: &[f32]) -> Pair {
        (name.into(), Tensor::from_slice(expected), Tensor::from_slice(found))
    }

    #[test]
    fn a_small_tensor_is_measured_against_its_group() {
        let large = pair("grad.a", &[100.0], &[100.0]);
        let close = case(0.01).compare(&[large, pair("grad.b", &[0.001], &[0.005])]);
        assert_eq!(close, Ok(()));
        let large = pair("grad.a", &[100.0], &[100.0]);
        assert!(case(0.01).compare(&[large, pair("grad.b", &[0.001], &[0.02])]).unwrap_err().contains("grad.b"));
        assert!(case(0.01).compare(&[pair("grad.a", &[1.0], &[f32::NAN])]).is_err());
        assert!(case(0.01).compare(&[pair("other.a", &[1.0], &[1.0])]).is_err());
    }

    #[test]
    fn integers_may_differ_in_a_share_of_their_entries() {
        let pair =
            |found: &[i64]| ("out.tokens".to_owned(), Tensor::from_slice(&[1_i64, 2]), Tensor::from_slice(found));
        assert_eq!(case(0.0).compare(&[pair(&[1, 3])]), Ok(()));
        assert!(case(0.0).compare(&[pair(&[4, 3])]).is_err());
    }

    #[test]
    fn the_bundled_set_has_cases_of_every_kind_that_tests_take() {
        if std::env::var_os("PSANN_FIXTURES").is_some() {
            return;
        }
        for kind in
            ["pieces", "model", "init", "train", "generate", "sampling", "optim", "optim8_bnb", "optim8_nearest"]
        {
            assert!(!cases("psann", kind).is_empty(), "{kind}");
        }
    }
}
