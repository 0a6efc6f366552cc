//! The prompt configurations and runs of the golden set, as suites.

use std::sync::Arc;

use psann_core::Tokenizer;
use psann_eval::harness::task::{Settings, Wikitext};
use psann_eval::harness::{
    ChatRenderer, Encoder, Format, Limit, Row, Splits, Suite, SuiteOptions, Task, UserTask, built_in,
};
use psann_golden::{rows, set_directory};
use serde_json::Value;

use super::chat::Template;

pub const SET: &str = "lmeval";

/// The generation task of the golden set.
const QA: &str = r#"
task = "qa"
output_type = "generate_until"
test_split = "test"
doc_to_text = "Q: {{question}}\nA:"
doc_to_target = "{{answer}}"
version = 1.0

[generation_kwargs]
until = ["\n", "Q:"]
max_gen_toks = 24

[[metric_list]]
metric = "exact_match"
ignore_case = true
"#;

/// The entries of `prompts` or `runs`, sorted by name.
pub fn all(kind: &str) -> Vec<(String, Value)> {
    let cases = rows::value(SET, "t1/cases.json");
    let mut cases: Vec<(String, Value)> =
        cases[kind].as_object().unwrap().iter().map(|(name, case)| (name.clone(), case.clone())).collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!cases.is_empty());
    cases
}

pub fn tokenizer(name: &str) -> Box<dyn Tokenizer> {
    let folder = set_directory(SET).join("tokenizers").join(name);
    Box::new(psann_data::tokenizer::open(&folder).unwrap())
}

/// The chat template of a prompt configuration, with the special tokens of `tokenizer`.
pub fn template(prompts: &Value, tokenizer: &dyn Tokenizer) -> Option<Template> {
    let name = prompts["template"].as_str()?;
    let path = set_directory(SET).join("t1/templates").join(format!("{name}.jinja"));
    Some(Template::new(&std::fs::read_to_string(path).unwrap(), tokenizer))
}

/// The task as the golden set has it: its wikitext has a test split only.
pub fn task(name: &str) -> Box<dyn Task> {
    match name {
        "qa" => Box::new(UserTask::parse(QA, "qa.toml").unwrap()),
        "wikitext" => {
            let settings = Wikitext::default().0;
            Box::new(Wikitext(Settings { training_split: None, validation_split: None, ..settings }))
        }
        name => built_in(name).unwrap(),
    }
}

fn split(file: &str, most: Option<usize>) -> Vec<Row> {
    let name: Arc<str> = Arc::from(file);
    let row = |(index, row): (usize, Value)| match row {
        Value::Object(fields) => Row { fields, file: name.clone(), line: index + 1 },
        other => panic!("{file}: {other}"),
    };
    let lines = rows::lines(SET, &format!("data/{file}")).into_iter();
    lines.enumerate().map(row).take(most.unwrap_or(usize::MAX)).collect()
}

/// The documents of a task: its own splits, the evaluated one replaced by the edge cases where the configuration asks it.
fn splits(task: &dyn Task, prompts: &Value) -> Splits {
    let settings = task.settings();
    let evaluated = settings.evaluated_split();
    let edge = if prompts["edge"] == true { "edge_" } else { "" };
    let mut splits = Splits::new();
    splits.insert(evaluated.to_owned(), split(&format!("{edge}{}_{evaluated}.jsonl", settings.name), None));
    let train = format!("{}_train.jsonl", settings.name);
    if set_directory(SET).join("data").join(&train).is_file() {
        splits.insert("train".to_owned(), split(&train, prompts["train_rows"].as_u64().map(|rows| rows as usize)));
    }
    splits
}

pub fn options(prompts: &Value, bootstrap_iterations: usize) -> SuiteOptions {
    let samples = prompts["samples"].as_object().into_iter().flatten();
    let numbers = |list: &Value| list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    SuiteOptions {
        shots: Some(prompts["shots"].as_u64().unwrap() as usize),
        seed: prompts["fewshot_seed"].as_i64().unwrap(),
        limit: prompts["limit"].as_f64().map(|limit| Limit::new(limit).unwrap()),
        samples: samples.map(|(task, list)| (task.clone(), numbers(list))).collect(),
        format: match prompts["format"].as_str().unwrap() {
            "plain" => Format::Plain,
            "multi" => Format::MultiTurn,
            "single" => Format::SingleTurn,
            other => panic!("format `{other}`"),
        },
        system_instruction: prompts["system"].as_str().map(str::to_owned),
        bootstrap_iterations,
    }
}

pub fn suite<'a>(
    prompts: &Value,
    options: SuiteOptions,
    tokenizer: &'a dyn Tokenizer,
    max_length: usize,
    template: Option<&'a Template>,
) -> Suite<'a> {
    let tasks = prompts["tasks"].as_array().unwrap().iter().map(|name| {
        let task = task(name.as_str().unwrap());
        let splits = splits(task.as_ref(), prompts);
        (task, splits)
    });
    let encoder = Encoder::new(tokenizer, max_length).unwrap();
    let renderer = template.map(|template| template as &dyn ChatRenderer);
    Suite::new(tasks.collect(), options, encoder, renderer).unwrap()
}
