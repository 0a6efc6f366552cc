//! LAMBADA in OpenAI's wording: the last word of a passage.

use psann_core::Result;
use serde_json::{Map, Value};

use super::super::metrics::Metric;
use super::settings::{Rule, Wording, config};
use super::{Fields, Output, Question, Settings, Source, Task, text};

/// The task.
#[derive(Debug)]
pub struct Lambada(pub Settings);

impl Default for Lambada {
    fn default() -> Self {
        let source = Source::public("EleutherAI/lambada_openai", Some("default"));
        let settings = Settings::new("lambada_openai", 1.0, Output::LogLikelihood, source);
        Self(Settings {
            test_split: Some("test".into()),
            metrics: vec![Metric::Perplexity, Metric::Accuracy],
            columns: vec!["text".into()],
            ..settings
        })
    }
}

impl Task for Lambada {
    fn settings(&self) -> &Settings {
        &self.0
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        let (context, target) = split_last_word(text(document, "text")?);
        Ok(Question::Continuation { context, target })
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let wording = Wording {
            text: Some(Rule::template("{{text.split(' ')[:-1]|join(' ')}}")),
            target: Some(Rule::template("{{' '+text.split(' ')[-1]}}")),
            decontamination: Some("{{text}}"),
            ..Wording::default()
        };
        config(&self.0, &wording, shots)
    }
}

/// What stands before the last blank, and a blank with what stands behind it. A text without a blank is all target.
pub fn split_last_word(text: &str) -> (String, String) {
    let (before, last) = text.rsplit_once(' ').unwrap_or(("", text));
    (before.to_owned(), format!(" {last}"))
}
