//! Whether two results differ by more than chance.
//!
//! Two models that answered the same documents are compared document by document: most documents are easy for both or hard
//! for both and tell nothing, so a paired test sees differences that two separate standard errors hide. Accuracies are
//! tested by McNemar's exact test, everything else by a paired bootstrap; the p-values of several tasks are corrected
//! together (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979).
//!
//! Only what was asked equally is compared: task hashes must agree.

use std::collections::BTreeMap;

use psann_core::{Error, Result};
use serde_json::Value;

mod agreement;
mod paired;
mod text;

use agreement::same_questions;
use paired::{Kind, Pairs, holm};

/// One of two results.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its name in the comparison.
    pub name: &'a str,
    /// The result file.
    pub results: &'a Value,
    /// The lines of its sample files, by task.
    pub samples: &'a BTreeMap<String, Vec<Value>>,
}

/// What the comparison of two results says.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The names of the two.
    pub names: [String; 2],
    /// Metric by metric, in the order of the first result.
    pub differences: Vec<Difference>,
    /// Tasks that only one of them has.
    pub skipped: Vec<String>,
}

/// One metric of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// Documents compared.
    pub documents: usize,
    /// The value of both.
    pub values: [f64; 2],
    /// Whether a larger value is a better one.
    pub higher_is_better: bool,
    /// The interval that holds 95 % of the bootstrapped differences, second less first.
    pub interval: [f64; 2],
    /// How likely chance alone gives a difference as large.
    pub p: f64,
    /// The same, corrected for the number of tasks; of one metric per task.
    pub corrected_p: Option<f64>,
    /// The smallest difference that documents like these would show four times in five.
    pub detectable: f64,
    /// Which documents only one of them has right; of metrics that are right or wrong.
    pub flipped: Option<Flipped>,
}

/// Documents that changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flipped {
    /// Right in the second only.
    pub gained: Vec<u64>,
    /// Right in the first only.
    pub lost: Vec<u64>,
}

/// Compares two results. Equal inputs give equal outputs: the bootstrap has a fixed seed.
///
/// # Errors
/// When they have no task in common, were asked different things, or lack their sample files.
pub fn compare(first: Side<'_>, second: Side<'_>, replicates: usize) -> Result<Comparison> {
    let tasks = |side: &Side<'_>| -> Vec<String> {
        side.results["results"].as_object().map_or(Vec::new(), |tasks| tasks.keys().cloned().collect())
    };
    let (of_first, of_second) = (tasks(&first), tasks(&second));
    let common: Vec<&String> = of_first.iter().filter(|task| of_second.contains(task)).collect();
    if common.is_empty() {
        return Err(Error::usage(format!("`{}` and `{}` have no task in common", first.name, second.name)));
    }
    let mut differences = Vec::new();
    for task in &common {
        same_questions(task, &first, &second)?;
        let from = differences.len();
        for metric in metrics(task, &first) {
            differences.push(difference(task, &metric, &first, &second, replicates)?);
        }
        // One metric speaks for the task: the one by length where there is one.
        let of_task = &mut differences[from..];
        let speaker = of_task.iter().position(|difference| difference.metric == "acc_norm").unwrap_or(0);
        if let Some(speaker) = of_task.get_mut(speaker) {
            speaker.corrected_p = Some(speaker.p);
        }
    }
    let uncorrected: Vec<f64> = differences.iter().filter_map(|difference| difference.corrected_p).collect();
    let mut corrected = holm(&uncorrected).into_iter();
    for difference in differences.iter_mut().filter(|difference| difference.corrected_p.is_some()) {
        difference.corrected_p = corrected.next();
    }
    let mut skipped: Vec<String> =
        of_first.iter().chain(&of_second).filter(|task| !common.contains(task)).cloned().collect();
    skipped.sort();
    Ok(Comparison { names: [first.name.to_owned(), second.name.to_owned()], differences, skipped })
}

/// The metrics of a task's sample lines.
fn metrics(task: &str, side: &Side<'_>) -> Vec<String> {
    let first = side.samples.get(task).and_then(|samples| samples.first());
    let names = first.and_then(|sample| sample["metrics"].as_array());
    names.map_or(Vec::new(), |names| names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

fn difference(task: &str, metric: &str, first: &Side<'_>, second: &Side<'_>, replicates: usize) -> Result<Difference> {
    let higher_is_better = first.results["higher_is_better"][task][metric].as_bool().unwrap_or(true);
    let values = |side: &Side<'_>| -> Result<Vec<(f64, f64)>> {
        side.samples[task].iter().map(|sample| value(task, metric, side.name, sample)).collect()
    };
    let pairs = Pairs::new(Kind::of(metric), values(first)?, values(second)?);
    let drawn = pairs.bootstrap(replicates);
    let flipped = pairs.is_right_or_wrong().then(|| {
        let mut flipped = Flipped::default();
        for (sample, change) in first.samples[task].iter().zip(pairs.changes()) {
            let number = sample["doc_id"].as_u64().unwrap_or_default();
            if change > 0.0 {
                flipped.gained.push(number);
            } else if change < 0.0 {
                flipped.lost.push(number);
            }
        }
        flipped
    });
    let p = match &flipped {
        Some(flipped) => paired::mcnemar(flipped.gained.len() as u64, flipped.lost.len() as u64),
        None => drawn.p,
    };
    Ok(Difference {
        task: task.to_owned(),
        metric: metric.to_owned(),
        documents: pairs.len(),
        values: pairs.values(),
        higher_is_better,
        interval: drawn.interval,
        p,
        corrected_p: None,
        detectable: drawn.detectable,
        flipped,
    })
}

/// A document's value and weight.
fn value(task: &str, metric: &str, name: &str, sample: &Value) -> Result<(f64, f64)> {
    let found = &sample[metric];
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let read = match found.as_array().map(Vec::as_slice) {
        Some([value, weight]) => number(value).zip(number(weight)),
        Some(_) => None,
        None => number(found).map(|value| (value, 1.0)),
    };
    read.ok_or_else(|| {
        Error::new(format!(
            "the sample file of task `{task}` in `{name}` has no `{metric}` for document {}",
            sample["doc_id"]
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Results of task `own` with these accuracies.
    fn result(hash: &str, shots: u64, right: &[u8]) -> (Value, BTreeMap<String, Vec<Value>>) {
        let sample = |(number, right): (usize, &u8)| {
            json!({
                "doc_id": number, "metrics": ["acc"], "acc": f64::from(*right),
                "doc_hash": format!("d{number}"), "prompt_hash": format!("{hash}{number}"), "target_hash": "t",
            })
        };
        let results = json!({
            "results": {"own": {}}, "task_hashes": {"own": hash}, "n-shot": {"own": shots},
            "higher_is_better": {"own": {"acc": true}},
        });
        (results, [("own".to_owned(), right.iter().enumerate().map(sample).collect())].into())
    }

    fn compared(
        first: &(Value, BTreeMap<String, Vec<Value>>),
        second: &(Value, BTreeMap<String, Vec<Value>>),
    ) -> Result<Comparison> {
        compare(
            Side { name: "a.json", results: &first.0, samples: &first.1 },
            Side { name: "b.json", results: &second.0, samples: &second.1 },
            2000,
        )
    }

    #[test]
    fn flipped_documents_decide() {
        let first = result("h", 0, &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let second = result("h", 0, &[1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
        let comparison = compared(&first, &second).unwrap();
        let [difference] = comparison.differences.as_slice() else { panic!() };
        let flipped = difference.flipped.as_ref().unwrap();
        assert_eq!((flipped.gained.as_slice(), flipped.lost.as_slice()), (&[2, 3, 4, 5, 6, 7, 8, 9][..], &[1][..]));
        // Nine flips, one of them backwards: 2 · (1 + 9) / 2⁹.
        assert!((difference.p - 20.0 / 512.0).abs() < 1e-12);
        assert_eq!(difference.corrected_p, Some(difference.p));
        insta::assert_snapshot!(comparison, @r"
        first: a.json
        second: b.json

        task  metric   first  second  difference  95 % of differences       p  p, corrected
        own   acc     0.2500  0.8333     +0.5833   +0.1667 to +0.9167  0.0391        0.0391

        own acc: the second is better
          right in the second only (8): 2, 3, 4, 5, 6, 7, 8, 9
          right in the first only (1): 1
        ");
    }

    #[test]
    fn different_questions_are_not_compared() {
        let (first, second) = (result("h", 0, &[1, 0]), result("g", 5, &[1, 0]));
        let error = compared(&first, &second).unwrap_err();
        insta::assert_snapshot!(error, @"`a.json` and `b.json` were asked different things in task `own`: its hashes are h and g");
        insta::assert_snapshot!(error.hint_text().unwrap_or_default(), @"what differs: the number of examples (0 and 5)");
        let short = result("h", 0, &[1]);
        insta::assert_snapshot!(compared(&first, &short).unwrap_err(), @"the sample files of task `own` have 2 and 1 documents");
    }
}
