//! `psann recipe`: evaluate a recipe to a plan, then show it or run it.

use std::path::Path;
use std::sync::Arc;

use psann_core::plan::Plan;
use psann_core::{Error, Event, Observer, registry};
use psann_scripts::Recipe;
use psann_train::launch::{Exit, World};
use serde_json::json;

use crate::cli::{RecipeArgs, RecipeCommand};
use crate::display::{self, Failure};
use crate::launch::{self, Part};
use crate::plugins;
use crate::progress::Progress;
use crate::run::{self, Request, Start, overview};
use crate::stop::Stop;

/// Lists parameters, shows the plan, or runs it.
pub fn execute(args: RecipeArgs) -> Result<(), Failure> {
    let discovered = plugins::register(&args.plugins)?;
    if let Some(RecipeCommand::Params { file, json }) = args.command {
        return parameters(&file, json);
    }
    let file = args.file.ok_or_else(|| Error::usage("no recipe is named"))?;
    let recipe = Recipe::load(&file)?;
    let evaluated = match recipe.evaluate(&args.sets) {
        // What is trusted now is found by another look.
        Err(_) if plugins::ask(&args.plugins, &discovered, &registry::asked_in_vain(), args.yes)? => {
            plugins::register(&args.plugins)?;
            recipe.evaluate(&args.sets)?
        }
        evaluated => evaluated?,
    };
    let part = if args.plan { Part::Rank(World::alone()) } else { launch::take_part(&evaluated.plan, args.restarts)? };
    let world = match part {
        Part::Rank(world) => world,
        Part::Launched(Exit { code: 0, .. }) => return Ok(()),
        Part::Launched(exit) => return Err(Failure::Ranks(exit)),
    };
    let observer = Arc::new(Progress::of_rank(Stop::listen()?, world.rank));
    plugins::surround(&observer);
    for note in &evaluated.notes {
        observer.event(Event::Warning(note.clone()));
    }
    if args.plan {
        display::result(&overview::text(&evaluated.plan, &args.runs)?);
        return Ok(());
    }
    let ranks = launch::join(&evaluated.plan, world)?;
    let start = match (args.fresh, args.resume) {
        (true, _) => Start::Fresh,
        (_, true) => Start::Resume,
        _ => Start::Continue,
    };
    let directory = run::run(&Request {
        plan: &evaluated.plan,
        recipe: recipe.source(),
        runs: &args.runs,
        start,
        ranks: &ranks,
        observer: observer.as_ref(),
    })?;
    observer.event(Event::Note(format!("run complete: {}", directory.path().display())));
    if evaluated.plan.stages.iter().any(|stage| stage.kind == "pretrain") {
        observer
            .event(Event::Note(format!("try it: psann generate {} --prompt \"The sea\"", directory.path().display())));
    }
    Ok(())
}

fn parameters(file: &Path, json: bool) -> Result<(), Failure> {
    let parameters = Recipe::load(file)?.parameters()?;
    if json {
        display::result(&format!("{:#}", json!(parameters)));
        return Ok(());
    }
    let mut plan = Plan::new("");
    plan.parameters = parameters;
    display::result(&overview::parameters(&plan));
    Ok(())
}
