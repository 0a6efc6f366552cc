//! Tasks of users, from TOML, in the words of lm-evaluation-harness's task files:
//!
//! ```toml
//! task = "qa"
//! output_type = "generate_until"
//! test_split = "test"
//! doc_to_text = "Q: {{question}}\nA:"
//! doc_to_target = "{{answer}}"
//!
//! [generation_kwargs]
//! until = ["\n", "Q:"]
//! max_gen_toks = 24
//!
//! [[metric_list]]
//! metric = "exact_match"
//! ignore_case = true
//! ```

use psann_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::metrics::{ExactMatch, Metric};
use super::settings::{Rule, Wording, config};
use super::template::Template;
use super::{Fields, Generation, Output, Question, Settings, Source, Task, wrong};
use crate::python::json::text as printed;
use crate::python::text::count_words;

/// A task of a user.
#[derive(Debug)]
pub struct UserTask {
    settings: Settings,
    text: Template,
    target: Template,
    choices: Option<Choices>,
    description: Option<Template>,
    answer_prefix: Option<Template>,
}

#[derive(Debug)]
enum Choices {
    List(Vec<Template>),
    One(Template),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    task: String,
    output_type: OutputType,
    doc_to_text: Option<String>,
    doc_to_target: String,
    doc_to_choice: Option<OneOrMany>,
    description: Option<String>,
    gen_prefix: Option<String>,
    training_split: Option<String>,
    validation_split: Option<String>,
    test_split: Option<String>,
    fewshot_split: Option<String>,
    num_fewshot: Option<usize>,
    target_delimiter: Option<String>,
    fewshot_delimiter: Option<String>,
    metric_list: Option<Vec<MetricEntry>>,
    generation_kwargs: Option<GenerationEntry>,
    version: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutputType {
    MultipleChoice,
    Loglikelihood,
    LoglikelihoodRolling,
    GenerateUntil,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricEntry {
    metric: String,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    ignore_punctuation: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationEntry {
    until: Option<OneOrMany>,
    max_gen_toks: Option<usize>,
}

impl UserTask {
    /// The task that `toml` describes; `file` names it in messages and results.
    ///
    /// # Errors
    /// Names the line of what is no TOML or no option, a template that is none, and options that do not fit each other.
    pub fn parse(toml: &str, file: &str) -> Result<Self> {
        Self::read(toml, file).map_err(|error| error.within(format!("task file `{file}`")))
    }

    fn read(toml: &str, file: &str) -> Result<Self> {
        let read: File = toml::from_str(toml).map_err(|error| {
            let line = error.span().map(|span| toml[..span.start.min(toml.len())].matches('\n').count() + 1);
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            Error::usage(format!("{place}{}", error.message()))
        })?;
        let output = match read.output_type {
            OutputType::MultipleChoice => Output::MultipleChoice,
            OutputType::Loglikelihood => Output::LogLikelihood,
            OutputType::LoglikelihoodRolling => Output::Rolling,
            OutputType::GenerateUntil => Output::Generate(generation(read.generation_kwargs.as_ref())),
        };
        if output == Output::MultipleChoice && read.doc_to_choice.is_none() {
            return Err(Error::usage("output type `multiple_choice` needs `doc_to_choice`")
                .hint("a list of texts, the name of a column that is a list, or `{{[first, second]}}`"));
        }
        if read.test_split.is_none() && read.validation_split.is_none() {
            return Err(Error::usage("no split is named").hint("set `test_split` or `validation_split`"));
        }
        if read.doc_to_text.is_none() && output != Output::Rolling {
            return Err(Error::usage("option `doc_to_text` is missing").hint("it words the question"));
        }
        let mut source = Source::public("json", None);
        file.clone_into(&mut source.definition);
        let mut settings = Settings::new(&read.task, read.version.unwrap_or(0.0), output, source);
        settings.metrics = metrics(read.metric_list.as_deref(), &settings.output)?;
        settings.training_split = read.training_split;
        settings.validation_split = read.validation_split;
        settings.test_split = read.test_split;
        settings.fewshot_split = read.fewshot_split;
        settings.shots = read.num_fewshot;
        settings.target_delimiter = read.target_delimiter.unwrap_or(settings.target_delimiter);
        settings.fewshot_delimiter = read.fewshot_delimiter.unwrap_or(settings.fewshot_delimiter);
        let choices = match read.doc_to_choice {
            None => None,
            Some(OneOrMany::One(source)) => Some(Choices::One(Template::new("doc_to_choice", &source)?)),
            Some(OneOrMany::Many(list)) => {
                let list: Result<_> = list.iter().map(|source| Template::new("doc_to_choice", source)).collect();
                Some(Choices::List(list?))
            }
        };
        let optional = |name: &str, source: Option<String>| source.map(|it| Template::new(name, &it)).transpose();
        Ok(Self {
            settings,
            text: Template::new("doc_to_text", &read.doc_to_text.unwrap_or_default())?,
            target: Template::new("doc_to_target", &read.doc_to_target)?,
            choices,
            description: optional("description", read.description)?,
            answer_prefix: optional("gen_prefix", read.gen_prefix)?,
        })
    }

    fn choices(&self, document: &Fields) -> Result<Vec<String>> {
        let choices = match &self.choices {
            None => Vec::new(),
            Some(Choices::List(list)) => {
                let filled = |one: &Template| Ok(printed(&one.filled(document)?));
                list.iter().map(filled).collect::<Result<Vec<String>>>()?
            }
            Some(Choices::One(template)) => {
                let value = template.value(document)?;
                let list = value.as_array().ok_or_else(|| wrong("doc_to_choice", "a list", &value))?;
                list.iter().map(printed).collect()
            }
        };
        if choices.is_empty() {
            return Err(Error::new("`doc_to_choice` gives no choice"));
        }
        Ok(choices)
    }
}

impl Task for UserTask {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn question(&self, document: &Fields) -> Result<Question> {
        let target = self.target.value(document)?;
        match self.settings.output {
            Output::MultipleChoice => {
                let choices = self.choices(document)?;
                match self.text.value(document)? {
                    // The number of the right context: the choices stand before what is scored.
                    number @ Value::Number(_) => Ok(Question::Contexts {
                        gold: gold(&number, &choices)?,
                        contexts: choices,
                        ending: printed(&target),
                    }),
                    text => {
                        let gold = gold(&target, &choices)?;
                        Ok(Question::Choices { context: printed(&text), choices, gold })
                    }
                }
            }
            Output::LogLikelihood => {
                Ok(Question::Continuation { context: self.text.text(document)?, target: printed(&target) })
            }
            Output::Rolling => {
                let text = printed(&target);
                Ok(Question::Rolling { words: count_words(&text), bytes: text.len() as u64, text })
            }
            Output::Generate(_) => Ok(Question::Open { context: self.text.text(document)?, target: printed(&target) }),
        }
    }

    fn description(&self, document: &Fields) -> Result<String> {
        self.description.as_ref().map_or(Ok(String::new()), |template| template.text(document))
    }

    fn answer_prefix(&self, document: &Fields) -> Result<String> {
        self.answer_prefix.as_ref().map_or(Ok(String::new()), |template| template.text(document))
    }

    fn config(&self, shots: usize) -> Map<String, Value> {
        let choice = self.choices.as_ref().map(|choices| {
            Rule::Template(match choices {
                Choices::One(template) => Value::from(template.source()),
                Choices::List(list) => list.iter().map(|one| Value::from(one.source())).collect(),
            })
        });
        let wording = Wording {
            text: Some(Rule::template(self.text.source())),
            target: Some(Rule::template(self.target.source())),
            choice,
            description: self.description.as_ref().map(|template| template.source().to_owned()),
            answer_prefix: self.answer_prefix.as_ref().map(|template| template.source().to_owned()),
            ..Wording::default()
        };
        config(&self.settings, &wording, shots)
    }
}

/// The right one of `choices`: its number, or the choice itself.
fn gold(value: &Value, choices: &[String]) -> Result<usize> {
    let number = match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()) => {
            text.parse().ok()
        }
        Value::String(text) => choices.iter().position(|choice| choice == text),
        other => other.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    number.filter(|number| *number < choices.len()).ok_or_else(|| {
        Error::new(format!("the right answer is {value}, which is none of the {} choices", choices.len()))
            .hint("`doc_to_target` gives the number of the right choice, counted from 0, or the choice itself")
    })
}

fn generation(entry: Option<&GenerationEntry>) -> Generation {
    let until = match entry.and_then(|entry| entry.until.as_ref()) {
        None => vec!["\n\n".to_owned()],
        Some(OneOrMany::One(text)) => vec![text.clone()],
        Some(OneOrMany::Many(texts)) => texts.clone(),
    };
    Generation { until, tokens: entry.and_then(|entry| entry.max_gen_toks).unwrap_or(256) }
}

/// The metrics that are named, or the usual ones of the output type.
fn metrics(named: Option<&[MetricEntry]>, output: &Output) -> Result<Vec<Metric>> {
    let possible = match output {
        Output::MultipleChoice => {
            vec![Metric::Accuracy, Metric::AccuracyPerCharacter, Metric::AccuracyPerByte, Metric::AccuracyPerToken]
        }
        Output::LogLikelihood => vec![Metric::Perplexity, Metric::Accuracy],
        Output::Rolling => vec![Metric::WordPerplexity, Metric::BytePerplexity, Metric::BitsPerByte],
        Output::Generate(_) => vec![Metric::ExactMatch(ExactMatch::default())],
    };
    let Some(named) = named else {
        let usual = if *output == Output::MultipleChoice { 2 } else { possible.len() };
        return Ok(possible.into_iter().take(usual).collect());
    };
    let metric = |entry: &MetricEntry| {
        let found = possible.iter().find(|metric| metric.name() == entry.metric).cloned().ok_or_else(|| {
            let names: Vec<&str> = possible.iter().map(Metric::name).collect();
            Error::usage(format!("output type `{}` has no metric `{}`", output.name(), entry.metric))
                .hint(format!("it has `{}`", names.join("`, `")))
        })?;
        match found {
            Metric::ExactMatch(_) => Ok(Metric::ExactMatch(ExactMatch {
                ignore_case: entry.ignore_case,
                ignore_punctuation: entry.ignore_punctuation,
            })),
            _ if entry.ignore_case || entry.ignore_punctuation => {
                Err(Error::usage(format!("metric `{}` compares no texts, so it can ignore nothing", entry.metric)))
            }
            other => Ok(other),
        }
    };
    named.iter().map(metric).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(toml: &str, row: &Value) -> Result<Question> {
        UserTask::parse(toml, "own.toml")?.question(row.as_object().unwrap())
    }

    const CHOICE: &str = r#"
task = "own"
output_type = "multiple_choice"
validation_split = "validation"
doc_to_text = "{{q}}?"
doc_to_target = "label"
doc_to_choice = ["{{a}}", "no"]
"#;

    #[test]
    fn the_right_choice_is_a_number_or_the_choice() {
        let expected =
            |gold| Question::Choices { context: "Why?".into(), choices: vec!["yes".into(), "no".into()], gold };
        for (label, gold) in [(json!(1), 1), (json!("1"), 1), (json!("yes"), 0), (json!("no"), 1)] {
            assert_eq!(question(CHOICE, &json!({"q": "Why", "a": "yes", "label": label})).unwrap(), expected(gold));
        }
        let wrong = question(CHOICE, &json!({"q": "Why", "a": "yes", "label": 2})).unwrap_err();
        insta::assert_snapshot!(wrong, @"the right answer is 2, which is none of the 2 choices");
    }

    #[test]
    fn a_number_for_a_text_means_several_contexts() {
        let toml =
            CHOICE.replace("\"{{q}}?\"", "\"label\"").replace("doc_to_target = \"label\"", "doc_to_target = \"q\"");
        let found = question(&toml, &json!({"q": "end", "a": "x", "label": 0})).unwrap();
        let contexts = vec!["x".into(), "no".into()];
        assert_eq!(found, Question::Contexts { contexts, ending: "end".into(), gold: 0 });
    }

    #[test]
    fn mistakes_in_a_task_file_are_named() {
        let error = |toml: &str| UserTask::parse(toml, "own.toml").unwrap_err().to_string();
        insta::assert_snapshot!(error("task = 1"), @"task file `own.toml`: line 1: invalid type: integer `1`, expected a string");
        insta::assert_snapshot!(error(&CHOICE.replace("doc_to_choice", "doc_to_choices")), @"task file `own.toml`: line 7: unknown field `doc_to_choices`, expected one of `task`, `output_type`, `doc_to_text`, `doc_to_target`, `doc_to_choice`, `description`, `gen_prefix`, `training_split`, `validation_split`, `test_split`, `fewshot_split`, `num_fewshot`, `target_delimiter`, `fewshot_delimiter`, `metric_list`, `generation_kwargs`, `version`");
        insta::assert_snapshot!(error(&CHOICE.replace("doc_to_choice = [\"{{a}}\", \"no\"]", "")), @"task file `own.toml`: output type `multiple_choice` needs `doc_to_choice`");
        insta::assert_snapshot!(error(&CHOICE.replace("validation_split = \"validation\"", "")), @"task file `own.toml`: no split is named");
        insta::assert_snapshot!(error(&CHOICE.replace("{{q}}?", "{{q")), @"task file `own.toml`: option `doc_to_text` is no template in its line 1: unexpected end of input, expected end of variable block");
        insta::assert_snapshot!(error(&format!("{CHOICE}\n[[metric_list]]\nmetric = \"bleu\"")), @"task file `own.toml`: output type `multiple_choice` has no metric `bleu`");
    }
}
