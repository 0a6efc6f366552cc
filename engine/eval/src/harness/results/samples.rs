//! Sample files: one line a document, with what was asked, what was answered, and what it is worth.

use psann_core::Result;
use serde_json::{Map, Value, json};

use super::super::suite::{Answer, Argument, Key};
use super::Results;
use crate::python::json::{float, line};

pub(super) fn lines<'r>(results: &'r Results<'_, '_>, task: usize) -> impl Iterator<Item = Result<String>> + 'r {
    let count = results.tasks.get(task).map_or(0, |result| result.documents.len());
    (0..count).map(move |document| sample(results, Key { task, document }).map(|sample| line(&sample) + "\n"))
}

fn sample(results: &Results<'_, '_>, key: Key) -> Result<Value> {
    let (planned, document) = results.suite.get(key)?;
    let result = &results.tasks[key.task].documents[key.document];
    let arguments = results.suite.ask(key)?.arguments;
    let arguments: Map<String, Value> =
        arguments.iter().enumerate().map(|(i, argument)| (format!("gen_args_{i}"), texts(argument))).collect();
    let answers: Vec<Value> =
        result.answers.iter().zip(&result.unscored).map(|(answer, unscored)| said(answer, *unscored)).collect();
    let metrics = &planned.task().settings().metrics;
    let mut sample = Map::from_iter(
        [
            ("doc_id", json!(document.id)),
            ("doc", Value::Object(document.fields.clone())),
            ("target", json!(document.question.target())),
            ("arguments", Value::Object(arguments)),
            ("resps", answers.iter().map(|answer| json!([answer])).collect()),
            ("filtered_resps", json!(answers)),
            ("filter", json!("none")),
            ("metrics", metrics.iter().map(|metric| json!(metric.name())).collect()),
            ("doc_hash", json!(result.doc_hash)),
            ("prompt_hash", json!(result.prompt_hash)),
            ("target_hash", json!(result.target_hash)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    sample.extend(
        metrics.iter().zip(&result.metrics).map(|(metric, measured)| (metric.name().to_owned(), measured.json())),
    );
    Ok(Value::Object(sample))
}

fn texts(argument: &Argument) -> Value {
    match argument {
        Argument::Pair { context, continuation } => json!({ "arg_0": context, "arg_1": continuation }),
        Argument::Whole { text } => json!({ "arg_0": text }),
        Argument::Prompt { context, generation } => json!({
            "arg_0": context,
            "arg_1": { "until": generation.until, "max_gen_toks": generation.tokens, "do_sample": false },
        }),
    }
}

/// As Python's `str` prints it.
fn said(answer: &Answer, unscored: bool) -> Value {
    let printed = |value: f64| if unscored { "0".to_owned() } else { float(value) };
    match answer {
        Answer::Score { log_likelihood, is_greedy } => {
            json!([printed(*log_likelihood), if *is_greedy { "True" } else { "False" }])
        }
        Answer::Rolling { log_likelihood } => json!(printed(*log_likelihood)),
        Answer::Generated { text } => json!(text),
    }
}
