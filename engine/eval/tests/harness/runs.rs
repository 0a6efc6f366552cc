//! Every run: ids, log-likelihoods, metrics, aggregates.

use std::collections::BTreeMap;

use psann_eval::harness::metrics::{Aggregate, Measured, Metric};
use psann_eval::harness::{Answer, Answers, Key, Request, Scored};
use psann_golden::rows;
use serde_json::{Value, json};

use super::cases::{self, SET};
use super::toy::{Toy, ids_sha};
use super::{assert_none, each, near};

#[test]
fn golden_lmeval_runs() {
    let prompts: BTreeMap<String, Value> = cases::all("prompts").into_iter().collect();
    let cases = cases::all("runs");
    let failures: Vec<String> = each(&cases, |(name, run)| {
        let mut check = Check { name: name.clone(), failures: Vec::new() };
        check.run(run, &prompts[run["prompts"].as_str().unwrap()]);
        check.failures
    })
    .into_iter()
    .flatten()
    .collect();
    assert_none(cases.len(), &failures);
}

struct Check {
    name: String,
    failures: Vec<String>,
}

impl Check {
    #[expect(clippy::needless_pass_by_value, reason = "made for the call everywhere")]
    fn equal(&mut self, place: &str, what: &str, found: Value, expected: &Value) {
        if found != *expected {
            self.failures.push(format!("{}, {place}: {what} is {found}, expected {expected}", self.name));
        }
    }

    fn near(&mut self, place: &str, what: &str, found: f64, expected: &Value, tolerance: f64) {
        if !expected.as_f64().is_some_and(|expected| near(found, expected, tolerance)) {
            self.failures.push(format!("{}, {place}: {what} is {found}, expected {expected}", self.name));
        }
    }

    fn run(&mut self, run: &Value, prompts: &Value) {
        let tokenizer = cases::tokenizer(run["tokenizer"].as_str().unwrap());
        let tokenizer = tokenizer.as_ref();
        let template = cases::template(prompts, tokenizer);
        let options = cases::options(prompts, run["bootstrap_iters"].as_u64().unwrap() as usize);
        let max_length = run["max_length"].as_u64().unwrap() as usize;
        let suite = cases::suite(prompts, options, tokenizer, max_length, template.as_ref());
        let toy = Toy::new(run["toy"].as_str().unwrap(), tokenizer);
        let requests: BTreeMap<Key, Vec<Request>> =
            suite.keys().map(|key| (key, suite.requests(key).unwrap())).collect();
        let answers: Answers = requests
            .iter()
            .map(|(key, requests)| (*key, requests.iter().map(|request| toy.answer(request)).collect()))
            .collect();
        let results = suite.finish(&answers).unwrap();

        let lines = rows::lines(SET, &format!("t1/runs/{}.jsonl.zst", self.name));
        self.equal("head", "prefix", json!(suite.encoder().prefix().unwrap()), &lines[0]["prefix_token_id"]);
        self.equal("head", "vocabulary", json!(tokenizer.vocabulary()), &lines[0]["vocab"]);
        let mut golden: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
        for line in &lines {
            let Some(name) = line["task"].as_str() else { continue };
            let task = suite.tasks().iter().position(|task| task.name() == name).unwrap();
            let result = &results.tasks()[task];
            if line["kind"] == "result" {
                self.equal(name, "task hash", json!(result.task_hash), &line["task_hash"]);
                self.equal(name, "documents", json!(result.documents.len()), &line["results"]["sample_len"]);
                let values = &golden[&task];
                for (index, (metric, score)) in result.scores.iter().enumerate() {
                    let bootstrap = suite.options().bootstrap_iterations;
                    let values: Vec<Measured> = values.iter().map(|values| measured(metric, values)).collect();
                    self.aggregate(name, metric, &metric.aggregate(&values, bootstrap), &line["results"], 1e-12);
                    self.aggregate(name, metric, score, &line["results"], 1e-9);
                    assert_eq!(metric, &suite.tasks()[task].task().settings().metrics[index]);
                }
                let keys = 1 + 2 * result.scores.len();
                self.equal(name, "keys", json!(keys), &json!(line["results"].as_object().unwrap().len()));
                continue;
            }
            let number = line["doc_id"].as_u64().unwrap() as usize;
            let document = result.documents.iter().position(|document| document.id == number).unwrap();
            let key = Key { task, document };
            let place = format!("{name} {number}");
            let expected = line["requests"].as_array().unwrap();
            self.equal(&place, "requests", json!(requests[&key].len()), &json!(expected.len()));
            for ((request, answer), expected) in requests[&key].iter().zip(&answers[&key]).zip(expected) {
                self.request(&place, request, answer, expected, &toy);
            }
            let document = &result.documents[document];
            for (metric, measured) in suite.tasks()[task].task().settings().metrics.iter().zip(&document.metrics) {
                self.metric(&place, metric.name(), &measured.json(), &line["metrics"][metric.name()]);
            }
            golden.entry(task).or_default().push(line["metrics"].clone());
        }
    }

    fn request(&mut self, place: &str, request: &Request, answer: &Answer, expected: &Value, toy: &Toy<'_>) {
        match (request, answer) {
            (Request::Score(scored), Answer::Score { log_likelihood, is_greedy }) => {
                self.scored(place, scored, (*log_likelihood, *is_greedy), expected);
            }
            (Request::Rolling { windows }, Answer::Rolling { log_likelihood }) => {
                let golden = expected["windows"].as_array().unwrap();
                self.equal(place, "windows", json!(windows.len()), &json!(golden.len()));
                for (window, golden) in windows.iter().zip(golden) {
                    self.scored(place, window, toy.score(window), golden);
                }
                self.near(place, "ll", *log_likelihood, &expected["ll"], 1e-9);
            }
            (Request::Generate { context, .. }, Answer::Generated { text }) => {
                self.equal(place, "n_ctx", json!(context.len()), &expected["n_ctx"]);
                self.equal(place, "ids", ids_sha(context.iter().copied()), &expected["ids_sha"]);
                self.equal(place, "text", json!(text), &expected["text"]);
            }
            _ => panic!("{place}: an answer of another kind"),
        }
    }

    fn scored(&mut self, place: &str, scored: &Scored, (likelihood, greedy): (f64, bool), expected: &Value) {
        self.equal(place, "n_ctx", json!(scored.context.len()), &expected["n_ctx"]);
        self.equal(place, "n_cont", json!(scored.continuation.len()), &expected["n_cont"]);
        self.equal(place, "dropped", json!(scored.dropped), &expected["dropped"]);
        let ids = || scored.context.iter().chain(&scored.continuation).copied();
        self.equal(place, "hash of ids", ids_sha(ids()), &expected["ids_sha"]);
        if !expected["ids"].is_null() {
            self.equal(place, "ids", ids().collect(), &expected["ids"]);
        }
        self.near(place, "ll", likelihood, &expected["ll"], 1e-9);
        self.equal(place, "greedy", json!(greedy), &expected["greedy"]);
    }

    /// Numbers and pairs of numbers; whole numbers must be whole.
    fn metric(&mut self, place: &str, name: &str, found: &Value, expected: &Value) {
        if let (Some(found), Some(expected)) = (found.as_array(), expected.as_array()) {
            self.equal(place, name, found[1].clone(), &expected[1]);
            self.metric(place, name, &found[0], &expected[0]);
        } else {
            self.equal(place, "kind of number", json!(found.is_i64()), &json!(expected.is_i64()));
            self.near(place, name, found.as_f64().unwrap_or(f64::NAN), expected, 1e-9);
        }
    }

    fn aggregate(&mut self, task: &str, metric: &Metric, score: &Aggregate, expected: &Value, tolerance: f64) {
        let name = metric.name();
        self.near(task, name, score.value, &expected[format!("{name},none")], tolerance);
        let error = &expected[format!("{name}_stderr,none")];
        match score.standard_error {
            Some(found) => self.near(task, &format!("error of {name}"), found, error, tolerance),
            None => self.equal(task, &format!("error of {name}"), json!("N/A"), error),
        }
    }
}

/// A golden value of one document.
fn measured(metric: &Metric, values: &Value) -> Measured {
    let value = &values[metric.name()];
    match value.as_array() {
        Some(pair) => Measured::weighted(pair[0].as_f64().unwrap(), pair[1].as_u64().unwrap(), false),
        None => Measured::real(value.as_f64().unwrap()),
    }
}
