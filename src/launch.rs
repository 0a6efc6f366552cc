//! Whether this process is one of several, or starts them.

use psann_core::plan::Plan;
use psann_core::{Error, Result};
use psann_train::PretrainOptions;
use psann_train::launch::{Exit, LaunchOptions, Launcher, World, follow_launcher, launch};
use psann_train::ranks::Ranks;
use serde_json::Value;

use crate::progress::Progress;
use crate::stop::Stop;

/// What this process has to do with a plan.
#[derive(Debug)]
pub enum Part {
    /// Work on it, alone or as one of several.
    Rank(World),
    /// Nothing more: it started the ranks, and they have ended.
    Launched(Exit),
}

/// Starts the processes that `plan` asks for, unless a launcher started them or one is enough.
pub fn take_part(plan: &Plan, restarts: u32) -> Result<Part> {
    let lookup = |name: &str| std::env::var(name).ok();
    follow_launcher(&lookup)?;
    let world = World::from_environment(&lookup)?;
    let asked = match ranks_of(plan)? {
        None if world.launcher == Launcher::Nobody => default_ranks(plan)?,
        asked => asked,
    };
    let Some(ranks) = to_start(asked, &world)? else { return Ok(Part::Rank(world)) };
    let options = LaunchOptions { restarts, ..LaunchOptions::this_program(ranks)? };
    // The launcher hears signals by itself and passes them on.
    let observer = Progress::new(Stop::default());
    launch(&options, &mut std::io::stderr(), &observer).map(Part::Launched)
}

/// Starts `ranks` processes of this command, each on cores of its own where there are enough, unless a launcher did.
pub fn start_ranks(ranks: usize) -> Result<Part> {
    let lookup = |name: &str| std::env::var(name).ok();
    follow_launcher(&lookup)?;
    let world = World::from_environment(&lookup)?;
    let Some(ranks) = to_start(Some(ranks), &world)? else { return Ok(Part::Rank(world)) };
    let pin = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= ranks);
    let options = LaunchOptions { restarts: 0, pin, ..LaunchOptions::this_program(ranks)? };
    launch(&options, &mut std::io::stderr(), &Progress::new(Stop::default())).map(Part::Launched)
}

/// Joins the other ranks of `world`, on the device that the plan trains on.
pub fn join(plan: &Plan, world: World) -> Result<Ranks> {
    let training = plan.stages.iter().find(|stage| stage.kind == "pretrain");
    let device = match training {
        Some(stage) => PretrainOptions::parse(&stage.options)?.device(world.local_rank)?,
        None => PretrainOptions::default().device(world.local_rank)?,
    };
    Ranks::join(world, device)
}

/// The number of processes that a plan asks for, if it does.
fn ranks_of(plan: &Plan) -> Result<Option<usize>> {
    let mut asked: Option<(&str, usize)> = None;
    for stage in &plan.stages {
        let Some(ranks) = stage.options.get("ranks").and_then(Value::as_u64) else { continue };
        let ranks = ranks as usize;
        match asked {
            Some((other, before)) if before != ranks => {
                let (name, hint) = (&stage.name, "all stages of a run share its processes; give both the same");
                return Err(Error::usage(format!("`{other}` has {before} ranks and `{name}` has {ranks}")).hint(hint));
            }
            _ => asked = Some((&stage.name, ranks)),
        }
    }
    Ok(asked.map(|(_, ranks)| ranks))
}

/// One process per GPU, where there are several.
fn default_ranks(plan: &Plan) -> Result<Option<usize>> {
    let Some(stage) = plan.stages.iter().find(|stage| stage.kind == "pretrain") else { return Ok(None) };
    let ranks = PretrainOptions::parse(&stage.options)?.default_ranks() as usize;
    Ok((ranks > 1).then_some(ranks))
}

/// How many processes to start; none where a launcher did.
fn to_start(ranks: Option<usize>, world: &World) -> Result<Option<usize>> {
    let Some(ranks) = ranks else { return Ok(None) };
    if ranks == 0 {
        return Err(Error::usage("`ranks` is `0`, expected 1 or more"));
    }
    if world.launcher == Launcher::Nobody {
        return Ok((ranks > 1).then_some(ranks));
    }
    if ranks != world.size {
        let started = if world.size == 1 { "1 process".into() } else { format!("{} processes", world.size) };
        return Err(Error::usage(format!("`ranks` is `{ranks}`, but {} started {started}", world.launcher))
            .hint("leave `ranks` out where a launcher starts the processes, or give it their number"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(ranks: &[Value]) -> Plan {
        let mut plan = Plan::new("test");
        plan.push("prepare", json!({}));
        for ranks in ranks {
            plan.push("pretrain", json!({ "ranks": ranks }));
        }
        plan
    }

    #[test]
    fn the_stages_of_a_plan_agree_on_the_number_of_ranks() {
        assert_eq!(ranks_of(&plan(&[])).unwrap(), None);
        assert_eq!(ranks_of(&plan(&[json!(null)])).unwrap(), None);
        assert_eq!(ranks_of(&plan(&[json!(2), json!(null), json!(2)])).unwrap(), Some(2));
        let error = ranks_of(&plan(&[json!(2), json!(4)])).unwrap_err();
        assert_eq!(error.to_string(), "`pretrain` has 2 ranks and `pretrain-2` has 4");
    }

    #[test]
    fn processes_are_started_where_no_launcher_did() {
        let alone = World::alone();
        assert_eq!(to_start(None, &alone).unwrap(), None);
        assert_eq!(to_start(Some(1), &alone).unwrap(), None);
        assert_eq!(to_start(Some(2), &alone).unwrap(), Some(2));
        assert_eq!(to_start(Some(0), &alone).unwrap_err().to_string(), "`ranks` is `0`, expected 1 or more");
    }

    #[test]
    fn a_launcher_with_another_number_of_processes_is_an_error() {
        let world = World { size: 4, launcher: Launcher::Torch, ..World::alone() };
        assert_eq!(to_start(None, &world).unwrap(), None);
        assert_eq!(to_start(Some(4), &world).unwrap(), None);
        let error = to_start(Some(2), &world).unwrap_err();
        assert_eq!(error.to_string(), "`ranks` is `2`, but torchrun or its variables started 4 processes");
    }
}
