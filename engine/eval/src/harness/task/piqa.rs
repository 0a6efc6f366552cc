//! PIQA: which of two ways to do a thing works.

use psann_core::Result;
use serde_json::{Map, Value};

use super::super::metrics::Metric;
use super::settings::{Rule, Wording, config};
use super::{Fields, Output, Question, Settings, Source, Task, label, text};

/// The task.
#[derive(Debug)]
pub struct Piqa(pub Settings);

impl Default for Piqa {
    fn default() -> Self {
        let settings = Settings::new("piqa", 1.0, Output::MultipleChoice, Source::public("baber/piqa", None));
        Self(Settings {
            training_split: Some("train".into()),
            validation_split: Some("validation".into()),
            metrics: vec![Metric::Accuracy, Metric::AccuracyPerCharacter],
            columns: ["goal", "sol1", "sol2", "label"].map(String::from).into(),
            ..settings
        })
    }
}

impl Task for Piqa {
    fn settings(&self) -> &Settings {
        &self.0
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        Ok(Question::Choices {
            context: format!("Question: {}\nAnswer:", text(document, "goal")?),
            choices: vec![text(document, "sol1")?.to_owned(), text(document, "sol2")?.to_owned()],
            gold: label(document, "label", 0, 2)?,
        })
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let wording = Wording {
            text: Some(Rule::template("Question: {{goal}}\nAnswer:")),
            target: Some(Rule::template("label")),
            choice: Some(Rule::template("{{[sol1, sol2]}}")),
            decontamination: Some("goal"),
            ..Wording::default()
        };
        config(&self.0, &wording, shots)
    }
}
