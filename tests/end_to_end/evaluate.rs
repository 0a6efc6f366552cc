//! Evaluation on tasks: through the command line, in a recipe, and in the middle of a training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::support::{Ended, Scratch, TINY};

const TASKS: &str = "wikitext,lambada_openai,hellaswag,piqa,winogrande";

/// Documents for all built-in tasks, in the words of the tiny corpus.
fn write_evals(scratch: &Scratch) {
    let things = ["the wind", "a distant shore", "the white whale", "the morning light", "a long voyage"];
    let people = ["The sea", "A sailor", "The old captain", "Every whale", "The ship"];
    let lines = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let rows = |count: usize, row: &dyn Fn(usize) -> Value| lines((0..count).map(row).collect());
    let piqa = |n: usize| json!({ "goal": format!("{} feared", people[n % 5]), "sol1": things[n % 5], "sol2": things[(n * 2 + 1) % 5], "label": n % 2 });
    let hellaswag = |n: usize| {
        let endings: Vec<&str> = (0..4).map(|k| things[(n + k) % 5]).collect();
        json!({ "ind": n, "activity_label": "Sailing", "ctx_a": format!("{} saw", people[n % 5]), "ctx_b": "",
            "ctx": format!("{} saw", people[n % 5]), "endings": endings, "source_id": "x", "split": "val",
            "split_type": "indomain", "label": (n % 4).to_string() })
    };
    let winogrande = |n: usize| {
        json!({ "sentence": format!("{} followed _ because it saw {}.", people[n % 5], things[(n + 1) % 5]),
            "option1": things[n % 5], "option2": things[(n + 2) % 5], "answer": (n % 2 + 1).to_string() })
    };
    scratch.write("evals/piqa/train.jsonl", &rows(30, &piqa));
    scratch.write("evals/piqa/validation.jsonl", &rows(40, &|n| piqa(n + 3)));
    scratch.write("evals/hellaswag/train.jsonl", &rows(12, &hellaswag));
    scratch.write("evals/hellaswag/validation.jsonl", &rows(9, &|n| hellaswag(n + 2)));
    scratch.write("evals/winogrande/train.jsonl", &rows(12, &winogrande));
    scratch.write("evals/winogrande/validation.jsonl", &rows(7, &|n| winogrande(n + 1)));
    let lambada = |n: usize| json!({ "text": format!("{} remembered {}", people[n % 5], things[n * 3 % 5]) });
    scratch.write("evals/lambada_openai/test.jsonl", &rows(12, &lambada));
    let page = |n: usize| json!({ "page": format!(" = {} = \n\n {} saw {} . ", people[n], people[n], things[n]).repeat(n + 1) });
    scratch.write("evals/wikitext/test.jsonl", &rows(4, &page));
}

fn trained() -> Scratch {
    let scratch = Scratch::with_tiny_recipe();
    write_evals(&scratch);
    scratch.ok(&["recipe", "tiny.rhai"]);
    scratch
}

fn arguments<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed =
        ["evaluate", "runs/tiny", "--tasks", TASKS, "--data", "evals", "--bootstrap", "200", "--output", output];
    fixed.into_iter().chain(more.iter().copied()).collect()
}

/// The sample files of an evaluation by their task, and its scores.
fn outcome(scratch: &Scratch, output: &str) -> (BTreeMap<String, String>, Value) {
    let folder = scratch.path().join(output).join("runs__tiny");
    let (mut samples, mut results) = (BTreeMap::new(), Value::Null);
    for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(rest) = name.strip_prefix("samples_") {
            let task = rest.rsplit_once('_').unwrap().0.to_owned();
            assert!(samples.insert(task, fs::read_to_string(&entry).unwrap()).is_none(), "two evaluations");
        } else if name.starts_with("results_") {
            results = serde_json::from_str::<Value>(&fs::read_to_string(&entry).unwrap()).unwrap()["results"].clone();
        }
    }
    (samples, results)
}

#[test]
fn batches_ranks_kills_and_other_limits_change_no_byte_of_the_samples() {
    let scratch = trained();
    scratch.ok(&arguments("one", &["--fewshot", "1", "--batch", "1"]));
    let expected = outcome(&scratch, "one");
    assert_eq!(expected.0.len(), 5, "{:?}", expected.0.keys());
    assert_eq!(expected.0["piqa"].lines().count(), 40);
    scratch.ok(&arguments("many", &["--fewshot", "1", "--batch", "16"]));
    assert_eq!(outcome(&scratch, "many"), expected);
    scratch.ok(&arguments("ranks", &["--fewshot", "1", "--ranks", "2"]));
    assert_eq!(outcome(&scratch, "ranks"), expected);

    // Killed as soon as something was written down; then a part of it, then with another number of ranks to the end.
    let journal = scratch.path().join("killed/runs__tiny/journal");
    let mut child = scratch
        .command(&arguments("killed", &["--fewshot", "1", "--batch", "1"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while answers(&journal) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = answers(&journal);
    let resumed =
        Ended::from(scratch.command(&arguments("killed", &["--fewshot", "1", "--ranks", "2"])).output().unwrap());
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_eq!(outcome(&scratch, "killed"), expected);
    assert!(before < answers(&journal), "{before} answers were there already");
}

/// Whole lines in a journal.
fn answers(journal: &Path) -> usize {
    let folders = fs::read_dir(journal).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files.map(|file| fs::read_to_string(file.path()).unwrap_or_default().matches('\n').count()).sum()
}

#[test]
fn a_limit_asks_the_first_documents_the_same_way() {
    let scratch = trained();
    scratch.ok(&arguments("all", &["--fewshot", "2"]));
    scratch.ok(&arguments("some", &["--fewshot", "2", "--limit", "3"]));
    let (all, some) = (outcome(&scratch, "all").0, outcome(&scratch, "some").0);
    for (task, samples) in &some {
        assert_eq!(samples.lines().count(), 3);
        assert!(all[task].starts_with(samples.as_str()), "{task}");
    }
}

#[test]
fn a_recipe_evaluates_tasks_after_the_training_and_during_it() {
    let scratch = Scratch::with_tiny_recipe();
    write_evals(&scratch);
    let stage =
        r#".evaluate(#{ tasks: ["piqa", "lambada_openai"], data: ["evals"], fewshot: 1, bootstrap: 100, every: 4 })"#;
    scratch.write("tasks.rhai", &TINY.replace(".evaluate()", stage));
    let out = scratch.ok(&["recipe", "tasks.rhai"]);
    assert!(out.contains("|piqa          |") && out.contains("perplexity"), "{out}");
    let evaluations = |scratch: &Scratch| -> Vec<Value> {
        let metrics = fs::read_to_string(scratch.stage("tiny", "pretrain").join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line.get("evaluation").is_some()).collect()
    };
    let during = evaluations(&scratch);
    assert_eq!(during.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 8]);
    let record: Value =
        serde_json::from_str(&fs::read_to_string(scratch.stage("tiny", "evaluate").join("stage.json")).unwrap())
            .unwrap();
    let after = &record["report"]["tasks"];
    assert_eq!(during[0]["evaluation"]["piqa"]["task_hash"], after["piqa"]["task_hash"]);
    assert!(record["summary"].as_str().unwrap().contains("piqa acc_norm"), "{}", record["summary"]);

    // The command line asks the same and hears the same.
    let arguments = ["evaluate", "runs/tiny", "--tasks", "piqa,lambada_openai", "--data", "evals", "--fewshot", "1"];
    scratch.ok(&[&arguments[..], &["--bootstrap", "100", "--output", "again"]].concat());
    let again = outcome(&scratch, "again").1;
    for (task, metric) in [("piqa", "acc"), ("piqa", "acc_norm"), ("lambada_openai", "perplexity")] {
        assert_eq!(again[task][format!("{metric},none")], after[task][metric], "{task} {metric}");
    }

    // Two ranks train the same model and evaluate it the same way.
    let sharded = Scratch::with_tiny_recipe();
    write_evals(&sharded);
    let recipe = TINY
        .replace(".evaluate()", stage)
        .replace("steps: steps,", "steps: steps, sharder: sharder::fsdp(), ranks: 2,");
    sharded.write("tasks.rhai", &recipe);
    sharded.ok(&["recipe", "tasks.rhai"]);
    let apart = evaluations(&sharded);
    assert_eq!(apart.len(), 2);
    for (one, two) in during.iter().zip(&apart) {
        let perplexity = |line: &Value| line["evaluation"]["lambada_openai"]["perplexity"].as_f64().unwrap();
        assert!((perplexity(one) / perplexity(two) - 1.0).abs() < 1e-4, "{one} {two}");
    }
}

#[test]
fn items_that_the_corpus_holds_are_scored_apart() {
    let scratch = Scratch::with_tiny_recipe();
    let filler = "One must be patient with ropes and sails, says everybody who ever went to sea in a small boat.";
    let goal = |n: usize| {
        format!("How does one of the {n} sailors on the northern ship number {n} mend a torn sail at night?")
    };
    let solution =
        |n: usize| format!("With a curved needle and {n} lengths of waxed thread, by the light of lamp number {n}.");
    let row = |n: usize| json!({ "goal": goal(n), "sol1": solution(n), "sol2": filler, "label": 0 });
    let rows: String = (10..18).map(|n| format!("{}\n", row(n))).collect();
    scratch.write("evals/piqa/validation.jsonl", &rows);
    let mut prose = fs::read_to_string(scratch.path().join("prose.jsonl")).unwrap();
    for n in [11, 14, 15] {
        let text = format!("{filler} {} {} {filler}", goal(n), solution(n));
        prose.push_str(&format!("{}\n", json!({ "id": format!("leak{n}"), "text": text })));
    }
    scratch.write("prose.jsonl", &prose);
    let recipe = TINY
        .replace(
            "filter::normalize();",
            "filter::normalize() | filter::decontaminate(#{ evals: [\"evals\"], action: \"tag\" });",
        )
        .replace(".evaluate()", ".evaluate(#{ tasks: [\"piqa\"], data: [\"evals\"], context: 256 })");
    scratch.write("clean.rhai", &recipe);
    let out = scratch.ok(&["recipe", "clean.rhai"]);
    let counts: Vec<(String, String)> = out
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words| words.len() == 6 && words[0] == "piqa" && words[3] == "acc")
        .map(|words| (words[1].clone(), words[2].clone()))
        .collect();
    let expected = [("all", "8"), ("clean", "5"), ("contaminated", "3")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(counts, expected, "{out}");
}

#[test]
fn prompts_are_shown_with_their_token_boundaries() {
    let scratch = trained();
    let out = scratch.ok(&arguments("none", &["--fewshot", "1", "--show-prompt", "1"]));
    assert!(out.contains("piqa, document 0") && out.contains('║'), "{out}");
    assert!(!scratch.path().join("none").exists(), "nothing is computed");
}

#[test]
fn results_are_compared_when_they_were_asked_the_same() {
    let scratch = trained();
    scratch.ok(&["recipe", "tiny.rhai", "--set", "name=other", "--set", "steps=30"]);
    let evaluate = |run: &str, shots: &str, output: &str| {
        let fixed = ["evaluate", run, "--tasks", "piqa,lambada_openai", "--data", "evals", "--bootstrap", "100"];
        scratch.ok(&[&fixed[..], &["--fewshot", shots, "--output", output]].concat());
        let folder = scratch.path().join(output).join(run.replace('/', "__"));
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with("results_")).unwrap()
    };
    let (first, second) = (evaluate("runs/tiny", "0", "a"), evaluate("runs/other", "0", "b"));
    let out = scratch.ok(&["evaluate", "compare", first.to_str().unwrap(), second.to_str().unwrap()]);
    assert!(out.contains("p, corrected") && out.contains("lambada_openai"), "{out}");
    let other = evaluate("runs/other", "1", "c");
    let ended = scratch.run(&["evaluate", "compare", first.to_str().unwrap(), other.to_str().unwrap()]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.err.contains("task hash") || ended.err.contains("asked"), "{}", ended.err);
}

#[test]
fn what_cannot_be_evaluated_says_what_where_and_how_to_mend_it() {
    let scratch = trained();
    scratch.write(
        "broken/piqa/validation.jsonl",
        "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": \"x\"}\n",
    );
    scratch.write("lacking/piqa/validation.jsonl", "{\"goal\": \"a\", \"sol1\": \"b\", \"label\": 0}\n");
    scratch.write("empty/piqa/validation.jsonl", "");
    let mut all = String::new();
    for (tasks, data, more) in [
        ("piqa", "nowhere", &[][..]),
        ("piqa", "evals/hellaswag", &[]),
        ("pika", "evals", &[]),
        ("piqa", "broken", &[]),
        ("piqa", "lacking", &[]),
        ("piqa", "empty", &[]),
        ("piqa", "evals", &["--chat-template"]),
        ("piqa", "evals", &["--fewshot-as-multiturn"]),
        ("piqa", "evals", &["--fewshot", "31"]),
        ("piqa", "evals", &["--samples", "{\"piqa\": [400]}"]),
        ("piqa", "evals", &["--max-length", "2"]),
        ("tasks.toml", "evals", &[]),
    ] {
        let arguments = [&["evaluate", "runs/tiny", "--tasks", tasks, "--data", data][..], more].concat();
        let ended = scratch.run(&arguments);
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        all.push_str(&format!("$ {}\n{}\n", arguments[2..].join(" "), ended.err));
    }
    insta::assert_snapshot!(all);
}
