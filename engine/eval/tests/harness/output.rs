//! Files and table against those that the reference wrote. What cannot be equal: addresses and source texts of Python
//! functions in the descriptions of tasks, which are masked, and what the caller tells about the run (time, commit, name
//! of the model, versions), which is taken from the reference's file.

use std::fs;
use std::sync::Arc;

use psann_eval::harness::task::{Hellaswag, Lambada, Piqa, Source, Wikitext, Winogrande};
use psann_eval::harness::{
    Answer, Answers, Encoder, Format, Key, Limit, Results, Row, Run, Splits, Suite, SuiteOptions, Task,
};
use psann_eval::python::json::indented;
use psann_golden::{rows, set_directory};
use serde_json::{Map, Value, json};

use super::cases::{self, SET};

const FOLDER: &str = "t1/example_output";

/// The task with its documents, which the reference took from local files.
fn local(name: &str, kwargs: &Value) -> (Box<dyn Task>, Splits) {
    let mut task = cases::task(name);
    let files = kwargs["data_files"].as_object().unwrap().clone();
    let mut splits = Splits::new();
    for (split, path) in &files {
        let file = path.as_str().unwrap().replace("DATA/", "data/");
        let lines = rows::lines(SET, &file).into_iter().enumerate();
        let place: Arc<str> = Arc::from(file.as_str());
        let row = |(index, line): (usize, Value)| Row {
            fields: line.as_object().unwrap().clone(),
            file: place.clone(),
            line: index + 1,
        };
        splits.insert(split.clone(), lines.map(row).collect());
    }
    let mut settings = task.settings().clone();
    settings.source = Source { path: "json".into(), name: None, files, definition: format!("TASKS/{name}.yaml") };
    task = match name {
        "wikitext" => Box::new(Wikitext(settings)),
        "lambada_openai" => Box::new(Lambada(settings)),
        "hellaswag" => Box::new(Hellaswag(settings)),
        "piqa" => Box::new(Piqa(settings)),
        "winogrande" => Box::new(Winogrande(settings)),
        other => panic!("task `{other}`"),
    };
    (task, splits)
}

/// Functions of Python become what stands for them in ours.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("def ") || text.starts_with("<function ") => {
            *value = json!("<built in>");
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| mask(value)),
        _ => {}
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(set_directory(SET).join(FOLDER).join(file)).unwrap()
}

/// The answers that the reference logged.
fn answers(suite: &Suite<'_>) -> Answers {
    let mut answers = Answers::new();
    for (task, planned) in suite.tasks().iter().enumerate() {
        let lines = rows::lines(SET, &format!("{FOLDER}/samples_{}_DATE.jsonl", planned.name()));
        for (document, line) in lines.iter().enumerate() {
            let number = |text: &Value| text.as_str().unwrap().parse::<f64>().unwrap();
            let answer = |said: &Value| match said.as_array() {
                Some(pair) => Answer::Score { log_likelihood: number(&pair[0]), is_greedy: pair[1] == "True" },
                None => Answer::Rolling { log_likelihood: number(said) },
            };
            let said = line["filtered_resps"].as_array().unwrap().iter().map(answer).collect();
            answers.insert(Key { task, document }, said);
        }
    }
    answers
}

fn with_results(check: impl FnOnce(&Results<'_, '_>, &Value)) {
    let golden: Value = serde_json::from_str(&read("results_DATE.json")).unwrap();
    let tokenizer = cases::tokenizer("byte");
    let template = super::chat::Template::new(golden["chat_template"].as_str().unwrap(), tokenizer.as_ref());
    let names = golden["results"].as_object().unwrap().keys();
    let tasks = names.map(|name| local(name, &golden["configs"][name]["dataset_kwargs"])).collect();
    let options = SuiteOptions {
        shots: Some(golden["n-shot"]["piqa"].as_u64().unwrap() as usize),
        seed: golden["config"]["fewshot_seed"].as_i64().unwrap(),
        limit: Some(Limit::new(golden["config"]["limit"].as_f64().unwrap()).unwrap()),
        format: if golden["fewshot_as_multiturn"] == true { Format::MultiTurn } else { Format::SingleTurn },
        system_instruction: golden["system_instruction"].as_str().map(str::to_owned),
        bootstrap_iterations: golden["config"]["bootstrap_iters"].as_u64().unwrap() as usize,
        ..SuiteOptions::default()
    };
    let max_length = golden["max_length"].as_u64().unwrap() as usize;
    let encoder = Encoder::new(tokenizer.as_ref(), max_length).unwrap();
    let suite = Suite::new(tasks, options, encoder, Some(&template)).unwrap();
    check(&suite.finish(&answers(&suite)).unwrap(), &golden);
}

#[test]
fn golden_lmeval_example_results() {
    with_results(|results, golden| {
        let text = |key: &str| golden[key].as_str().map(str::to_owned);
        let run = Run {
            model: golden["config"]["model"].as_str().unwrap().to_owned(),
            model_args: golden["config"]["model_args"].clone(),
            model_facts: Map::new(),
            batch_size: golden["config"]["batch_size"].clone(),
            device: None,
            git_hash: text("git_hash"),
            date: golden["date"].as_f64().unwrap(),
            environment: text("pretty_env_info").unwrap(),
            transformers_version: text("transformers_version"),
            lm_eval_version: text("lm_eval_version").unwrap(),
            model_source: text("model_source").unwrap(),
            model_name: text("model_name").unwrap(),
            chat_template: text("chat_template"),
            seconds: text("total_evaluation_time_seconds").unwrap().parse().unwrap(),
            extra: Map::new(),
        };
        let mut found = results.json(&run);
        let own = found.as_object_mut().unwrap().shift_remove("psann").unwrap();
        assert!(own["small_model_metrics"]["piqa"]["margin"].is_number(), "{own}");
        let mut expected = golden.clone();
        mask(&mut expected);
        // As text, because the order of keys counts.
        let (found, expected) = (indented(&found), indented(&expected));
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected);
        }
        assert_eq!(found, expected);
        assert_eq!(indented(golden), read("results_DATE.json").trim_end());
    });
}

#[test]
fn golden_lmeval_example_samples() {
    with_results(|results, _| {
        for (index, task) in results.tasks().iter().enumerate() {
            let found: String = results.samples(index).map(Result::unwrap).collect();
            let expected = read(&format!("samples_{}_DATE.jsonl", task.name));
            for (found, expected) in found.split('\n').zip(expected.split('\n')) {
                assert_eq!(found, expected, "{}", task.name);
            }
            assert_eq!(found.trim_end(), expected.trim_end(), "{}", task.name);
        }
    });
}

#[test]
fn golden_lmeval_example_table() {
    with_results(|results, _| {
        assert_eq!(results.table().trim_end(), read("table.md").trim_end());
    });
}
