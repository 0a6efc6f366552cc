//! The golden contamination cases: planted items must be found, clean documents must stay, whatever the guard decides.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{HashMap, HashSet};

use psann_core::filter::{Evidence, Judgement, Keys, Rule};
use psann_core::{Batch, BatchBuilder, Document, Filter};
use psann_golden::{rows, set_directory};
use psann_plugins_data::benchmarks;
use psann_plugins_data::filters::decontaminate::{Decontaminate, DecontaminateOptions, Match};
use psann_plugins_data::sources::files::Paths;
use serde_json::Value;

const SET: &str = "data/decontaminate";

fn filter(change: impl FnOnce(&mut DecontaminateOptions)) -> Decontaminate {
    let evals = set_directory(SET).join("eval").to_string_lossy().into_owned();
    let mut options = DecontaminateOptions { evals: Some(Paths::One(evals)), ..DecontaminateOptions::default() };
    change(&mut options);
    Decontaminate::new(options).unwrap()
}

fn batch(texts: &[&str]) -> Batch {
    let mut batch = BatchBuilder::default();
    for text in texts {
        batch.push(Document { text: (*text).to_owned(), ..Document::default() });
    }
    batch.finish().unwrap()
}

fn evidence(filter: &Decontaminate) -> &dyn Evidence {
    match filter.corpus().unwrap().rule() {
        Rule::Evidence(evidence) => evidence,
        Rule::Copies(_) => panic!("decontamination is about evidence"),
    }
}

/// What the engine does: counts the documents of each key, then judges each document that has a note.
fn run(filter: &Decontaminate, texts: &[&str], batch_size: usize) -> (Vec<Option<Judgement>>, Vec<Keys>) {
    let keys: Vec<Keys> =
        texts.chunks(batch_size).map(|texts| filter.corpus().unwrap().keys(&batch(texts)).unwrap()).collect();
    let mut documents: HashMap<u64, u64> = HashMap::new();
    for (key, _) in keys.iter().flat_map(|keys| &keys.entries) {
        *documents.entry(*key).or_default() += 1;
    }
    let evidence = evidence(filter);
    let frequent = |key: u64| documents.get(&key).is_some_and(|count| *count > evidence.most());
    let mut judgements = Vec::new();
    for (keys, texts) in keys.iter().zip(texts.chunks(batch_size)) {
        for row in 0..texts.len() {
            let note = keys.notes.get(row).filter(|note| !note.is_empty());
            judgements.push(note.and_then(|note| evidence.judge(note, &frequent)));
        }
    }
    (judgements, keys)
}

fn contained(judgement: Option<&Judgement>) -> Vec<String> {
    let found = judgement.and_then(|judgement| judgement.details["contains"].as_array()).cloned().unwrap_or_default();
    found.iter().map(|one| one["item"].as_str().unwrap().to_owned()).collect()
}

/// The fixture calls both variants of LAMBADA `lambada-N`.
fn named(found: &[String], item: &str) -> bool {
    found.iter().any(|one| one == item || one.replace("lambada_openai", "lambada") == item)
}

#[test]
fn golden_data_decontaminate() {
    let filter = filter(|_| {});
    let documents = rows::lines(SET, "docs.jsonl.gz");
    let expected = rows::lines(SET, "expected.jsonl.gz");
    let texts: Vec<&str> = documents.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let alone = filter.apply(&batch(&texts)).unwrap();
    let (judgements, _) = run(&filter, &texts, 50);
    let mut wrong = Vec::new();
    for (row, expected) in expected.iter().enumerate() {
        assert_eq!(documents[row]["id"], expected["id"]);
        let found = contained(judgements[row].as_ref());
        let verdict = expected["verdict"].as_str().unwrap();
        let complaint = match verdict {
            "contaminated" => {
                let missing: Vec<_> = expected["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|i| !named(&found, i.as_str().unwrap()))
                    .collect();
                (!missing.is_empty()).then(|| format!("misses {missing:?}, found {found:?}"))
            }
            "clean" => (!found.is_empty()).then(|| format!("is clean, found {found:?}")),
            _ => None,
        };
        wrong.extend(complaint.map(|text| format!("{} ({}): {text}", expected["id"], expected["edit"])));
        let unguarded = expected.get("verdict_without_rarity_guard").map_or(verdict, |v| v.as_str().unwrap());
        let fired = alone.dropped[row].is_some();
        if unguarded != "either" && fired != (unguarded == "contaminated") {
            wrong.push(format!("{} ({}): alone it is {unguarded}, fired is {fired}", expected["id"], expected["edit"]));
        }
        assert_eq!(judgements[row].as_ref().is_some_and(|j| j.dropped.is_some()), !found.is_empty());
        let matches = filter.matches(texts[row]).unwrap();
        for (item, facts) in expected["facts"].as_object().unwrap() {
            let different = compare(facts, item, &matches);
            wrong.extend(different.map(|text| format!("{} ({}) {item}: {text}", expected["id"], expected["edit"])));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The facts of the fixture against ours; runs of fewer words than an n-gram are not seen.
fn compare(facts: &Value, item: &str, matches: &[Match]) -> Option<String> {
    // The two variants of LAMBADA have the same words.
    let ours = matches.iter().find(|one| one.id == item).map(|one| one.facts).unwrap_or_default();
    let words = |name: &str, ours: usize| {
        let theirs = facts.get(name)?.as_u64()? as usize;
        (theirs != ours && !(theirs < 8 && ours == 0)).then(|| format!("{name} is {ours}, not {theirs}"))
    };
    let share = |name: &str, ours: f64| {
        let theirs = facts.get(name)?.as_f64()?;
        ((theirs - ours).abs() > 1e-4).then(|| format!("{name} is {ours}, not {theirs}"))
    };
    let truth = |name: &str, ours: bool| {
        let theirs = facts.get(name)?.as_bool()?;
        (theirs != ours).then(|| format!("{name} is {ours}, not {theirs}"))
    };
    words("run", ours.run)
        .or_else(|| words("run_to_last_word", ours.final_run))
        .or_else(|| share("share_8grams", ours.grams))
        .or_else(|| share("share_8grams_gold", ours.grams))
        .or_else(|| share("words_covered", ours.cover))
        .or_else(|| share("words_covered_gold", ours.cover))
        .or_else(|| share("share_13grams", ours.share))
        .or_else(|| truth("equal_paragraph", ours.line))
        .or_else(|| truth("whole", ours.whole))
}

#[test]
fn keys_and_verdicts_are_the_same_for_any_batches() {
    let filter = filter(|_| {});
    let documents = rows::lines(SET, "docs.jsonl.gz");
    let texts: Vec<&str> = documents.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let (whole, whole_keys) = run(&filter, &texts, texts.len());
    for size in [1, 7] {
        let (parts, keys) = run(&filter, &texts, size);
        assert_eq!(parts, whole);
        let mut entries = Vec::new();
        for (index, keys) in keys.iter().enumerate() {
            entries.extend(keys.entries.iter().map(|(key, row)| (*key, row + (index * size) as u32)));
        }
        assert_eq!(entries, whole_keys[0].entries);
        let notes: Vec<&Vec<u8>> = keys.iter().flat_map(|keys| &keys.notes).filter(|note| !note.is_empty()).collect();
        let whole_notes: Vec<&Vec<u8>> = whole_keys[0].notes.iter().filter(|note| !note.is_empty()).collect();
        assert_eq!(notes, whole_notes);
    }
}

#[test]
fn the_report_names_clean_and_contaminated_items() {
    let filter = filter(|_| {});
    let documents = rows::lines(SET, "docs.jsonl.gz");
    let texts: Vec<&str> = documents.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let (judgements, _) = run(&filter, &texts, 50);
    let mut judged = judgements
        .into_iter()
        .enumerate()
        .filter_map(|(row, one)| one.map(|one| Ok((documents[row]["id"].as_str().unwrap().to_owned(), one))));
    let conclusion = evidence(&filter).conclude(&mut judged).unwrap();
    let file = |name: &str| -> Value {
        let (_, bytes) = conclusion.files.iter().find(|(file, _)| file == name).unwrap();
        serde_json::from_slice(bytes).unwrap()
    };
    let (clean, full) = (file("clean_items.json"), file("contamination.json"));
    let expected = rows::lines(SET, "expected.jsonl.gz");
    let planted: HashSet<&str> = expected
        .iter()
        .filter(|row| row["verdict"] == "contaminated")
        .flat_map(|row| row["items"].as_array().unwrap())
        .map(|item| item.as_str().unwrap())
        .collect();
    let evals = set_directory(SET).join("eval");
    let mut contaminated = HashSet::new();
    for found in benchmarks::find(&[evals], &[]).unwrap() {
        let benchmark = found.read().unwrap();
        let set = &clean["sets"][&benchmark.set];
        assert_eq!(set["files"][&benchmark.split], *benchmark.digest);
        for item in &benchmark.items {
            let is = |name: &str| set[name].as_array().unwrap().iter().any(|id| *id == *item.id);
            assert_ne!(is("clean"), is("contaminated"), "{}", item.id);
            let about = &full["sets"][&benchmark.set]["found"][&item.id];
            assert_eq!(is("contaminated"), !about.is_null(), "{}", item.id);
            if is("contaminated") {
                assert!(about["documents"].as_u64() > Some(0) && about["example"]["text"] != "", "{about}");
                contaminated.insert(item.id.clone());
            }
        }
    }
    assert!(planted.iter().all(|id| contaminated.contains(*id)));
    let formulas = expected.iter().filter(|row| row["verdict_without_rarity_guard"] == "contaminated").count();
    assert!(conclusion.report["documents with formulas only"].as_u64() >= Some(formulas as u64));
    let fired = full["documents"].as_u64().unwrap() as usize;
    let at_least = expected.iter().filter(|row| row["verdict"] == "contaminated").count();
    assert!((at_least..=at_least + expected.iter().filter(|row| row["verdict"] == "either").count()).contains(&fired));
}
