//! Evaluating a model on tasks: for `psann evaluate`, for the stage `evaluate`, and in the middle of a training.
//!
//! All three plan the same suite from the same options and files, and differ in where the weights are and where the
//! results go.

mod chat;
mod clean;
pub mod compared;
mod documents;
mod files;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use psann_core::{Error, Observer, Result, Tokenizer};
use psann_data::tokenizer::TextTokenizer;
use psann_eval::answer::{self, AnswerOptions, Journal, Part};
use psann_eval::evaluate::EvaluateOptions;
use psann_eval::harness::{Encoder, Format, REFERENCE, Results, Run, Suite, SuiteOptions};
use psann_eval::network::Network;
use psann_train::ranks::Ranks;
use serde_json::{Map, Value, json};

pub use chat::Renderer;
pub use documents::{Sources, digest};
pub use files::{folder, save};

/// What is asked, and of which documents.
pub struct Questions {
    sources: Sources,
    options: SuiteOptions,
    renderer: Option<Renderer>,
    max_length: usize,
}

/// The model as result files name it.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its name, from which the folder of results is named.
    pub name: String,
    /// Where it was opened.
    pub source: String,
    /// The kind of model: its plugin.
    pub kind: String,
    /// Number of weights.
    pub parameters: u64,
    /// What weights are stored in.
    pub dtype: String,
}

impl Questions {
    /// Reads tasks and documents. `max_length` is the most tokens that the model reads, unless the options
    /// say.
    ///
    /// # Errors
    /// Names the task, file and line that is not as it should be; options that exclude each other.
    pub fn new(
        options: &EvaluateOptions,
        suite: SuiteOptions,
        tokenizer: &TextTokenizer,
        max_length: u64,
        template: Option<&Path>,
    ) -> Result<Self> {
        let data: Vec<PathBuf> = options.data.iter().map(PathBuf::from).collect();
        let sources = Sources::read(&options.tasks, &data, suite.shots)?;
        let renderer = (suite.format != Format::Plain).then(|| Renderer::new(tokenizer, template)).transpose()?;
        let max_length = options.context.map_or(max_length, |context| context.0) as usize;
        Ok(Self { sources, options: suite, renderer, max_length })
    }

    /// Plans the suite: everything that is drawn is drawn here.
    ///
    /// # Errors
    /// Names the row that is not as its task needs it.
    pub fn suite<'a>(&'a self, tokenizer: &'a dyn Tokenizer) -> Result<Suite<'a>> {
        let encoder = Encoder::new(tokenizer, self.max_length)?;
        Suite::new(self.sources.tasks()?, self.options.clone(), encoder, self.renderer.as_ref().map(Renderer::as_chat))
    }
}

/// Answers a suite, together with the other ranks, and gives the results on the first one. `folder` holds the journal.
///
/// # Errors
/// When the network fails, the journal cannot be written, or the user asked to stop.
pub fn evaluate<'s, 'a>(
    network: Network<'_>,
    identity: &str,
    suite: &'s Suite<'a>,
    options: AnswerOptions,
    ranks: &Ranks,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Option<Results<'s, 'a>>> {
    let (rank, size) = (ranks.group.rank(), ranks.group.size());
    let mut journal = Journal::open(folder, identity, rank)?;
    // Nobody appends before everybody has read: the share of each follows from what is missing.
    ranks.group.barrier()?;
    let answered = answer::answer(network, suite, Part { rank, ranks: size }, options, &mut journal, observer);
    let stopped = answered.as_ref().err().map_or(0.0, |_| 1.0);
    let mut failures = [stopped];
    psann_core::collective::sum_values(ranks.group.as_ref(), &mut failures)?;
    answered?;
    if failures[0] > 0.0 {
        return Err(Error::interrupted("another rank stopped").hint("its message says why"));
    }
    if !ranks.is_first() {
        return Ok(None);
    }
    journal.refresh()?;
    let answers = answer::collect(suite, &journal)?.ok_or_else(|| {
        Error::new(format!("answers of other ranks are not in `{}`", folder.display()))
            .hint("all ranks need the same folder, on a file system that they share")
    })?;
    suite.finish(&answers).map(Some)
}

/// What answers depend on: the weights and the tokenizer. Names the journal's folder.
///
/// # Errors
/// When a tensor's bytes cannot be read.
pub fn identity(network: Network<'_>, tokenizer: &dyn Tokenizer) -> Result<String> {
    Ok(network.digest(&tokenizer.identity())?[..16].to_owned())
}

/// Deletes what was answered before.
///
/// # Errors
/// When it cannot be deleted.
pub fn forget(journal: &Path, identity: &str) -> Result<()> {
    let folder = journal.join(identity);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot delete `{}`", folder.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// What a result file tells beside the scores.
pub fn run(model: &Named, suite: &Suite<'_>, renderer: Option<&Renderer>, batch: u64, started: Instant) -> Run {
    let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let facts = [("model_num_parameters", json!(model.parameters)), ("model_dtype", json!(model.dtype))];
    Run {
        model: model.kind.clone(),
        model_args: json!({ "path": model.source, "max_length": suite.encoder().max_length() }),
        model_facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        batch_size: json!(batch),
        device: Some("cpu".to_owned()),
        git_hash: None,
        date,
        environment: format!(
            "psann {} on {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        transformers_version: None,
        lm_eval_version: REFERENCE.to_owned(),
        model_source: "psann".to_owned(),
        model_name: model.name.clone(),
        chat_template: renderer.map(|renderer| renderer.source().to_owned()),
        seconds: started.elapsed().as_secs_f64(),
        extra: Map::new(),
    }
}

impl Questions {
    /// The chat template, where prompts are written with one.
    pub fn renderer(&self) -> Option<&Renderer> {
        self.renderer.as_ref()
    }
}

/// Results as a user reads them: the table, what moves before accuracy does, and the scores of clean items.
pub fn text(results: &Results<'_, '_>, subsets: &[clean::Subset]) -> String {
    let mut text = results.table();
    let sensitive = sensitive(results);
    if !sensitive.is_empty() {
        text.push('\n');
        text.push_str(&sensitive);
    }
    if !subsets.is_empty() {
        text.push('\n');
        text.push_str(&clean::text(subsets));
    }
    for task in results.tasks() {
        text.push_str(&format!("{} task hash {}\n", task.name, task.task_hash));
    }
    text
}

/// Scores of the items that the corpus holds and of those that it does not, where `prepared` looked for them.
///
/// # Errors
/// When the report cannot be read.
pub fn subsets(
    results: &Results<'_, '_>,
    questions: &Questions,
    prepared: Option<&Path>,
) -> Result<Vec<clean::Subset>> {
    match prepared {
        Some(prepared) => clean::subsets(results, &questions.sources, prepared),
        None => Ok(Vec::new()),
    }
}

/// The subsets as the result file holds them.
pub fn subsets_json(subsets: &[clean::Subset]) -> Value {
    clean::json(subsets)
}

fn sensitive(results: &Results<'_, '_>) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let mut rows = Vec::new();
    for task in results.tasks() {
        if let Some(summary) = &task.sensitive {
            rows.push([
                task.name.clone(),
                format!("{:.4}", summary.gold_log_probability),
                number(summary.margin),
                format!("{:.4}", summary.bits_per_byte),
                number(summary.centred_accuracy),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = ["", "log-probability of the right answer", "margin", "bits per byte of it", "accuracy above chance"];
    crate::display::table(&head, &rows)
}
