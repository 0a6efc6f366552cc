//! What is fixed about a task, and how result files describe it.

use serde_json::{Map, Value, json};

use super::super::metrics::Metric;

/// Stands in a result file where lm-evaluation-harness prints the source text of a Python function: the rule is built in.
const BUILT_IN_RULE: &str = "<built in>";

/// What is fixed about a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// The version of its definition.
    pub version: f64,
    /// What is asked of the model.
    pub output: Output,
    /// Where its documents come from.
    pub source: Source,
    /// The split that examples are taken from, where there is one.
    pub training_split: Option<String>,
    /// The split that is evaluated where there is no test split.
    pub validation_split: Option<String>,
    /// The split that is evaluated.
    pub test_split: Option<String>,
    /// The split that examples are taken from before all others.
    pub fewshot_split: Option<String>,
    /// Between a question and its answer.
    pub target_delimiter: String,
    /// Behind each example.
    pub fewshot_delimiter: String,
    /// Number of examples where the user names none.
    pub shots: Option<usize>,
    /// What is measured.
    pub metrics: Vec<Metric>,
    /// The columns that a row must have, for error messages.
    pub columns: Vec<String>,
}

/// Where the documents of a task come from, as result files name it.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The data set's public name, or `json` for local files.
    pub path: String,
    /// Which configuration of it.
    pub name: Option<String>,
    /// Local files by split, where they stand in for the public data set.
    pub files: Map<String, Value>,
    /// Where the task is defined.
    pub definition: String,
}

impl Source {
    /// A public data set.
    pub fn public(path: &str, name: Option<&str>) -> Self {
        Self { path: path.to_owned(), name: name.map(str::to_owned), files: Map::new(), definition: "psann".to_owned() }
    }
}

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The likeliest of several endings.
    MultipleChoice,
    /// The likelihood of a continuation.
    LogLikelihood,
    /// The likelihood of a whole text.
    Rolling,
    /// A text.
    Generate(Generation),
}

/// How a text is generated: greedily, until one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Texts that end it; they are not part of it.
    pub until: Vec<String>,
    /// The most new tokens.
    pub tokens: usize,
}

impl Output {
    /// Its name in result files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::LogLikelihood => "loglikelihood",
            Self::Rolling => "loglikelihood_rolling",
            Self::Generate(_) => "generate_until",
        }
    }
}

impl Settings {
    /// A task without splits, columns or metrics.
    pub fn new(name: &str, version: f64, output: Output, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            version,
            output,
            source,
            training_split: None,
            validation_split: None,
            test_split: None,
            fewshot_split: None,
            target_delimiter: " ".to_owned(),
            fewshot_delimiter: "\n\n".to_owned(),
            shots: None,
            metrics: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// The split that is evaluated.
    pub fn evaluated_split(&self) -> &str {
        self.test_split.as_deref().or(self.validation_split.as_deref()).unwrap_or("test")
    }

    /// The split that examples are taken from.
    pub fn example_split(&self) -> &str {
        let named = self.fewshot_split.as_deref().or(self.training_split.as_deref());
        named.or(self.validation_split.as_deref()).or(self.test_split.as_deref()).unwrap_or("train")
    }

    /// The splits that an evaluation with so many examples needs: the evaluated one first.
    pub fn needed_splits(&self, shots: Option<usize>) -> Vec<&str> {
        let mut splits = vec![self.evaluated_split()];
        let examples = self.example_split();
        if self.shown(shots) > 0 && self.output != Output::Rolling && !splits.contains(&examples) {
            splits.push(examples);
        }
        splits
    }

    /// How many examples are shown where the user asks for `shots`. A task that says 0 means it.
    pub fn shown(&self, shots: Option<usize>) -> usize {
        if self.shots == Some(0) { 0 } else { shots.or(self.shots).unwrap_or(0) }
    }

    /// Data set, split and columns in words, for messages about what is missing.
    pub fn expects(&self, split: &str) -> String {
        let name = self.source.name.as_ref().map_or(String::new(), |name| format!(" (`{name}`)"));
        let columns = self.columns.join("`, `");
        let columns = if columns.is_empty() { String::new() } else { format!(", columns `{columns}`") };
        format!("data set `{}`{name}, split `{split}`{columns}", self.source.path)
    }

    /// Whether a document may not be its own example, as the reference decides it: where the split for examples and the
    /// split for tests carry the same name, or neither is named.
    pub fn excludes_itself(&self) -> bool {
        self.fewshot_split == self.test_split
    }
}

/// How a task words its questions, in the words of its definition.
#[derive(Debug, Clone, Default)]
pub(super) struct Wording {
    pub process_docs: bool,
    pub text: Option<Rule>,
    pub target: Option<Rule>,
    pub choice: Option<Rule>,
    pub process_results: bool,
    pub description: Option<String>,
    pub answer_prefix: Option<String>,
    /// Whether training sets are searched for the documents, and for what.
    pub decontamination: Option<&'static str>,
    /// Whether the list of metrics tells how they are aggregated.
    pub bare_metrics: bool,
}

/// A template, a column, a list of texts, or a rule in code.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Template(Value),
    Code,
}

impl Rule {
    pub fn template(text: &str) -> Self {
        Self::Template(Value::from(text))
    }

    fn json(&self) -> Value {
        match self {
            Self::Template(value) => value.clone(),
            Self::Code => Value::from(BUILT_IN_RULE),
        }
    }
}

/// The description of a task in a result file: what is set, in the reference's order.
pub(super) fn config(settings: &Settings, wording: &Wording, shots: usize) -> Map<String, Value> {
    let rule = |rule: &Option<Rule>| rule.as_ref().map_or(Value::Null, Rule::json);
    let code = |there: bool| if there { Value::from(BUILT_IN_RULE) } else { Value::Null };
    let source = &settings.source;
    let files = if source.files.is_empty() { Value::Null } else { json!({ "data_files": source.files }) };
    let metric = |metric: &Metric| {
        let mut entry = Map::from_iter([("metric".to_owned(), json!(metric.name()))]);
        if !wording.bare_metrics {
            entry.insert("aggregation".to_owned(), json!(metric.aggregation()));
            entry.insert("higher_is_better".to_owned(), json!(metric.higher_is_better()));
        }
        if let Metric::ExactMatch(rules) = metric {
            let set = [("ignore_case", rules.ignore_case), ("ignore_punctuation", rules.ignore_punctuation)];
            entry.extend(set.into_iter().filter(|(_, on)| *on).map(|(name, on)| (name.to_owned(), json!(on))));
        }
        Value::Object(entry)
    };
    let generation = match &settings.output {
        Output::Generate(generation) => {
            json!({ "until": generation.until, "max_gen_toks": generation.tokens, "do_sample": false })
        }
        _ => Value::Null,
    };
    let examples = json!({
        "sampler": "default",
        "split": settings.fewshot_split,
        "process_docs": code(wording.process_docs),
        "fewshot_indices": null,
        "samples": null,
        "doc_to_text": rule(&wording.text),
        "doc_to_choice": rule(&wording.choice),
        "doc_to_target": rule(&wording.target),
        "gen_prefix": wording.answer_prefix,
        "fewshot_delimiter": settings.fewshot_delimiter,
        "target_delimiter": settings.target_delimiter,
    });
    let entries = [
        ("task", json!(settings.name)),
        ("dataset_path", json!(source.path)),
        ("dataset_name", json!(source.name)),
        ("dataset_kwargs", files),
        ("training_split", json!(settings.training_split)),
        ("validation_split", json!(settings.validation_split)),
        ("test_split", json!(settings.test_split)),
        ("fewshot_split", json!(settings.fewshot_split)),
        ("process_docs", code(wording.process_docs)),
        ("doc_to_text", rule(&wording.text)),
        ("doc_to_target", rule(&wording.target)),
        ("unsafe_code", json!(false)),
        ("doc_to_choice", rule(&wording.choice)),
        ("process_results", code(wording.process_results)),
        ("description", json!(wording.description.clone().unwrap_or_default())),
        ("target_delimiter", json!(settings.target_delimiter)),
        ("fewshot_delimiter", json!(settings.fewshot_delimiter)),
        ("fewshot_config", examples),
        ("num_fewshot", json!(shots)),
        ("metric_list", settings.metrics.iter().map(metric).collect()),
        ("output_type", json!(settings.output.name())),
        ("generation_kwargs", generation),
        ("repeats", json!(1)),
        ("should_decontaminate", json!(wording.decontamination.is_some())),
        ("doc_to_decontamination_query", json!(wording.decontamination)),
        ("gen_prefix", json!(wording.answer_prefix)),
        ("metadata", json!({ "version": settings.version, "config_source": source.definition })),
    ];
    let set = entries.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}
