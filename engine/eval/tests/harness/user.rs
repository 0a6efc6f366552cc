//! Users' tasks, mistakes in data and options, and prompts shown, on small documents.

use std::sync::Arc;

use psann_core::Result;
use psann_eval::harness::show::show;
use psann_eval::harness::{
    Answer, Answers, ChatRenderer, Encoder, Format, Key, Limit, Row, Splits, Suite, SuiteOptions, Task, UserTask,
    built_in,
};
use serde_json::{Value, json};

use super::cases;
use super::chat::Template;

fn rows(rows: &[Value]) -> Vec<Row> {
    let file: Arc<str> = Arc::from("own.jsonl");
    let row = |(index, row): (usize, &Value)| Row {
        fields: row.as_object().unwrap().clone(),
        file: file.clone(),
        line: index + 1,
    };
    rows.iter().enumerate().map(row).collect()
}

/// What building a suite of one task says.
fn refused(task: Box<dyn Task>, splits: &[(&str, Vec<Row>)], options: SuiteOptions) -> String {
    let tokenizer = cases::tokenizer("byte");
    let splits: Splits = splits.iter().map(|(name, rows)| ((*name).to_owned(), rows.clone())).collect();
    let encoder = Encoder::new(tokenizer.as_ref(), 128).unwrap();
    let error = Suite::new(vec![(task, splits)], options, encoder, None).unwrap_err();
    match error.hint_text() {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error.to_string(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for the call everywhere")]
fn piqa(label: Value) -> Value {
    json!({"goal": "Dry boots", "sol1": "With straw.", "sol2": "With soup.", "label": label})
}

#[test]
fn bad_data_is_named_with_its_place() {
    let task = || built_in("piqa").unwrap();
    let options = SuiteOptions::default;
    let good = rows(&[piqa(json!(0)), piqa(json!(1))]);
    let missing = refused(task(), &[("train", good.clone())], options());
    insta::assert_snapshot!(missing, @r"
    task `piqa`: split `validation` is missing; there is `train`
      hint: expected data set `baber/piqa`, split `validation`, columns `goal`, `sol1`, `sol2`, `label`
    ");
    insta::assert_snapshot!(refused(task(), &[("validation", vec![])], options()), @r"
    task `piqa`: split `validation` is empty
      hint: expected data set `baber/piqa`, split `validation`, columns `goal`, `sol1`, `sol2`, `label`
    ");
    let bad = rows(&[piqa(json!(0)), piqa(json!("no"))]);
    insta::assert_snapshot!(refused(task(), &[("validation", bad)], options()), @r#"task `piqa`: `own.jsonl` line 2: column `label` must be a whole number from 0 to 1, found "no""#);
    let bad = rows(&[json!({"goal": 1, "sol1": "x", "sol2": "y", "label": 0})]);
    insta::assert_snapshot!(refused(task(), &[("validation", bad)], options()), @"task `piqa`: `own.jsonl` line 1: column `goal` must be a text, found 1");
    let bad = rows(&[json!({"goal": "x", "sol1": "x", "label": 0})]);
    insta::assert_snapshot!(refused(task(), &[("validation", bad)], options()), @r"
    task `piqa`: `own.jsonl` line 1: has no column `sol2`
      hint: its columns are `goal`, `sol1`, `label`
    ");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let task = || built_in("piqa").unwrap();
    let good = || rows(&[piqa(json!(0)), piqa(json!(1))]);
    let splits = || vec![("validation", good()), ("train", good())];
    let shots = SuiteOptions { shots: Some(2), ..SuiteOptions::default() };
    insta::assert_snapshot!(refused(task(), &splits(), shots.clone()), @r"
    task `piqa`: split `train`: 3 examples, one more than are shown, are drawn for each document and there are 2 to draw from
      hint: lower the number of examples, or give a larger split to draw from
    ");
    insta::assert_snapshot!(refused(task(), &[("validation", good())], shots), @r"
    task `piqa`: split `train` is missing; there is `validation`
      hint: expected data set `baber/piqa`, split `train`, columns `goal`, `sol1`, `sol2`, `label`
    ");
    let samples = |task: &str, list: Vec<usize>, limit: Option<Limit>| SuiteOptions {
        samples: [(task.to_owned(), list)].into(),
        limit,
        ..SuiteOptions::default()
    };
    insta::assert_snapshot!(refused(task(), &splits(), samples("piqa", vec![0, 2], None)), @"task `piqa`: option `samples` names document 2 and there are 2, numbered from 0");
    insta::assert_snapshot!(refused(task(), &splits(), samples("piqa", vec![], None)), @"task `piqa`: option `samples` lists no document");
    insta::assert_snapshot!(refused(task(), &splits(), samples("pica", vec![0], None)), @"option `samples` names task `pica`, which is not evaluated");
    insta::assert_snapshot!(refused(task(), &splits(), samples("piqa", vec![0], Some(Limit::Count(1)))), @"task `piqa`: options `limit` and `samples` exclude each other");
    let chat = SuiteOptions { format: Format::MultiTurn, ..SuiteOptions::default() };
    insta::assert_snapshot!(refused(task(), &splits(), chat), @r"
    there is no chat template to write the prompts with
      hint: evaluate without one, or give a model whose tokenizer has `chat_template`
    ");
}

/// A suite of one task over `documents`, shown.
fn shown(task: Box<dyn Task>, documents: &[Value], tokenizer: &str, template: Option<&str>) -> String {
    let tokenizer = cases::tokenizer(tokenizer);
    let template = template.map(|source| Template::new(source, tokenizer.as_ref()));
    let split = task.settings().evaluated_split().to_owned();
    let options = SuiteOptions {
        format: if template.is_some() { Format::MultiTurn } else { Format::Plain },
        ..SuiteOptions::default()
    };
    let encoder = Encoder::new(tokenizer.as_ref(), 40).unwrap();
    let renderer = template.as_ref().map(|template| template as &dyn ChatRenderer);
    let suite = Suite::new(vec![(task, [(split, rows(documents))].into())], options, encoder, renderer).unwrap();
    let shown: Result<Vec<String>> = suite.keys().map(|key| Ok(show(&suite, key)?.to_string())).collect();
    shown.unwrap().join("\n")
}

#[test]
fn a_prompt_is_shown_with_its_boundaries() {
    let documents = [json!({"text": "It is dry"}), json!({"text": "é  x"}), json!({"text": "word"})];
    insta::assert_snapshot!(shown(built_in("lambada_openai").unwrap(), &documents, "byte", None), @r#"
    lambada_openai, document 0, request 1 of 1: reads 5 tokens, scores 4 tokens
    I│t│ │i│s║ │d│r│y

    lambada_openai, document 1, request 1 of 1: reads 2 tokens, scores 3 tokens
    é│…║ │ │x
      warning: " " at the end of the context is scored as the beginning of the continuation

    lambada_openai, document 2, request 1 of 1: reads 1 token, scores 5 tokens
    <|bos|>║ │w│o│r│d
    "#);
}

#[test]
fn what_may_be_wrong_with_a_prompt_is_said() {
    let documents = [piqa(json!(0))];
    let closed = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ '\n' }}";
    let text = shown(built_in("piqa").unwrap(), &documents, "merges", Some(closed));
    insta::assert_snapshot!(text, @r#"
    piqa, document 0: warning: the chat template opens no answer: the prompt ends behind the question's turn
    piqa, document 0, request 1 of 2: reads 12 tokens, scores 7 tokens
    <|bos|>│Q│uestion: │D│ry│ b│oo│t│s│↵
    │Answer│:║↵
    │W│ith│ st│ra│w│.
      warning: "\n" at the end of the context is scored as the beginning of the continuation
    piqa, document 0, request 2 of 2: reads 12 tokens, scores 7 tokens
    <|bos|>│Q│uestion: │D│ry│ b│oo│t│s│↵
    │Answer│:║↵
    │W│ith│ s│ou│p│.
      warning: "\n" at the end of the context is scored as the beginning of the continuation
    "#);
    // The last word is no token of its own.
    let across = [json!({"text": "she went down to feed the hen"})];
    insta::assert_snapshot!(shown(built_in("lambada_openai").unwrap(), &across, "merges", None), @r"
    lambada_openai, document 0, request 1 of 1: reads 11 tokens, scores 0 tokens
    s│he │w│en│t │down│ to │f│e│ed the │hen║
      warning: a token reaches across the boundary: the context alone has other tokens than in front of the continuation
      warning: nothing is scored: the continuation has no token of its own
    ");
    let page = [json!({"page": "<|bos|>Up"}), json!({"page": "Up"}), json!({"page": ""})];
    insta::assert_snapshot!(shown(built_in("wikitext").unwrap(), &page, "byte_bos", None), @r"
    wikitext, document 0, request 1 of 1: scores 3 tokens in 1 window
    <|bos|>║<|bos|>│U│p
      warning: the text begins with the begin-of-text token twice

    wikitext, document 1, request 1 of 1: scores 3 tokens in 1 window
    <|bos|>║<|bos|>│U│p
      warning: the text begins with the begin-of-text token twice

    wikitext, document 2, request 1 of 1: scores 1 token in 1 window
    <|bos|>║<|bos|>
      warning: the text begins with the begin-of-text token twice
    ");
}

#[test]
fn all_metrics_of_a_users_choice_task() {
    let toml = r#"
task = "own"
output_type = "multiple_choice"
test_split = "test"
doc_to_text = "{{q}}:"
doc_to_target = "gold"
doc_to_choice = ["{{a}}", "{{b}}"]
metric_list = [{ metric = "acc" }, { metric = "acc_norm" }, { metric = "acc_bytes" }, { metric = "acc_tokens" }]
"#;
    let tokenizer = cases::tokenizer("byte");
    let task: Box<dyn Task> = Box::new(UserTask::parse(toml, "own.toml").unwrap());
    let documents = rows(&[json!({"q": "x", "a": "éééé", "b": "abcdef", "gold": 0})]);
    let encoder = Encoder::new(tokenizer.as_ref(), 128).unwrap();
    let suite =
        Suite::new(vec![(task, [("test".to_owned(), documents)].into())], SuiteOptions::default(), encoder, None)
            .unwrap();
    let score = |log_likelihood: f64| Answer::Score { log_likelihood, is_greedy: false };
    // Per character 2.5 and 2.33, per byte 1.25 and 2.33, per token 10/9 and 2.
    let key = Key { task: 0, document: 0 };
    let answers: Answers = [(key, vec![score(-10.0), score(-14.0)])].into();
    let results = suite.finish(&answers).unwrap();
    let values: Vec<f64> = results.tasks()[0].documents[0].metrics.iter().map(|measured| measured.value).collect();
    assert_eq!(values, [1.0, 0.0, 1.0, 1.0]);
    let (count, scores, _) = results.subset(0, |id| id == 0);
    assert_eq!((count, scores.len()), (1, 4));
    assert_eq!(results.subset(0, |_| false).0, 0);
    let incomplete = suite.finish(&Answers::new()).unwrap_err();
    insta::assert_snapshot!(incomplete, @"task `own`, document 0: has 0 answers, expected 2");
}
