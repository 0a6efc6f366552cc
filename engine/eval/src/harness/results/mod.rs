//! What an evaluation gives: scores, and the files and the table they are written in.

use psann_core::Result;
use serde_json::Value;

use super::metrics::{Aggregate, Measured, Metric, Sensitive, SensitiveSummary};
use super::suite::{Answer, Suite};
use super::task::Settings;

mod file;
pub mod hash;
mod name;
mod samples;
mod table;

pub use file::Run;
pub use name::{file_time, sanitize};
pub use table::{TableRow, table};

/// The results of a suite.
#[derive(Debug)]
pub struct Results<'s, 'a> {
    pub(super) suite: &'s Suite<'a>,
    pub(super) tasks: Vec<TaskResult>,
}

/// The results of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskResult {
    /// The task.
    pub name: String,
    /// Each metric of all documents.
    pub scores: Vec<(Metric, Aggregate)>,
    /// What moves before accuracy does; `None` where no ending is right or wrong.
    pub sensitive: Option<SensitiveSummary>,
    /// Proof that documents, prompts and targets are those of another run.
    pub task_hash: String,
    /// Requests without a token to score. An ending among them wins against every other.
    pub unscored: usize,
    /// Each document.
    pub documents: Vec<DocumentResult>,
}

/// The results of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentResult {
    /// Its number in the split.
    pub id: usize,
    /// Hash of its fields.
    pub doc_hash: String,
    /// Hash of the first prompt about it.
    pub prompt_hash: String,
    /// Hash of the right answer.
    pub target_hash: String,
    /// What the network said.
    pub answers: Vec<Answer>,
    /// Each metric of the task.
    pub metrics: Vec<Measured>,
    /// What moves before accuracy does.
    pub sensitive: Option<Sensitive>,
    /// Which answers are about nothing: there was no token to score, so their log-likelihood is 0 whatever the model.
    pub unscored: Vec<bool>,
}

impl TaskResult {
    pub(super) fn new(settings: &Settings, documents: Vec<DocumentResult>, bootstrap: usize) -> Self {
        let every: Vec<&DocumentResult> = documents.iter().collect();
        let (scores, sensitive) = summary(&settings.metrics, &every, bootstrap);
        let unscored = documents.iter().flat_map(|document| &document.unscored).filter(|unscored| **unscored).count();
        let task_hash = hash::task(&documents);
        Self { name: settings.name.clone(), scores, sensitive, task_hash, unscored, documents }
    }
}

impl<'s, 'a> Results<'s, 'a> {
    /// The tasks, in the order of the suite.
    pub fn tasks(&self) -> &[TaskResult] {
        &self.tasks
    }

    /// The suite that was answered.
    pub fn suite(&self) -> &'s Suite<'a> {
        self.suite
    }

    /// The scores of those documents of a task (by its place in the suite) whose number `keep` takes, and how many they
    /// are.
    pub fn subset(&self, task: usize, keep: impl Fn(usize) -> bool) -> (usize, Scores, Option<SensitiveSummary>) {
        let (Some(result), Some(planned)) = (self.tasks.get(task), self.suite.tasks().get(task)) else {
            return (0, Vec::new(), None);
        };
        let kept: Vec<&DocumentResult> = result.documents.iter().filter(|document| keep(document.id)).collect();
        if kept.is_empty() {
            return (0, Vec::new(), None);
        }
        let bootstrap = self.suite.options().bootstrap_iterations;
        let (scores, sensitive) = summary(&planned.task().settings().metrics, &kept, bootstrap);
        (kept.len(), scores, sensitive)
    }

    /// The result file's content.
    pub fn json(&self, run: &Run) -> Value {
        file::json(self, run)
    }

    /// The result file.
    pub fn text(&self, run: &Run) -> String {
        crate::python::json::indented(&self.json(run))
    }

    /// The lines of a task's sample file, in the order of its documents, each with its line end. They are made as they are
    /// asked for.
    pub fn samples(&self, task: usize) -> impl Iterator<Item = Result<String>> + '_ {
        samples::lines(self, task)
    }

    /// The table of all scores.
    pub fn table(&self) -> String {
        table(&self.rows())
    }

    /// The rows of [`Self::table`], in no particular order.
    pub fn rows(&self) -> Vec<TableRow> {
        let of_task = |(result, planned): (&TaskResult, &super::suite::Planned)| {
            let (version, shots) = (planned.task().settings().version, planned.shots());
            let row = |(metric, score): &(Metric, Aggregate)| TableRow {
                task: result.name.clone(),
                version,
                shots,
                metric: metric.name().to_owned(),
                higher_is_better: Some(metric.higher_is_better()),
                score: *score,
            };
            result.scores.iter().map(row).collect::<Vec<TableRow>>()
        };
        self.tasks.iter().zip(self.suite.tasks()).flat_map(of_task).collect()
    }
}

/// A value for each metric.
pub type Scores = Vec<(Metric, Aggregate)>;

fn summary(metrics: &[Metric], documents: &[&DocumentResult], bootstrap: usize) -> (Scores, Option<SensitiveSummary>) {
    let score = |(index, metric): (usize, &Metric)| {
        let values: Vec<Measured> = documents.iter().map(|document| document.metrics[index]).collect();
        (metric.clone(), metric.aggregate(&values, bootstrap))
    };
    let sensitive: Option<Vec<Sensitive>> = documents.iter().map(|document| document.sensitive).collect();
    let sensitive = sensitive.as_deref().and_then(SensitiveSummary::of);
    (metrics.iter().enumerate().map(score).collect(), sensitive)
}
