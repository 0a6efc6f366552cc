//! The stage `evaluate`: held-out text and tasks, after a training and in the middle of it.

use std::time::Instant;

use psann_core::plan::Stage;
use psann_core::quantity::Span;
use psann_core::{Error, Event, Model, Observer, Result, Sharder, options};
use psann_data::tokenizer::TextTokenizer;
use psann_data::{Split, read_documents};
use psann_eval::answer::{self, AnswerOptions};
use psann_eval::evaluate::{EvaluateInput, EvaluateOptions, EvaluateReport, HeldOut};
use psann_eval::harness::Results;
use psann_eval::network::{Network, Sharded};
use psann_train::checkpoint::load_model;
use psann_train::probe::Probe;
use psann_train::ranks::Ranks;
use serde_json::{Map, Value, json};

use super::stages::{Context, to_json};
use super::{Outcome, earlier};
use crate::evaluation::{self, Named, Questions};

/// Whether all ranks work on a stage of this kind with these options.
pub fn is_shared(stage: &Stage) -> bool {
    let tasks = stage.options.get("tasks").and_then(Value::as_array);
    stage.kind == "evaluate" && tasks.is_some_and(|tasks| !tasks.is_empty())
}

/// Runs the stage.
pub fn execute(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: EvaluateOptions = options::parse(&stage.options)?;
    let mut report = Map::new();
    let (mut summaries, mut text) = (Vec::new(), String::new());
    // Without tasks there is nothing else to measure, so that missing text is an error.
    if context.ranks.is_first() && (options.tasks.is_empty() || has_held_out(context)?) {
        let held_out = held_out(&options, context)?;
        summaries.push(held_out.summary());
        text.push_str(&held_out.to_string());
        if let Value::Object(fields) = to_json(&held_out)? {
            report.extend(fields);
        }
    }
    if !options.tasks.is_empty()
        && let Some(tasks) = tasks(&options, context)?
    {
        summaries.push(tasks.summary);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&tasks.text);
        report.insert("tasks".to_owned(), tasks.report);
    }
    Ok(Outcome { summary: summaries.join(" · "), text, report: Value::Object(report) })
}

fn has_held_out(context: &Context<'_>) -> Result<bool> {
    if earlier(context.plan, context.index, "prepare").is_none() {
        return Ok(false);
    }
    Ok(read_documents(&context.input("prepare")?, Split::Validation)?.next().is_some())
}

fn held_out(options: &EvaluateOptions, context: &Context<'_>) -> Result<EvaluateReport> {
    let (prepared, tokenizer) = (context.input("prepare")?, context.tokenizer()?);
    let loaded = load_model(&context.input("pretrain")?)?;
    let limit = options.documents.map_or(usize::MAX, |count| count.0 as usize);
    let mut held_out = Vec::new();
    for document in read_documents(&prepared, Split::Validation)?.take(limit) {
        let text = document?.text;
        held_out.push(HeldOut { tokens: tokenizer.encode(&text)?, bytes: text.len() as u64 });
    }
    let sequence_length = context.pretrain_options()?.seq_len;
    let counts = context.count(&context.training_text()?, &tokenizer, sequence_length)?;
    let input = EvaluateInput {
        documents: &held_out,
        special: tokenizer.special(),
        training_counts: Some(&counts.counts),
        sequence_length,
    };
    let network = Network::new(loaded.model.as_ref(), &loaded.parameters)?;
    psann_eval::evaluate(network, input, options, context.observer)
}

/// What the tasks came to, on the first rank.
struct Tasks {
    summary: String,
    text: String,
    report: Value,
}

fn tasks(options: &EvaluateOptions, context: &Context<'_>) -> Result<Option<Tasks>> {
    let started = Instant::now();
    let tokenizer = context.text_tokenizer()?;
    let loaded = load_model(&context.input("pretrain")?)?;
    let length = context.pretrain_options()?.seq_len;
    let questions = Questions::new(options, options.suite()?, &tokenizer, length, None)?;
    let suite = questions.suite(&tokenizer)?;
    let network = Network::new(loaded.model.as_ref(), &loaded.parameters)?;
    let identity = evaluation::identity(network, &tokenizer)?;
    let (ranks, observer) = (context.ranks, context.observer);
    let journal = context.folder.join("journal");
    let Some(results) =
        evaluation::evaluate(network, &identity, &suite, answering(options), ranks, &journal, observer)?
    else {
        return Ok(None);
    };
    let prepared = earlier(context.plan, context.index, "prepare").map(|_| context.input("prepare")).transpose()?;
    let subsets = evaluation::subsets(&results, &questions, prepared.as_deref())?;
    let named = Named {
        name: context.plan.name.clone(),
        source: loaded.folder.display().to_string(),
        kind: loaded.component.name.clone(),
        parameters: loaded.parameters.iter().flatten().map(|value| value.numel() as u64).sum(),
        dtype: "torch.float32".to_owned(),
    };
    let mut run = evaluation::run(&named, &suite, questions.renderer(), options.batch, started);
    if !subsets.is_empty() {
        run.extra.insert("subsets".to_owned(), evaluation::subsets_json(&subsets));
    }
    evaluation::save(&results, &run, context.folder)?;
    let text = evaluation::text(&results, &subsets);
    Ok(Some(Tasks { summary: summary(&results), text, report: scores(&results) }))
}

fn answering(options: &EvaluateOptions) -> AnswerOptions {
    AnswerOptions { batch: options.batch as usize, ..AnswerOptions::default() }
}

/// `piqa acc 0.5120 · hellaswag acc_norm 0.2950`: of each task the score by length, or its first.
fn summary(results: &Results<'_, '_>) -> String {
    let of_task = |task: &psann_eval::harness::results::TaskResult| {
        let by_length = task.scores.iter().find(|(metric, _)| metric.name() == "acc_norm");
        let shown = by_length.or(task.scores.first());
        shown.map(|(metric, score)| format!("{} {} {:.4}", task.name, metric.name(), score.value))
    };
    results.tasks().iter().filter_map(of_task).collect::<Vec<_>>().join(" · ")
}

/// Every score by task and metric.
fn scores(results: &Results<'_, '_>) -> Value {
    let of_task = |task: &psann_eval::harness::results::TaskResult| {
        let mut scores = Map::new();
        for (metric, score) in &task.scores {
            scores.insert(metric.name().to_owned(), json!(score.value));
            scores.insert(format!("{}_stderr", metric.name()), json!(score.standard_error));
        }
        scores.insert("task_hash".to_owned(), json!(task.task_hash));
        (task.name.clone(), Value::Object(scores))
    };
    Value::Object(results.tasks().iter().map(of_task).collect())
}

/// Evaluates the tasks of a later stage while the model is being trained.
pub struct TaskProbe<'a> {
    every: Span,
    options: EvaluateOptions,
    questions: Questions,
    tokenizer: TextTokenizer,
    ranks: &'a Ranks,
    observer: &'a dyn Observer,
}

impl<'a> TaskProbe<'a> {
    /// What the stages behind training stage `context` ask for with `every`, if one does.
    ///
    /// # Errors
    /// When several do, or its tasks or their documents are not as they should be.
    pub fn of_plan(context: &Context<'a>) -> Result<Option<Self>> {
        let mut found = None;
        for stage in context.plan.stages[context.index..].iter().filter(|stage| stage.kind == "evaluate") {
            let options: EvaluateOptions = options::parse(&stage.options)?;
            let Some(every) = options.every else { continue };
            if options.tasks.is_empty() {
                return Err(Error::usage(
                    "`every` needs `tasks`: held-out text is measured by `validation` of `pretrain`",
                )
                .within(format!("stage `{}`", stage.name)));
            }
            if found.is_some() {
                return Err(Error::usage("two stages `evaluate` have `every`").hint("name all tasks in one of them"));
            }
            let tokenizer = context.text_tokenizer()?;
            let length = context.own_pretrain_options()?.seq_len;
            let questions = Questions::new(&options, options.suite()?, &tokenizer, length, None)?;
            let (ranks, observer) = (context.ranks, context.observer);
            found = Some(Self { every, options, questions, tokenizer, ranks, observer });
        }
        Ok(found)
    }
}

impl Probe for TaskProbe<'_> {
    fn every(&self) -> Span {
        self.every
    }

    fn look(&mut self, step: u64, model: &dyn Model, sharder: &mut dyn Sharder) -> Result<Value> {
        let suite = self.questions.suite(&self.tokenizer)?;
        let sharded = Sharded::new(sharder, self.ranks.device);
        let network = Network::elsewhere(model, &sharded)?;
        let group = self.ranks.group.as_ref();
        let journal = answer::answer_together(network, &suite, group, answering(&self.options), self.observer)?;
        let answers = answer::collect(&suite, &journal)?
            .ok_or_else(|| Error::new("a rank left documents unanswered while evaluating"))?;
        let results = suite.finish(&answers)?;
        if self.ranks.is_first() {
            self.observer.event(Event::Note(format!("step {step}: {}", summary(&results))));
        }
        Ok(scores(&results))
    }
}
