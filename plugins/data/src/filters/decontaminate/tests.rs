use std::collections::HashSet;
use std::fs;
use std::path::Path;

use psann_core::filter::Evidence;
use psann_core::{Batch, BatchBuilder, Document, Filter};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Action, CorpusFilter, Decontaminate, DecontaminateOptions, Note, Rules};
use crate::sources::files::Paths;

const PASSAGE: &str = "On the 14 May the ferryman counted 37 barrels of tar, tied them to the rail with wet rope and waited \
    until the bell of the chapel had rung twice. Nobody came down the hill, so he lit his pipe, turned the 2 lamps low \
    and told the dog that they would sleep on the ferry";

fn folder(files: &[(&str, &[Value])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, rows) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    }
    folder
}

fn filter(evals: &Path, change: impl FnOnce(&mut DecontaminateOptions)) -> Decontaminate {
    let evals = Some(Paths::One(evals.to_string_lossy().into_owned()));
    let mut options = DecontaminateOptions { evals, ..DecontaminateOptions::default() };
    change(&mut options);
    Decontaminate::new(options).unwrap()
}

fn lambada() -> (TempDir, Decontaminate) {
    let folder = folder(&[("lambada/test.jsonl", &[json!({"text": PASSAGE})])]);
    let filter = filter(folder.path(), |_| {});
    (folder, filter)
}

fn batch(texts: &[&str]) -> Batch {
    let mut batch = BatchBuilder::default();
    for text in texts {
        batch.push(Document { text: (*text).to_owned(), ..Document::default() });
    }
    batch.finish().unwrap()
}

/// The items that `text` contains, with the rule that says so.
fn found(filter: &Decontaminate, text: &str) -> Vec<(String, &'static str)> {
    let matches = filter.matches(text).unwrap();
    matches.into_iter().filter_map(|one| Some((one.id, one.facts.fired?))).collect()
}

fn fires(filter: &Decontaminate, text: &str) -> bool {
    let dropped = filter.apply(&batch(&[text])).unwrap().dropped[0].is_some();
    assert_eq!(dropped, !found(filter, text).is_empty());
    dropped
}

/// `PASSAGE` after a change of its words.
fn edited(change: impl FnOnce(&mut Vec<String>)) -> String {
    let mut words: Vec<String> = PASSAGE.split_whitespace().map(str::to_owned).collect();
    change(&mut words);
    words.join(" ")
}

#[test]
fn copies_are_found_however_they_are_written() {
    let (_folder, filter) = lambada();
    let full_width = |c: char| if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xfee0).unwrap() } else { c };
    let copies = [
        PASSAGE.to_owned(),
        PASSAGE.to_uppercase(),
        PASSAGE.to_lowercase(),
        PASSAGE.replace([',', '.'], ""),
        PASSAGE.replace(", ", " \u{2014} ").replace('.', "\u{2026}"),
        PASSAGE.replace(' ', "\u{a0}"),
        PASSAGE.replace(' ', "\r\n"),
        PASSAGE.replace(' ', "  "),
        PASSAGE.chars().map(full_width).collect(),
        format!("**{}**", PASSAGE.replace(' ', "** **")),
    ];
    for copy in copies {
        assert!(fires(&filter, &copy), "{copy}");
    }
}

#[test]
fn copies_are_found_wherever_they_stand() {
    let (_folder, filter) = lambada();
    let other = "Some other text that has nothing to do with it at all. ".repeat(20);
    for copy in [format!("{PASSAGE}. {other}"), format!("{other}\n{PASSAGE}\n{other}"), format!("{other}{PASSAGE}")] {
        assert_eq!(found(&filter, &copy), [("lambada-0".to_owned(), "final_run")]);
    }
}

#[test]
fn one_changed_word_does_not_hide_a_copy() {
    let (_folder, filter) = lambada();
    let words = PASSAGE.split_whitespace().count();
    for at in 0..words {
        assert!(fires(&filter, &edited(|words| words[at] = "nonsense".into())), "word {at} replaced");
        assert!(fires(&filter, &edited(|words| words.insert(at, "nonsense".into()))), "word {at} inserted");
        assert!(fires(&filter, &edited(|words| _ = words.remove(at))), "word {at} deleted");
    }
    assert!(fires(&filter, &PASSAGE.replace("14", "15").replace("37", "12").replace('2', "9")), "numbers changed");
}

#[test]
fn a_copy_split_over_two_documents_is_none() {
    let folder = folder(&[(
        "hellaswag/validation.jsonl",
        &[json!({
            "ctx": "[header] How to dry herbs [title] Tie them up. [step] Hang",
            "endings": ["them in a dry room and wait for two weeks before you fill the jars.", "a bell."], "label": "0",
        })],
    )]);
    let filter = filter(folder.path(), |_| {});
    let whole =
        "How to dry herbs: Tie them up. Hang them in a dry room and wait for two weeks before you fill the jars.";
    assert!(fires(&filter, whole));
    let (first, second) = whole.split_at(whole.find("room and").unwrap());
    assert!(!fires(&filter, first));
    assert!(!fires(&filter, second));
}

#[test]
fn what_is_no_copy_is_none() {
    let (_folder, filter) = lambada();
    let scattered = edited(|words| words.iter_mut().step_by(7).for_each(|word| *word = "other".into()));
    let reversed = edited(|words| words.reverse());
    for text in
        ["", " \n\t", "word", "\u{301}\u{200d}", "The ferryman waited until the bell rang.", &scattered, &reversed]
    {
        assert!(!fires(&filter, text), "{text}");
        assert!(filter.keys(&batch(&[text])).unwrap().notes.is_empty());
    }
    assert_eq!(filter.keys(&batch(&[])).unwrap(), psann_core::Keys::default());
}

#[test]
fn short_items_must_be_there_as_a_whole() {
    let rows = [
        json!({"goal": "Dry boots.", "sol1": "Stuff with newspaper.", "sol2": "Boil them."}),
        json!({"goal": "Keep bread fresh for a week.", "sol1": "Wrap it in a cloth.", "sol2": "Leave it in the rain."}),
    ];
    let folder = folder(&[("piqa/valid.jsonl", &rows)]);
    let filter = filter(folder.path(), |_| {});
    let one = |id: &str| [(id.to_owned(), "whole")];
    assert_eq!(found(&filter, "Tips. DRY BOOTS: stuff with newspaper! More tips."), one("piqa-0"));
    assert_eq!(found(&filter, "dry boots boil them"), one("piqa-0"));
    assert!(!fires(&filter, "dry boots stuff with old newspaper"));
    assert_eq!(found(&filter, "keep bread fresh for a week -- wrap it in a cloth"), one("piqa-1"));
    assert!(!fires(&filter, "keep bread fresh for a week, wrap it in a towel"));
}

#[test]
fn other_scripts_and_composed_letters_are_compared_too() {
    let text = "Старик вышел из дома рано утром, взял сеть и весло, посмотрел на море и сказал внуку, что сегодня \
        они пойдут за маяк";
    let folder = folder(&[("mine.jsonl", &[json!({"id": 7, "text": text})])]);
    let filter = filter(folder.path(), |_| {});
    assert_eq!(found(&filter, &text.to_uppercase()), [("7".to_owned(), "run")]);
    // й as и and a combining breve.
    assert!(fires(&filter, &text.replace('й', "и\u{306}")));
}

#[test]
fn repeated_words_make_runs_as_long_as_the_shorter_text() {
    let folder = folder(&[("mine.jsonl", &[json!({"text": "la ".repeat(20)})])]);
    let filter = filter(folder.path(), |_| {});
    let run = |words: usize| filter.matches(&"la ".repeat(words)).unwrap().first().map_or(0, |one| one.facts.run);
    assert_eq!([7, 8, 12, 20, 50].map(run), [0, 8, 12, 20, 20]);
}

#[test]
fn frequent_ngrams_are_no_evidence_but_do_not_hide_the_rest() {
    let (_folder, filter) = lambada();
    let batch = batch(&[PASSAGE]);
    let keys = filter.keys(&batch).unwrap();
    let formula = edited(|words| words.truncate(words.len() / 2));
    let frequent: HashSet<u64> =
        filter.keys(&self::batch(&[&formula])).unwrap().entries.into_iter().map(|entry| entry.0).collect();
    let judge = |note: &[u8]| filter.judge(note, &|key| frequent.contains(&key)).unwrap();
    assert_eq!(judge(&keys.notes[0]).dropped, Some(0));
    // Three words more than half of it: enough if all n-grams count.
    let longer = edited(|words| words.truncate(words.len() / 2 + 3));
    let keys = filter.keys(&self::batch(&[&longer])).unwrap();
    assert!(filter.judge(&keys.notes[0], &|_| false).unwrap().dropped.is_some());
    let judged = judge(&keys.notes[0]);
    assert_eq!(judged.dropped, None);
    assert_eq!(judged.details["only formulas of"][0]["item"], "lambada-0");
}

#[test]
fn a_rarity_of_nothing_switches_the_guard_off() {
    let (folder, filter) = lambada();
    assert_eq!(filter.most(), 10);
    assert_eq!(self::filter(folder.path(), |options| options.rarity = 0).most(), u64::MAX);
}

#[test]
fn tagged_documents_are_kept_and_reported() {
    let (folder, _) = lambada();
    let filter = filter(folder.path(), |options| options.action = Action::Tag);
    let batch = batch(&[PASSAGE]);
    let verdicts = filter.apply(&batch).unwrap();
    assert_eq!(verdicts.dropped, [None]);
    assert_eq!(verdicts.counts["documents contaminated"], 1);
    let judgement = filter.judge(&filter.keys(&batch).unwrap().notes[0], &|_| false).unwrap();
    assert_eq!(judgement.dropped, None);
    assert_eq!(judgement.details["contains"][0]["item"], "lambada-0");
}

#[test]
fn every_rule_can_be_switched_off() {
    let (folder, _) = lambada();
    let rules: Rules = serde_json::from_value(json!({"lambada": {"final_run": 0, "cover": 0}})).unwrap();
    assert!(!fires(&filter(folder.path(), |options| options.rules = rules), PASSAGE));
    let rules: Rules = serde_json::from_value(json!({"lambada": {"final_run": 0}})).unwrap();
    let filter = filter(folder.path(), |options| options.rules = rules);
    assert_eq!(found(&filter, PASSAGE), [("lambada-0".to_owned(), "cover")]);
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    let message = |rules: Value| {
        let options: DecontaminateOptions = serde_json::from_value(json!({"evals": "x", "rules": rules})).unwrap();
        Decontaminate::new(options).err().unwrap().to_string()
    };
    assert_eq!(
        message(json!({"hellaswag": {"run": 5}})),
        "`rules.hellaswag.run` is 5, and runs of fewer than 8 words are not seen"
    );
    assert_eq!(message(json!({"piqa": {"cover": 60}})), "`rules.piqa.cover` is 60, and a share is between 0 and 1");
    assert!(Decontaminate::new(DecontaminateOptions::default()).err().unwrap().to_string().contains("look for"));
}

#[test]
fn identity_follows_the_files() {
    let (folder, filter) = lambada();
    let before = filter.identity().unwrap();
    assert_eq!(self::filter(folder.path(), |_| {}).identity().unwrap(), before);
    fs::write(folder.path().join("lambada/test.jsonl"), format!("{}\n", json!({"text": "changed"}))).unwrap();
    assert_ne!(self::filter(folder.path(), |_| {}).identity().unwrap(), before);
}

#[test]
fn notes_of_another_version_are_refused() {
    assert!(Note::decode(br#"{"version":0,"candidates":[]}"#).is_err());
    assert!(Note::decode(b"").is_err());
}

#[test]
fn recipes_set_single_thresholds() {
    let (folder, _) = lambada();
    let evals = folder.path().to_string_lossy();
    let build = |rules: Value| psann_core::registry::filter("decontaminate", &json!({"evals": evals, "rules": rules}));
    let filter = build(json!({"lambada": {"final_run": 0, "cover": 0.9}})).unwrap();
    let half = edited(|words| words.truncate(words.len() * 2 / 3));
    assert_eq!(filter.apply(&batch(&[&half, PASSAGE])).unwrap().dropped, [None, Some(0)]);
    assert!(build(json!({"lambada": {"covers": 1}})).err().unwrap().to_string().contains("covers"));
}
