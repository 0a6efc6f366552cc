//! Results as users read them, and as records keep them.

use psann_eval::harness::Results;
use psann_eval::harness::results::TaskResult;
use serde_json::{Map, Value, json};

use super::clean::{self, Subset};
use crate::display;

/// The table, what moves before accuracy does, and the scores of clean items.
pub fn text(results: &Results<'_, '_>, subsets: &[Subset]) -> String {
    let mut text = results.table();
    for part in [sensitive(results), clean::text(subsets)] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    for task in results.tasks() {
        text.push_str(&format!("{} task hash {}\n", task.name, task.task_hash));
    }
    text
}

fn sensitive(results: &Results<'_, '_>) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let mut rows = Vec::new();
    for task in results.tasks() {
        if let Some(summary) = &task.sensitive {
            rows.push([
                task.name.clone(),
                format!("{:.4}", summary.gold_log_probability),
                number(summary.margin),
                format!("{:.4}", summary.bits_per_byte),
                number(summary.centred_accuracy),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = ["", "log-probability of the right answer", "margin", "bits per byte of it", "accuracy above chance"];
    display::table(&head, &rows)
}

/// `piqa acc 0.5120 · hellaswag acc_norm 0.2950`: of each task the score by length, or its first.
pub fn summary(results: &Results<'_, '_>) -> String {
    let of_task = |task: &TaskResult| {
        let by_length = task.scores.iter().find(|(metric, _)| metric.name() == "acc_norm");
        let shown = by_length.or(task.scores.first());
        shown.map(|(metric, score)| format!("{} {} {:.4}", task.name, metric.name(), score.value))
    };
    results.tasks().iter().filter_map(of_task).collect::<Vec<_>>().join(" · ")
}

/// Every score by task and metric.
pub fn scores(results: &Results<'_, '_>) -> Value {
    let of_task = |task: &TaskResult| {
        let mut scores = Map::new();
        for (metric, score) in &task.scores {
            scores.insert(metric.name().to_owned(), json!(score.value));
            scores.insert(format!("{}_stderr", metric.name()), json!(score.standard_error));
        }
        scores.insert("task_hash".to_owned(), json!(task.task_hash));
        (task.name.clone(), Value::Object(scores))
    };
    Value::Object(results.tasks().iter().map(of_task).collect())
}
