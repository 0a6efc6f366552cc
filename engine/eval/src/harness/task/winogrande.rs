//! Winogrande: which of two words fills the gap of a sentence.
//!
//! The contexts differ and what follows is the same: the sentence behind the gap is scored, once behind each word
//! (Trinh and Le, "A Simple Method for Commonsense Reasoning", 2018, "partial scoring").

use psann_core::{Error, Result};
use serde_json::{Map, Value};

use super::super::metrics::Metric;
use super::settings::{Rule, Wording, config};
use super::{Fields, Output, Question, Settings, Source, Task, label, text};
use crate::python::text::strip;

/// The task.
#[derive(Debug)]
pub struct Winogrande(pub Settings);

impl Default for Winogrande {
    fn default() -> Self {
        let source = Source::public("allenai/winogrande", Some("winogrande_xl"));
        let settings = Settings::new("winogrande", 1.0, Output::MultipleChoice, source);
        Self(Settings {
            training_split: Some("train".into()),
            validation_split: Some("validation".into()),
            metrics: vec![Metric::Accuracy],
            columns: ["sentence", "option1", "option2", "answer"].map(String::from).into(),
            ..settings
        })
    }
}

impl Task for Winogrande {
    fn settings(&self) -> &Settings {
        &self.0
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        let sentence = text(document, "sentence")?;
        let options = [text(document, "option1")?, text(document, "option2")?];
        let (contexts, ending) =
            fill_gap(sentence, options).ok_or_else(|| Error::new("has a `sentence` without the gap `_`"))?;
        Ok(Question::Contexts { contexts: contexts.into(), ending, gold: label(document, "answer", 1, 2)? })
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let wording = Wording {
            text: Some(Rule::Code),
            target: Some(Rule::Code),
            choice: Some(Rule::Code),
            decontamination: Some("sentence"),
            ..Wording::default()
        };
        config(&self.0, &wording, shots)
    }
}

/// The sentence up to its first gap with each option in it, and what stands behind the gap; `None` without a gap.
pub fn fill_gap(sentence: &str, options: [&str; 2]) -> Option<([String; 2], String)> {
    let (before, behind) = sentence.split_once('_')?;
    Some((options.map(|option| format!("{before}{option}")), strip(behind).to_owned()))
}
