//! `psann bench`: what this machine can do, as figures that can be compared.

mod data;
mod inference;
mod loader;
mod plugin;

use std::sync::Arc;

use psann_core::plan::Component;
use psann_core::registry::Kind;
use psann_core::{Collective, Error};
use psann_torch::distributed::SlowLink;
use psann_train::bench::optimizer::{OptimizerBenchOptions, OptimizerBenchReport, optimizer_bench};
use psann_train::bench::{BenchOptions, BenchReport, ranked_bench, train_bench};
use psann_train::executor::Recompute;
use psann_train::launch::Exit;
use psann_train::options::ActivationCheckpointing;
use psann_train::ranks::Ranks;
use serde::Serialize;
use serde_json::json;

use crate::cli::{BenchCommand, BenchFsdpArgs, BenchOptimizerArgs, BenchTrainArgs, Checkpointing, ShardingMode};
use crate::display::{self, Failure};
use crate::launch::{self, Part};

/// Runs a bench and prints its report.
pub fn execute(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Train(args) => train(args),
        BenchCommand::Fsdp(args) => fsdp(args),
        BenchCommand::Generate(args) => inference::generate(args),
        BenchCommand::Evaluate(args) => inference::evaluate(args),
        BenchCommand::Serve(args) => inference::serve(args),
        BenchCommand::Optimizer(args) => optimizer(args),
        BenchCommand::Minhash(args) => data::minhash(args),
        BenchCommand::Filters(args) => data::filters(args),
        BenchCommand::Language(args) => data::language(args),
        BenchCommand::Decontaminate(args) => data::decontaminate(args),
        BenchCommand::Prepare(args) => data::prepare(args),
        BenchCommand::Loader(args) => loader::loader(args),
        BenchCommand::Plugin(args) => plugin::plugin(args),
    }
}

fn train(args: &BenchTrainArgs) -> Result<(), Failure> {
    let report = train_bench(&train_options(args, 1))?;
    print(&report, &train_text(&report), args.model.json)
}

fn fsdp(args: &BenchFsdpArgs) -> Result<(), Failure> {
    let world = match launch::start_ranks(args.ranks as usize)? {
        Part::Rank(world) => world,
        Part::Launched(Exit { code: 0, .. }) => return Ok(()),
        Part::Launched(exit) => return Err(Failure::Ranks(exit)),
    };
    let ranks = Ranks::on_cpu(world)?.group;
    let ranks: Arc<dyn Collective> = match args.link {
        Some(gigabits) => Arc::new(SlowLink::new(ranks, gigabits * 1e9)),
        None => ranks,
    };
    let mode = match args.mode {
        ShardingMode::Full => "full",
        ShardingMode::GradOp => "grad_op",
    };
    let mut options = json!({ "mode": mode });
    if args.bf16_wire {
        options["wire"] = json!("bf16");
    }
    let options = BenchOptions {
        sharder: Some(Component { options, ..Component::new(Kind::Sharder, "fsdp") }),
        ..train_options(&args.train, ranks.size())
    };
    let report = ranked_bench(&options, &ranks)?;
    if ranks.rank() > 0 {
        return Ok(());
    }
    print(&report, &train_text(&report), args.train.model.json)
}

fn train_options(args: &BenchTrainArgs, ranks: usize) -> BenchOptions {
    let recompute = match args.checkpoint {
        Checkpointing::None => Recompute::None,
        Checkpointing::Full => Recompute::Full,
    };
    BenchOptions {
        d_model: args.model.d_model,
        layers: args.model.layers,
        heads: args.model.heads,
        d_mlp: Some(args.model.d_mlp),
        vocab: args.model.vocab,
        batch: args.batch,
        seq: args.seq,
        accumulation: args.accumulation,
        together: args.together.unwrap_or(u64::from(ranks == 1 || recompute != Recompute::Full)),
        checkpoint: ActivationCheckpointing(recompute),
        threads: Some(args.model.threads),
        steps: args.steps,
        bf16: args.bf16,
        ..BenchOptions::default()
    }
}

fn optimizer(args: &BenchOptimizerArgs) -> Result<(), Failure> {
    let report = optimizer_bench(&OptimizerBenchOptions {
        d_model: args.d_model,
        layers: args.layers,
        vocab: args.vocab,
        threads: Some(args.threads),
        steps: args.steps,
    })?;
    print(&report, &optimizer_text(&report), args.json)
}

fn print<T: Serialize>(report: &T, text: &str, json: bool) -> Result<(), Failure> {
    if json {
        let line = serde_json::to_string(report).map_err(|e| Error::new("cannot write the report").because(e))?;
        display::result(&line);
    } else {
        display::result(text);
    }
    Ok(())
}

/// The report of a training bench, as people read it.
fn train_text(report: &BenchReport) -> String {
    let part = &report.seconds_by_part;
    let parts = [
        ("data", part.data),
        ("forward", part.forward),
        ("head", part.head),
        ("recompute", part.recompute),
        ("backward", part.backward),
        ("exchange", part.exchange),
        ("optimizer", part.optimizer),
    ];
    let mut text = format!(
        "training steps · {} parameters · {} tokens a step · {} threads\n",
        display::count(report.parameters as f64),
        report.tokens_per_step,
        report.threads
    );
    text.push_str(&format!(
        "  step             {:.3} s · {:.0} tokens/s\n",
        report.median_step_seconds, report.tokens_per_second
    ));
    for (name, seconds) in parts.iter().filter(|(_, seconds)| *seconds > 0.0) {
        text.push_str(&format!("    {name:<14} {seconds:.3} s\n"));
    }
    text.push_str(&format!(
        "  matrix products  {:.3} s by themselves: {:.0} % of the step\n",
        report.product_seconds,
        report.roofline_fraction * 100.0
    ));
    text.push_str(&format!(
        "  peak memory      {:.0} MiB above {:.0} MiB after start-up (planned {:.0})\n",
        report.peak_rss_mb, report.baseline_rss_mb, report.predicted_peak_mb
    ));
    text
}

/// The report of an optimizer bench, as people read it.
fn optimizer_text(report: &OptimizerBenchReport) -> String {
    let mut text = format!(
        "optimizer steps · {} parameters · {} threads\n",
        display::count(report.parameters as f64),
        report.threads
    );
    for figures in &report.optimizers {
        text.push_str(&format!(
            "  {:<17} {:.3} s · state {} · process grew by {}\n",
            figures.name,
            figures.median_step_seconds,
            display::bytes(figures.state_bytes as f64),
            display::bytes(figures.resident_bytes as f64)
        ));
    }
    text.push_str(&format!(
        "  adamw8bit takes {:.2} of adamw's time, {:.2} of ATen's, and {:.2} of adamw's state\n",
        report.adamw8bit_over_adamw, report.adamw8bit_over_aten, report.adamw8bit_state_over_adamw
    ));
    text
}
