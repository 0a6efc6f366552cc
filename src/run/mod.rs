//! Runs a plan: stage by stage, skipping what is finished and continuing what is not.
//!
//! A stage's results live in a folder named after its fingerprint, so a changed option never meets results that
//! another option made. Each stage commits by writing its record last; until then its folder is work in progress.

pub mod data;
pub mod directory;
pub mod fingerprint;
pub mod overview;
mod stages;
mod trained;

use std::path::Path;
use std::time::Instant;

use psann_core::plan::{Plan, Stage};
use psann_core::{Error, Event, Observer, Result};
use serde_json::Value;

pub use directory::RunDirectory;
pub use stages::tokenizer_files;
pub use trained::{Trained, locate};

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

/// Runs every stage of `plan` that is not finished, below `runs`/NAME.
pub fn run(plan: &Plan, recipe: &str, runs: &Path, start: Start, observer: &dyn Observer) -> Result<RunDirectory> {
    let directory = RunDirectory::open(runs, &plan.name)?;
    if start == Start::Resume && !directory.exists_plan() {
        return Err(Error::usage(format!("`{}` holds no run to resume", directory.path().display()))
            .hint("leave `--resume` out to start one"));
    }
    let _lock = directory.lock()?;
    let fingerprints = fingerprint::of_plan(plan)?;
    if start == Start::Fresh {
        for (stage, fingerprint) in plan.stages.iter().zip(&fingerprints) {
            directory.forget(stage, fingerprint)?;
            if let Some(corpus) = stages::corpus_elsewhere(stage) {
                psann_data::prepare::forget(&corpus)?;
            }
        }
    }
    directory.describe(plan, recipe, &fingerprints)?;
    directory.set_status("running")?;
    observer.event(Event::Note(format!("run {} · plan {}", plan.name, fingerprint::short_plan(&fingerprints))));
    let result = run_stages(plan, &directory, &fingerprints, observer);
    let status = match &result {
        Ok(()) => "complete".to_owned(),
        Err(error) if error.fault() == psann_core::error::Fault::Interrupted => "interrupted".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    directory.set_status(&status)?;
    result.map(|()| directory)
}

fn run_stages(
    plan: &Plan,
    directory: &RunDirectory,
    fingerprints: &[Fingerprint],
    observer: &dyn Observer,
) -> Result<()> {
    for (index, (stage, fingerprint)) in plan.stages.iter().zip(fingerprints).enumerate() {
        let place = format!("[{}/{}] {}", index + 1, plan.stages.len(), stage.name);
        let folder = directory.stage_folder(stage, fingerprint);
        if let Some(record) = RunDirectory::finished(&folder)?
            && !stages::is_lost(stage, fingerprint)
        {
            observer.event(Event::Note(format!("{place}: done before · {}", record.summary)));
            continue;
        }
        if observer.stop_requested() {
            return Err(Error::interrupted(format!("stopped before `{}`", stage.name)));
        }
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::new(format!("cannot create `{}`", folder.display())).because(e))?;
        observer.event(Event::Note(format!("{place}: {}", folder.display())));
        let started = Instant::now();
        let context = stages::Context { plan, index, directory, fingerprints, folder: &folder, observer };
        let outcome =
            stages::execute(stage, &context).map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
        let seconds = started.elapsed().as_secs_f64();
        RunDirectory::finish(&folder, stage, fingerprint, &outcome, seconds)?;
        observer.event(Event::Note(format!("{place}: {} · {}", outcome.summary, crate::display::seconds(seconds))));
        if !outcome.text.is_empty() {
            crate::display::result(&outcome.text);
        }
    }
    Ok(())
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
