//! Evaluating a model on tasks: for `psann evaluate`, for the stage `evaluate`, and in the middle of a training.
//!
//! All three ask the same [`Questions`], made from the same options and files, and differ in where the weights are and
//! where the results go.

mod clean;
pub mod compared;
mod documents;
mod files;
mod questions;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use psann_core::collective::sum_values;
use psann_core::{Error, Observer, Result, Tokenizer};
use psann_data::tokenizer::TextTokenizer;
use psann_eval::answer::{self, Journal, Part};
use psann_eval::harness::{Answers, REFERENCE, Run, Suite};
use psann_eval::network::{Network, is_stored_in_half};
use psann_train::checkpoint::Loaded;
use psann_train::ranks::Ranks;
use serde_json::{Map, Value, json};

use documents::Sources;

pub use documents::digest;
pub use files::folder;
pub use questions::Questions;
pub use report::{scores, summary};

/// A model that is evaluated.
pub struct Subject<'a> {
    /// What result files call it.
    pub name: String,
    /// Where it was opened.
    pub source: String,
    /// The model and its weights.
    pub loaded: &'a Loaded,
    /// Its tokenizer.
    pub tokenizer: &'a TextTokenizer,
    /// The corpus it was trained on, where that is known.
    pub corpus: Option<PathBuf>,
}

/// Where results go.
pub struct Output<'a> {
    /// The folder of the result files, with the journal in it.
    pub folder: &'a Path,
    /// Whether to ask again what was answered before.
    pub fresh: bool,
    /// When the work began.
    pub started: Instant,
}

/// What came out, on the first rank.
pub struct Finding {
    /// The results for people.
    pub text: String,
    /// One line of them.
    pub summary: String,
    /// Every score by task and metric.
    pub scores: Value,
    /// The text of the result file.
    pub json: String,
    /// Where that file is.
    pub file: PathBuf,
}

/// Answers all questions, together with the other ranks, and writes the result files on the first one; nothing on the
/// others.
///
/// # Errors
/// When the network fails, a file cannot be written, or the user asked to stop.
pub fn evaluate(
    subject: &Subject<'_>,
    questions: &Questions,
    output: &Output<'_>,
    ranks: &Ranks,
    observer: &dyn Observer,
) -> Result<Option<Finding>> {
    let network = Network::new(subject.loaded.model.as_ref(), &subject.loaded.parameters)?;
    // Answers are true for these weights and this tokenizer.
    let identity = network.digest(&subject.tokenizer.identity())?[..16].to_owned();
    let journal = output.folder.join("journal");
    if output.fresh {
        if ranks.is_first() {
            forget(&journal.join(&identity))?;
        }
        ranks.group.barrier()?;
    }
    let suite = questions.suite(subject.tokenizer)?;
    let mut journal = Journal::open(&journal, &identity, ranks.group.rank())?;
    let Some(answers) = answers(network, &suite, questions, &mut journal, ranks, observer)? else { return Ok(None) };
    let results = suite.finish(&answers)?;
    let subsets = match &subject.corpus {
        Some(corpus) => clean::subsets(&results, &questions.sources, corpus)?,
        None => Vec::new(),
    };
    let mut run = run(subject, questions, &suite, output.started);
    if !subsets.is_empty() {
        run.extra.insert("subsets".to_owned(), clean::json(&subsets));
    }
    let json = results.text(&run);
    let file = files::save(&results, &json, output.folder)?;
    Ok(Some(Finding {
        text: report::text(&results, &subsets),
        summary: summary(&results),
        scores: scores(&results),
        json,
        file,
    }))
}

/// All answers, on the first rank.
fn answers(
    network: Network<'_>,
    suite: &Suite<'_>,
    questions: &Questions,
    journal: &mut Journal,
    ranks: &Ranks,
    observer: &dyn Observer,
) -> Result<Option<Answers>> {
    let part = Part { rank: ranks.group.rank(), ranks: ranks.group.size() };
    let answered = answer::answer(network, suite, part, questions.answering(), journal, observer);
    // Also how the first rank knows that the others are done: their answers are on disk then.
    let mut failures = [f64::from(u8::from(answered.is_err()))];
    sum_values(ranks.group.as_ref(), &mut failures)?;
    let asked = answered?;
    if failures[0] > 0.0 {
        return Err(Error::interrupted("another rank stopped").hint("its message says why"));
    }
    if !ranks.is_first() {
        return Ok(None);
    }
    journal.refresh()?;
    let answers = answer::collect(suite, &asked, journal)?.ok_or_else(|| {
        Error::new(format!("answers of other ranks are not in `{}`", journal.folder().display()))
            .hint("all ranks need the same folder, on a file system that they share")
    })?;
    Ok(Some(answers))
}

/// Deletes what was answered before.
fn forget(journal: &Path) -> Result<()> {
    match std::fs::remove_dir_all(journal) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot delete `{}`", journal.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// What a result file tells beside the scores.
fn run(subject: &Subject<'_>, questions: &Questions, suite: &Suite<'_>, started: Instant) -> Run {
    let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let loaded = subject.loaded;
    let count: u64 = loaded.parameters.iter().flatten().map(|value| value.numel() as u64).sum();
    let dtype = if is_stored_in_half(&loaded.parameters) { "torch.bfloat16" } else { "torch.float32" };
    let facts = [("model_num_parameters", json!(count)), ("model_dtype", json!(dtype))];
    Run {
        model: loaded.component.name.clone(),
        model_args: json!({ "path": subject.source, "max_length": suite.encoder().max_length() }),
        model_facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        batch_size: json!(questions.batch),
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
        model_name: subject.name.clone(),
        chat_template: questions.chat_template().map(str::to_owned),
        seconds: started.elapsed().as_secs_f64(),
        extra: Map::new(),
    }
}
