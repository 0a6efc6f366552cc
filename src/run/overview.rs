//! `--plan`: what a run would read, write and cost, from the plan and a sample of the text.

use std::path::Path;

use psann_core::observer::Silent;
use psann_core::options::{self, Field};
use psann_core::plan::{Component, Flow, Plan, Stage};
use psann_core::registry::{self, Kind};
use psann_core::{Model, Optimizer, Result};
use psann_data::prepare::SampleBudget;
use psann_train::PretrainOptions;
use serde_json::Value;

use super::directory::RunDirectory;
use super::fingerprint::{self, Fingerprint};
use crate::display::{bytes, count, flop, seconds};

/// What running `plan` below `runs` would do. Reads names and sizes of files and a sample of the text, writes nothing.
pub fn text(plan: &Plan, runs: &Path) -> Result<String> {
    let fingerprints = fingerprint::of_plan(plan)?;
    let folder = runs.join(&plan.name);
    let mut text = format!("plan {} · {}\n", fingerprint::short_plan(&fingerprints), folder.display());
    if !plan.parameters.is_empty() {
        text.push_str("\nparameters\n");
        text.push_str(&parameters(plan));
    }
    for (index, (stage, fingerprint)) in plan.stages.iter().zip(&fingerprints).enumerate() {
        let state = state(&folder, stage, fingerprint)?;
        text.push_str(&format!("\n{}. {} · {state}\n", index + 1, stage.name));
        for line in describe(plan, index, stage, state.starts_with("done"))? {
            text.push_str(&format!("   {line}\n"));
        }
        text.push_str(&format!(
            "   writes {}\n",
            folder.join(format!("{}-{}", stage.name, fingerprint.short())).display()
        ));
    }
    text.push_str("\nnothing was done; run without `--plan` to do it\n");
    Ok(text)
}

/// The parameters of a plan, a line each.
pub fn parameters(plan: &Plan) -> String {
    if plan.parameters.is_empty() {
        return "the recipe declares no parameters\n".into();
    }
    let name = plan.parameters.iter().map(|parameter| parameter.name.len()).max().unwrap_or(0);
    let value = plan.parameters.iter().map(|parameter| parameter.value.to_string().len()).max().unwrap_or(0);
    let mut text = String::new();
    for parameter in &plan.parameters {
        let changed = if parameter.value == parameter.default {
            String::new()
        } else {
            format!(" (default {})", parameter.default)
        };
        let line =
            format!("  {:name$}  {:value$}  {}{changed}", parameter.name, parameter.value.to_string(), parameter.help);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn state(folder: &Path, stage: &Stage, fingerprint: &Fingerprint) -> Result<String> {
    let Ok(run) = RunDirectory::existing(folder) else { return Ok("to do".into()) };
    let stage_folder = run.stage_folder(stage, fingerprint);
    Ok(match RunDirectory::finished(&stage_folder)? {
        Some(_) if super::stages::is_lost(stage, fingerprint) => "to do: its corpus is gone or another one".into(),
        Some(_) => "done, would be skipped".into(),
        None if stage_folder.join("checkpoints").is_dir() => {
            "unfinished, would continue from its last checkpoint".into()
        }
        None => "to do".into(),
    })
}

fn describe(plan: &Plan, index: usize, stage: &Stage, finished: bool) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    if let Some(data) = stage.options.get("data") {
        lines.extend(describe_flow(data)?);
    }
    if let Some(tokenizer) = stage.options.get("tokenizer").and_then(Component::from_value) {
        lines.push(format!("tokenizer::{}{}", tokenizer.name, brief(&tokenizer.options)));
    }
    if stage.kind == "prepare" && !finished {
        lines.extend(estimate(stage)?);
    }
    if stage.kind == "pretrain" {
        lines.extend(describe_training(plan, index, stage)?);
    }
    Ok(lines)
}

/// What preparing would leave and cost, judged by a sample.
fn estimate(stage: &Stage) -> Result<Vec<String>> {
    let options = options::parse(&stage.options)?;
    Ok(psann_data::prepare::estimate(&options, SampleBudget::default(), &Silent)?.lines())
}

fn describe_flow(data: &Value) -> Result<Vec<String>> {
    let Ok(flow) = serde_json::from_value::<Flow>(data.clone()) else { return Ok(Vec::new()) };
    let source = registry::source(&flow.source.name, &flow.source.options)?;
    let partitions = source.partitions()?;
    let size: u64 = partitions.iter().map(|partition| partition.bytes).sum();
    let mut lines = vec![format!(
        "reads {} · {} part{} · {}",
        called(&flow.source),
        partitions.len(),
        if partitions.len() == 1 { "" } else { "s" },
        bytes(size as f64)
    )];
    for filter in &flow.filters {
        lines.push(format!("  | {}", called(&filter.0)));
    }
    Ok(lines)
}

fn describe_training(plan: &Plan, index: usize, stage: &Stage) -> Result<Vec<String>> {
    let options = psann_train::PretrainOptions::parse(&stage.options)?;
    let vocabulary = super::stages::planned_vocabulary(plan, index)?;
    let component = super::stages::with_vocabulary(&options.model()?, vocabulary);
    let model = registry::model(&component.name, &component.options)?;
    let optimizer = registry::optimizer(&options.optimizer.name, &options.optimizer.options)?;
    let elements = elements(model.as_ref());
    let tokens_per_step = options.tokens_per_step() as f64;
    let steps = options.planned_steps();
    let mut lines = vec![format!(
        "model::{}{} · {} parameters ({})",
        component.name,
        brief(&component.options),
        count(elements),
        parts(model.as_ref())
    )];
    lines.push(format!("optimizer::{}{}", options.optimizer.name, brief(&options.optimizer.options)));
    let budget = match steps {
        Some(steps) => format!("{steps} steps · {} tokens", count(steps as f64 * tokens_per_step)),
        None => "steps follow from the size of the data".into(),
    };
    lines.push(format!("{budget} · {} tokens a step", count(tokens_per_step)));
    lines.extend(memory(&options, model.as_ref(), optimizer.as_ref())?);
    let flops = model.flops_per_token(options.seq_len as i64);
    if let Some(steps) = steps {
        let total = flops * tokens_per_step * steps as f64;
        lines.push(time(&options, flops, total));
    }
    lines.extend(model.warnings().into_iter().map(|warning| format!("warning: {warning}")));
    Ok(lines)
}

/// How long `total` operations take: measured products on a processor, arithmetic on GPUs that are not here.
fn time(options: &PretrainOptions, flops: f64, total: f64) -> String {
    if options.planned_device() == psann_train::plan::CPU {
        let rate = psann_train::bench::matrix_product_rate();
        return format!(
            "{} a token · about {} if matrix products took all the time (measured now: {}/s)",
            flop(flops),
            seconds(total / rate),
            flop(rate)
        );
    }
    let ranks = options.ranks.unwrap_or_else(|| options.default_ranks()) as f64;
    format!(
        "{} a token · {} on {ranks} H100 that reach 40 % of their 989 TFLOP/s (arithmetic, not a measurement)",
        flop(flops),
        seconds(total / (ranks * 0.4 * 989e12))
    )
}

/// What one device holds and sends, and whether that fits.
fn memory(options: &PretrainOptions, model: &dyn Model, optimizer: &dyn Optimizer) -> Result<Vec<String>> {
    let ranks = options.ranks.unwrap_or_else(|| options.default_ranks()) as usize;
    let device = options.planned_device();
    let plan = psann_train::plan::plan(options, model, optimizer, ranks, device)?;
    let memory = plan.memory;
    let place = if device == psann_train::plan::CPU { "process" } else { "GPU" };
    let parts = [
        ("weights", memory.weights),
        ("optimizer", memory.optimizer),
        ("gradients", memory.gradients),
        ("gathered", memory.gathered),
        ("on their way", memory.reducing),
        ("head", memory.head),
        ("activations", memory.activations),
        ("work", memory.work),
        ("gaps", memory.gaps),
        ("being saved", memory.saved),
    ];
    let parts = parts.iter().filter(|(_, size)| *size > 0);
    let parts: Vec<String> = parts.map(|(name, size)| format!("{name} {}", bytes(*size as f64))).collect();
    let ranks_text = if ranks == 1 { String::new() } else { format!(" × {ranks} ranks") };
    let mut lines = vec![
        format!(
            "memory of a {place}: {} at the peak{ranks_text}, beside the program and libtorch",
            bytes(memory.peak as f64)
        ),
        format!("  {} (not all at once)", parts.join(" · ")),
    ];
    if ranks > 1 {
        lines.push(format!("each rank sends {} a step", bytes(plan.bytes_sent as f64)));
    }
    if let Some(room) = options.device_memory {
        if memory.peak <= room.0 {
            lines.push(format!(
                "fits into {} with {} to spare",
                bytes(room.0 as f64),
                bytes((room.0 - memory.peak) as f64)
            ));
        } else {
            lines.push(format!(
                "warning: does not fit into {}: {} too much; more `ranks`, `activation_checkpointing: \"full\"`, more \
                 `accumulation`, `optimizer::adamw8bit()` or `weights: \"bf16\"` take less",
                bytes(room.0 as f64),
                bytes((memory.peak - room.0) as f64)
            ));
        }
    }
    Ok(lines)
}

fn elements(model: &dyn Model) -> f64 {
    model.segments().iter().flat_map(|segment| &segment.parameters).map(|spec| spec.elements() as f64).sum()
}

/// `embed 1.0M, 6 blocks 4.7M, head 1.0M`.
fn parts(model: &dyn Model) -> String {
    let segments = model.segments();
    let size = |index: usize| segments[index].parameters.iter().map(|spec| spec.elements() as f64).sum::<f64>();
    let last = segments.len() - 1;
    let blocks: f64 = (1..last).map(size).sum();
    format!("embed {}, {} blocks {}, head {}", count(size(0)), last - 1, count(blocks), count(size(last)))
}

/// Options as a recipe would write them, components by name.
/// A component as a recipe calls it.
fn called(component: &Component) -> String {
    let Component { kind, name, options } = component;
    let given = brief(options);
    if !registry::find(*kind, name).is_ok_and(|plugin| plugin.origin.is_some()) {
        return format!("{kind}::{name}{given}");
    }
    // A plugin of someone else is named by its id.
    let rest = given.trim_start_matches('(');
    let comma = if rest == ")" { "" } else { ", " };
    format!("{kind}::plugin(\"{name}\"{comma}{rest}")
}

fn brief(options: &Value) -> String {
    let Some(object) = options.as_object().filter(|object| !object.is_empty()) else { return "()".into() };
    let parts: Vec<String> = object
        .iter()
        .map(|(key, value)| match Component::from_value(value) {
            Some(component) => format!("{key}: {}::{}", component.kind, component.name),
            None => format!("{key}: {value}"),
        })
        .collect();
    format!("(#{{ {} }})", parts.join(", "))
}

/// The default that a plugin's options give to `field`.
pub fn default_of(kind: Kind, name: &str, field: &str) -> Option<Value> {
    let plugin = registry::find(kind, name).ok()?;
    let found: Option<Field> = (plugin.schema)().fields().into_iter().find(|candidate| candidate.name == field);
    found.map(|field| field.default)
}
