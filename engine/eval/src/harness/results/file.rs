//! The result file.

use psann_core::Tokenizer;
use serde_json::{Map, Value, json};

use super::super::metrics::SensitiveSummary;
use super::super::prompt::Format;
use super::super::suite::{Limit, Planned};
use super::{Results, TaskResult, hash, sanitize};
use crate::python::json::{float, number};

/// What a result file tells about the run and only the caller knows. Everything here is given, so that equal runs write
/// equal files.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The kind of model.
    pub model: String,
    /// How it was opened.
    pub model_args: Value,
    /// What else is known of the model, as `model_num_parameters`, `model_dtype`, `model_revision`, `model_sha`.
    pub model_facts: Map<String, Value>,
    /// Documents at once.
    pub batch_size: Value,
    /// Where it ran.
    pub device: Option<String>,
    /// Commit of the program.
    pub git_hash: Option<String>,
    /// Seconds since 1970.
    pub date: f64,
    /// The machine, in words.
    pub environment: String,
    /// Version of transformers; ours has none.
    pub transformers_version: Option<String>,
    /// Version of the definitions.
    pub lm_eval_version: String,
    /// Where the model comes from.
    pub model_source: String,
    /// The model's name.
    pub model_name: String,
    /// The chat template, where it is used.
    pub chat_template: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What psann tells beside the reference, under the key `psann`.
    pub extra: Map<String, Value>,
}

pub(super) fn json(results: &Results<'_, '_>, run: &Run) -> Value {
    let suite = results.suite;
    let options = suite.options();
    let pairs: Vec<(&TaskResult, &Planned)> = results.tasks.iter().zip(suite.tasks()).collect();
    let mut sorted = pairs.clone();
    sorted.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let by_name = |pairs: &[(&TaskResult, &Planned)], value: &dyn Fn(&TaskResult, &Planned) -> Value| -> Value {
        Value::Object(pairs.iter().map(|(result, planned)| (result.name.clone(), value(result, planned))).collect())
    };
    let tokenizer = suite.encoder().tokenizer();
    let special = tokenizer.special();
    let digest = |text: Option<&str>| text.map(hash::text);
    let limit = match options.limit {
        None => Value::Null,
        Some(Limit::Count(count)) => json!(count),
        Some(Limit::Fraction(share)) => json!(share),
    };
    let mut config =
        Map::from_iter([("model".to_owned(), json!(run.model)), ("model_args".to_owned(), run.model_args.clone())]);
    config.extend(run.model_facts.clone());
    config.extend(
        [
            ("batch_size", run.batch_size.clone()),
            ("batch_sizes", json!([])),
            ("device", json!(run.device)),
            ("use_cache", Value::Null),
            ("limit", limit),
            ("bootstrap_iters", json!(options.bootstrap_iterations)),
            ("gen_kwargs", Value::Null),
            ("random_seed", json!(0)),
            ("numpy_seed", json!(1234)),
            ("torch_seed", json!(1234)),
            ("fewshot_seed", json!(options.seed)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let mut extra = Map::new();
    extra.insert("small_model_metrics".to_owned(), by_name(&pairs, &|result, _| sensitive(result.sensitive.as_ref())));
    extra.insert("unscored_requests".to_owned(), by_name(&pairs, &|result, _| json!(result.unscored)));
    extra.extend(run.extra.clone());
    let entries = [
        ("results", by_name(&pairs, &|result, _| scores(result))),
        ("group_subtasks", json!({})),
        ("configs", by_name(&sorted, &|_, planned| Value::Object(planned.task().config(planned.shots())))),
        ("versions", by_name(&sorted, &|_, planned| number(planned.task().settings().version))),
        ("n-shot", by_name(&sorted, &|_, planned| json!(planned.shots()))),
        ("higher_is_better", by_name(&sorted, &|_, planned| directions(planned))),
        (
            "n-samples",
            by_name(
                &pairs,
                &|result, planned| json!({ "original": planned.original(), "effective": result.documents.len() }),
            ),
        ),
        ("config", Value::Object(config)),
        ("git_hash", json!(run.git_hash)),
        ("date", number(run.date)),
        ("pretty_env_info", json!(run.environment)),
        ("transformers_version", json!(run.transformers_version)),
        ("lm_eval_version", json!(run.lm_eval_version)),
        ("upper_git_hash", Value::Null),
        ("tokenizer_pad_token", token(tokenizer, special.pad)),
        ("tokenizer_eos_token", token(tokenizer, special.eos)),
        ("tokenizer_bos_token", token(tokenizer, special.bos)),
        ("eot_token_id", json!(special.eos)),
        ("max_length", json!(suite.encoder().max_length())),
        ("task_hashes", by_name(&pairs, &|result, _| json!(result.task_hash))),
        ("model_source", json!(run.model_source)),
        ("model_name", json!(run.model_name)),
        ("model_name_sanitized", json!(sanitize(&run.model_name))),
        ("system_instruction", json!(options.system_instruction)),
        ("system_instruction_sha", json!(digest(options.system_instruction.as_deref()))),
        ("fewshot_as_multiturn", json!(options.format == Format::MultiTurn)),
        ("chat_template", json!(run.chat_template)),
        ("chat_template_sha", json!(digest(run.chat_template.as_deref()))),
        ("total_evaluation_time_seconds", json!(float(run.seconds))),
        ("psann", Value::Object(extra)),
    ];
    Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn scores(result: &TaskResult) -> Value {
    let mut scores = Map::from_iter([
        ("name".to_owned(), json!(result.name)),
        ("alias".to_owned(), json!(result.name)),
        ("sample_len".to_owned(), json!(result.documents.len())),
    ]);
    for (metric, score) in &result.scores {
        scores.insert(format!("{},none", metric.name()), number(score.value));
        scores.insert(format!("{}_stderr,none", metric.name()), score.standard_error.map_or(json!("N/A"), number));
    }
    Value::Object(scores)
}

fn sensitive(summary: Option<&SensitiveSummary>) -> Value {
    summary.map_or(Value::Null, |summary| {
        json!({
            "gold_log_probability": number(summary.gold_log_probability),
            "margin": summary.margin.map(number),
            "bits_per_byte": number(summary.bits_per_byte),
            "centred_accuracy": summary.centred_accuracy.map(number),
        })
    })
}

fn directions(planned: &Planned) -> Value {
    let metrics = planned.task().settings().metrics.iter();
    Value::Object(metrics.map(|metric| (metric.name().to_owned(), json!(metric.higher_is_better()))).collect())
}

/// A special token as its spelling and its id in words.
fn token(tokenizer: &dyn Tokenizer, id: Option<u32>) -> Value {
    match id {
        Some(id) => json!([tokenizer.spelling(id), id.to_string()]),
        None => json!([null, "None"]),
    }
}
