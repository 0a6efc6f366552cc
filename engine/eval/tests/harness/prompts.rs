//! Every prompt configuration: strings, hashes, draws.

use std::collections::BTreeMap;

use psann_eval::harness::results::hash;
use psann_eval::harness::{Answer, Answers, Argument, Key, Request, Suite};
use psann_golden::rows;
use serde_json::{Value, json};

use super::cases::{self, SET};
use super::{assert_none, each};

#[test]
fn golden_lmeval_prompts() {
    let cases = cases::all("prompts");
    let failures: Vec<String> = each(&cases, |(name, case)| check(name, case)).into_iter().flatten().collect();
    assert_none(cases.len(), &failures);
}

fn check(name: &str, case: &Value) -> Vec<String> {
    let tokenizer = cases::tokenizer("byte");
    let template = cases::template(case, tokenizer.as_ref());
    // Long enough for every prompt: only strings are compared here.
    let suite = cases::suite(case, cases::options(case, 0), tokenizer.as_ref(), 1 << 20, template.as_ref());
    let results = suite.finish(&answers(&suite)).unwrap();
    let mut failures = Vec::new();
    let mut differ = |place: &str, what: &str, found: Value, expected: &Value| {
        if found != *expected {
            failures.push(format!("{name}, {place}: {what}\n  expected {expected}\n  found    {found}"));
        }
    };
    let places: BTreeMap<&str, usize> =
        suite.tasks().iter().enumerate().map(|(index, task)| (task.name(), index)).collect();
    let mut without_system = 0;
    let mut seen = 0;
    let lines = rows::lines(SET, &format!("t1/prompts/{name}.jsonl.zst"));
    for line in &lines {
        let Some(task) = line["task"].as_str().map(|task| places[task]) else { continue };
        let (planned, result) = (&suite.tasks()[task], &results.tasks()[task]);
        if line["kind"] == "task" {
            let place = planned.name();
            differ(place, "n_docs", json!(planned.documents().len()), &line["n_docs"]);
            differ(place, "n_original", json!(planned.original()), &line["n_original"]);
            differ(place, "n_shot", json!(planned.shots()), &line["n_shot"]);
            differ(place, "task_hash", json!(result.task_hash), &line["task_hash"]);
            continue;
        }
        let number = line["doc_id"].as_u64().unwrap() as usize;
        let place = format!("{} {number}", planned.name());
        let Some(document) = planned.documents().iter().position(|document| document.id == number) else {
            differ(&place, "document", json!(null), &line["doc_id"]);
            continue;
        };
        seen += 1;
        let asked = suite.ask(Key { task, document }).unwrap();
        without_system += asked.without_system;
        let texts = |argument: &Argument| match argument {
            Argument::Pair { context, continuation } => json!([context, continuation]),
            Argument::Whole { text } => json!([text]),
            Argument::Prompt { context, .. } => json!([context]),
        };
        differ(&place, "requests", asked.arguments.iter().map(texts).collect(), &line["requests"]);
        let (document, hashes) = (&planned.documents()[document], &result.documents[document]);
        differ(&place, "draws", json!(document.draw.drawn), &line["draws"]);
        differ(&place, "doc_hash", json!(hashes.doc_hash), &line["doc_hash"]);
        differ(&place, "prompt_hash", json!(hashes.prompt_hash), &line["prompt_hash"]);
        differ(&place, "target_hash", json!(hashes.target_hash), &line["target_hash"]);
        let target = document.question.target();
        assert_eq!(hash::text(&target), hashes.target_hash);
        match &line["target"] {
            Value::Null => {}
            Value::Number(number) => differ(&place, "target", json!(target), &json!(number.to_string())),
            text => differ(&place, "target", json!(target), text),
        }
    }
    differ("all", "documents", json!(seen), &json!(suite.keys().count()));
    differ("all", "without system", json!(without_system), &lines[0]["template_retries_without_system"]);
    failures
}

/// Answers that fit; hashes do not depend on them.
fn answers(suite: &Suite<'_>) -> Answers {
    let answer = |request: &Request| match request {
        Request::Score(_) => Answer::Score { log_likelihood: -1.0, is_greedy: false },
        Request::Rolling { .. } => Answer::Rolling { log_likelihood: -1.0 },
        Request::Generate { .. } => Answer::Generated { text: String::new() },
    };
    suite.keys().map(|key| (key, suite.requests(key).unwrap().iter().map(answer).collect())).collect()
}
