//! What decontamination says in the end: how much of each benchmark is in the corpus, item by item, and which items are
//! clean.

use std::collections::{BTreeMap, HashMap};

use psann_core::filter::{Conclusion, Judgement};
use psann_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::items::Item;
use super::{DecontaminateOptions, EvalFile};

/// The whole story.
const CONTAMINATION: &str = "contamination.json";
/// What evaluation reads: `{"sets": {NAME: {"files": {SPLIT: DIGEST}, "clean": [ID, …], "contaminated": [ID, …]}}}`; with
/// the digests it can tell whether it asks the same items.
const CLEAN_ITEMS: &str = "clean_items.json";

/// What was found of one item.
#[derive(Debug, Default)]
struct Found {
    documents: u64,
    run: u64,
    cover: f64,
    share: f64,
    rules: BTreeMap<String, u64>,
    example: Value,
}

/// What was found of one set.
#[derive(Debug, Default)]
struct Set<'a> {
    clean: Vec<&'a str>,
    contaminated: Vec<&'a str>,
    documents: u64,
    formulas: u64,
    files: Map<String, Value>,
    items: Map<String, Value>,
}

pub fn conclude(
    items: &[Item],
    files: &[EvalFile],
    options: &DecontaminateOptions,
    judgements: &mut dyn Iterator<Item = Result<(String, Judgement)>>,
) -> Result<Conclusion> {
    let known: HashMap<(&str, &str), usize> =
        items.iter().enumerate().map(|(index, item)| ((item.set.as_str(), item.id.as_str()), index)).collect();
    let mut found: Vec<Option<Found>> = items.iter().map(|_| None).collect();
    let mut sets: BTreeMap<&str, Set> = BTreeMap::new();
    for file in files {
        sets.entry(&file.set).or_default().files.insert(file.split.clone(), Value::from(file.digest.as_str()));
    }
    let mut documents = 0u64;
    let mut formulas = 0u64;
    for judgement in judgements {
        let (document, judgement) = judgement?;
        let contains = list(&judgement.details, "contains");
        documents += u64::from(!contains.is_empty());
        formulas += u64::from(contains.is_empty());
        for (name, count) in [("contains", true), ("only formulas of", false)] {
            let mut of_document: Vec<&str> = Vec::new();
            for one in list(&judgement.details, name) {
                let set = one["set"].as_str().unwrap_or_default();
                let Some(index) = known.get(&(set, one["item"].as_str().unwrap_or_default())) else { continue };
                if count {
                    found[*index].get_or_insert_default().add(&document, one);
                }
                of_document.push(&items[*index].set);
            }
            of_document.sort_unstable();
            of_document.dedup();
            for set in of_document {
                let set = sets.entry(set).or_default();
                *(if count { &mut set.documents } else { &mut set.formulas }) += 1;
            }
        }
    }
    for (item, found) in items.iter().zip(found) {
        let set = sets.entry(&item.set).or_default();
        match found {
            None => set.clean.push(&item.id),
            Some(found) => {
                set.contaminated.push(&item.id);
                set.items.insert(item.id.clone(), found.json());
            }
        }
    }
    let summary = |set: &Set| {
        json!({
            "items": set.clean.len() + set.contaminated.len(), "contaminated": set.contaminated.len(),
            "documents": set.documents, "documents with formulas only": set.formulas,
        })
    };
    let per_set = |value: &dyn Fn(&Set) -> Value| -> Map<String, Value> {
        sets.iter().map(|(name, set)| ((*name).to_owned(), value(set))).collect()
    };
    let report = json!({
        "documents": documents, "documents with formulas only": formulas, "sets": per_set(&summary),
    });
    let full = json!({
        "options": options, "documents": documents, "documents with formulas only": formulas,
        "sets": per_set(&|set| {
            let mut value = summary(set);
            value["found"] = Value::Object(set.items.clone());
            value
        }),
    });
    let clean = json!({
        "sets": per_set(&|set| json!({"files": set.files, "clean": set.clean, "contaminated": set.contaminated})),
    });
    let files = vec![(CONTAMINATION.to_owned(), text(&full)?), (CLEAN_ITEMS.to_owned(), text(&clean)?)];
    Ok(Conclusion { report, files })
}

impl Found {
    fn add(&mut self, document: &str, one: &Value) {
        let run = one["run"].as_u64().unwrap_or_default();
        if self.documents == 0 || run > self.run {
            self.example = json!({"document": document, "text": one["snippet"]});
        }
        self.documents += 1;
        self.run = self.run.max(run);
        self.cover = self.cover.max(one["cover"].as_f64().unwrap_or_default());
        self.share = self.share.max(one["share"].as_f64().unwrap_or_default());
        *self.rules.entry(one["rule"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }

    fn json(self) -> Value {
        let Self { documents, run, cover, share, rules, example } = self;
        let mut value = json!({"documents": documents, "longest run": run, "rules": rules});
        for (name, share) in [("best cover", cover), ("best share", share)] {
            if share > 0.0 {
                value[name] = json!(share);
            }
        }
        value["example"] = example;
        value
    }
}

fn list<'a>(details: &'a Value, name: &str) -> &'a [Value] {
    details.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::new("cannot write a report").because(e))?;
    text.push(b'\n');
    Ok(text)
}
