//! Runs a plan: stage by stage, skipping what is finished and continuing what is not.
//!
//! A stage's results live in a folder named after its fingerprint, so a changed option never meets results that
//! another option made. Each stage commits by writing its record last; until then its folder is work in progress.

pub mod data;
pub mod directory;
mod evaluate;
pub mod fingerprint;
pub mod overview;
mod stages;
mod trained;

use std::path::Path;
use std::time::Instant;

use psann_core::plan::{Plan, Stage};
use psann_core::{Error, Event, Observer, Result};
use psann_plugins_dynamic::surroundings;
use psann_train::ranks::Ranks;
use serde_json::{Value, json};

pub use directory::RunDirectory;
pub use stages::{tokenizer_files, tokenizer_folder};
pub use trained::{Trained, chat_templates, locate};

use fingerprint::Fingerprint;

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Continue what an earlier run left, if it left something.
    Continue,
    /// Continue, and fail when there is nothing to continue.
    Resume,
    /// Forget earlier results of these stages.
    Fresh,
}

/// A run as its caller wants it.
pub struct Request<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Text of the recipe behind it.
    pub recipe: &'a str,
    /// Folder that holds the runs.
    pub runs: &'a Path,
    /// How to run.
    pub start: Start,
    /// The processes that work on it.
    pub ranks: &'a Ranks,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

/// Runs every stage of the plan that is not finished, below `runs`/NAME. With several ranks the first one does this, and
/// the others join it for training.
pub fn run(request: &Request<'_>) -> Result<RunDirectory> {
    let Request { plan, observer, .. } = *request;
    let directory = RunDirectory::open(request.runs, &plan.name)?;
    if !request.ranks.is_first() {
        follow(request, &directory)?;
        return Ok(directory);
    }
    if request.start == Start::Resume && !directory.exists_plan() {
        return Err(Error::usage(format!("`{}` holds no run to resume", directory.path().display()))
            .hint("leave `--resume` out to start one"));
    }
    let _lock = directory.lock()?;
    let fingerprints = fingerprint::of_plan(plan)?;
    if request.start == Start::Fresh && request.ranks.world.restart == 0 {
        for (stage, fingerprint) in plan.stages.iter().zip(&fingerprints) {
            directory.forget(stage, fingerprint)?;
            if let Some(corpus) = stages::corpus_elsewhere(stage) {
                psann_data::prepare::forget(&corpus)?;
            }
        }
    }
    directory.describe(plan, request.recipe, &fingerprints)?;
    directory.set_status("running")?;
    observer.event(Event::Note(format!("run {} · plan {}", plan.name, fingerprint::short_plan(&fingerprints))));
    let result = run_stages(request, &directory, &fingerprints);
    let status = match &result {
        Ok(()) => "complete".to_owned(),
        Err(error) if error.fault() == psann_core::error::Fault::Interrupted => "interrupted".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    directory.set_status(&status)?;
    result.map(|()| directory)
}

/// What the first rank announces of a stage.
fn topic(index: usize) -> String {
    format!("stages/{index}")
}

/// Announced of a stage that all ranks work on now.
const TOGETHER: &str = "together";
/// Announced of a stage that is done, or that needs no other rank.
const PASSED: &str = "passed";

/// Stages that all ranks work on.
fn is_shared(stage: &Stage) -> bool {
    stage.kind == "pretrain" || evaluate::is_shared(stage)
}

/// What a rank other than the first does: joins it where it asks for that, and leaves after the last such stage.
fn follow(request: &Request<'_>, directory: &RunDirectory) -> Result<()> {
    let Request { plan, ranks, observer, .. } = *request;
    let last = plan.stages.iter().rposition(is_shared).map_or(0, |index| index + 1);
    let mut fingerprints = None;
    for (index, stage) in plan.stages[..last].iter().enumerate() {
        if ranks.hear(&topic(index))? != TOGETHER {
            continue;
        }
        // Only now: the identity of the data may follow from what an earlier stage made.
        let fingerprints = match &fingerprints {
            Some(known) => known,
            None => fingerprints.insert(fingerprint::of_plan(plan)?),
        };
        let folder = directory.stage_folder(stage, &fingerprints[index]);
        let context = stages::Context { plan, index, directory, fingerprints, folder: &folder, ranks, observer };
        stages::execute(stage, &context).map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
    }
    Ok(())
}

fn run_stages(request: &Request<'_>, directory: &RunDirectory, fingerprints: &[Fingerprint]) -> Result<()> {
    let Request { plan, ranks, observer, .. } = *request;
    for (index, (stage, fingerprint)) in plan.stages.iter().zip(fingerprints).enumerate() {
        let place = format!("[{}/{}] {}", index + 1, plan.stages.len(), stage.name);
        let folder = directory.stage_folder(stage, fingerprint);
        if let Some(record) = RunDirectory::finished(&folder)?
            && !stages::is_lost(stage, fingerprint)
        {
            observer.event(Event::Note(format!("{place}: done before · {}", record.summary)));
            ranks.announce(&topic(index), PASSED)?;
            continue;
        }
        if observer.stop_requested() {
            return Err(Error::interrupted(format!("stopped before `{}`", stage.name)));
        }
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::new(format!("cannot create `{}`", folder.display())).because(e))?;
        observer.event(Event::Note(format!("{place}: {}", folder.display())));
        let started = Instant::now();
        if is_shared(stage) {
            ranks.announce(&topic(index), TOGETHER)?;
        }
        let context = stages::Context { plan, index, directory, fingerprints, folder: &folder, ranks, observer };
        let mut outcome =
            stages::execute(stage, &context).map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
        note_metrics(&mut outcome, observer);
        if !is_shared(stage) {
            ranks.announce(&topic(index), PASSED)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        RunDirectory::finish(&folder, stage, fingerprint, &outcome, seconds)?;
        observer.event(Event::Note(format!("{place}: {} · {}", outcome.summary, crate::display::seconds(seconds))));
        if !outcome.text.is_empty() {
            crate::display::result(&outcome.text);
        }
    }
    Ok(())
}

/// Numbers that plugins of others added up while a stage ran: a line for the user, and part of the stage's report.
fn note_metrics(outcome: &mut Outcome, observer: &dyn Observer) {
    let metrics = surroundings::take_metrics();
    for (plugin, numbers) in &metrics {
        let numbers: Vec<String> = numbers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        observer.event(Event::Note(format!("plugin `{plugin}`: {}", numbers.join(" · "))));
    }
    if let Some(report) = outcome.report.as_object_mut().filter(|_| !metrics.is_empty()) {
        report.insert("plugins".to_owned(), json!(metrics));
    }
}

/// What a stage leaves beside its files.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// One line on what was done.
    pub summary: String,
    /// What the user should read on standard output; may be empty.
    pub text: String,
    /// The stage's report as data.
    pub report: Value,
}

/// The latest stage before `index` whose kind is `kind`.
pub fn earlier<'a>(plan: &'a Plan, index: usize, kind: &str) -> Option<(usize, &'a Stage)> {
    plan.stages[..index].iter().enumerate().rev().find(|(_, stage)| stage.kind == kind)
}
