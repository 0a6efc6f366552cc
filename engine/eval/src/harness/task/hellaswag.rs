//! HellaSwag: which of four endings goes on with a scene.

use std::sync::LazyLock;

use psann_core::Result;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::super::metrics::Metric;
use super::settings::{Rule, Wording, config};
use super::{Fields, Output, Question, Settings, Source, Task, label, text, texts};
use crate::python::text::{capitalize, strip};

/// The task.
#[derive(Debug)]
pub struct Hellaswag(pub Settings);

impl Default for Hellaswag {
    fn default() -> Self {
        let settings = Settings::new("hellaswag", 1.0, Output::MultipleChoice, Source::public("Rowan/hellaswag", None));
        Self(Settings {
            training_split: Some("train".into()),
            validation_split: Some("validation".into()),
            metrics: vec![Metric::Accuracy, Metric::AccuracyPerCharacter],
            columns: ["activity_label", "ctx_a", "ctx_b", "endings", "label"].map(String::from).into(),
            ..settings
        })
    }
}

impl Task for Hellaswag {
    fn settings(&self) -> &Settings {
        &self.0
    }

    fn prepare(&self, mut fields: Fields) -> Result<Fields> {
        let scene = format!(
            "{}: {} {}",
            text(&fields, "activity_label")?,
            text(&fields, "ctx_a")?,
            capitalize(text(&fields, "ctx_b")?)
        );
        let choices: Vec<String> = texts(&fields, "endings")?.iter().map(|ending| clean(ending)).collect();
        let gold = label(&fields, "label", 0, choices.len())?;
        for (name, value) in [("query", json!(clean(&scene))), ("choices", json!(choices)), ("gold", json!(gold))] {
            fields.insert(name.to_owned(), value);
        }
        Ok(fields)
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        let choices = texts(document, "choices")?;
        let gold = label(document, "label", 0, choices.len())?;
        Ok(Question::Choices { context: text(document, "query")?.to_owned(), choices, gold })
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let wording = Wording {
            process_docs: true,
            text: Some(Rule::template("{{query}}")),
            target: Some(Rule::template("{{label}}")),
            choice: Some(Rule::template("choices")),
            ..Wording::default()
        };
        config(&self.0, &wording, shots)
    }
}

static BRACKETED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[.*?\]").ok());

/// Takes out the markup that the how-to articles left: `[title]` is a full stop, other brackets are nothing.
pub fn clean(text: &str) -> String {
    let text = strip(text).replace(" [title]", ". ");
    let text = BRACKETED.as_ref().map_or(text.clone(), |bracketed| bracketed.replace_all(&text, "").into_owned());
    text.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_leaves_the_text() {
        assert_eq!(clean(" Make a list. [title] Sit [step] down [open"), "Make a list.. Sit down [open");
        assert_eq!(clean("a[x\ny]"), "a[x\ny]");
    }

    #[test]
    fn a_label_is_a_text_or_a_number_and_never_empty() {
        let row = |label: Value| {
            let row = json!({"activity_label": "A", "ctx_a": "b.", "ctx_b": "the Man", "endings": ["x", "y"], "label": label});
            Hellaswag::default().prepare(row.as_object().unwrap().clone())
        };
        let document = row(json!("1")).unwrap();
        assert_eq!(document["query"], "A: b. The man");
        assert_eq!((&document["gold"], &row(json!(1)).unwrap()["gold"]), (&json!(1), &json!(1)));
        insta::assert_snapshot!(row(json!("")).unwrap_err(), @"has no right answer: `label` is empty");
        insta::assert_snapshot!(row(json!("7")).unwrap_err(), @r#"column `label` must be a whole number from 0 to 1, found "7""#);
        insta::assert_snapshot!(row(json!(1.5)).unwrap_err(), @"column `label` must be a whole number from 0 to 1, found 1.5");
    }
}
