//! The stage `evaluate`: held-out text and tasks, after a training and in the middle of it.

use std::time::Instant;

use psann_core::plan::Stage;
use psann_core::quantity::Span;
use psann_core::{Error, Event, Model, Observer, Result, Sharder, options};
use psann_data::tokenizer::TextTokenizer;
use psann_data::{Split, read_documents};
use psann_eval::answer;
use psann_eval::evaluate::{EvaluateInput, EvaluateOptions, EvaluateReport, HeldOut};
use psann_eval::network::{Network, Sharded};
use psann_train::checkpoint::{Loaded, load_model};
use psann_train::probe::Probe;
use psann_train::ranks::Ranks;
use serde_json::{Map, Value};

use super::stages::{Context, to_json};
use super::{Outcome, earlier};
use crate::evaluation::{self, Finding, Output, Questions, Subject};

/// Whether all ranks work on a stage of this kind with these options.
pub fn is_shared(stage: &Stage) -> bool {
    let tasks = stage.options.get("tasks").and_then(Value::as_array);
    stage.kind == "evaluate" && tasks.is_some_and(|tasks| !tasks.is_empty())
}

/// Runs the stage. What all ranks work on comes first: they would not wait for as long as held-out text may take.
pub fn execute(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: EvaluateOptions = options::parse(&stage.options)?;
    let loaded = load_model(&context.input("pretrain")?)?;
    let tasks = if options.tasks.is_empty() { None } else { tasks(&options, &loaded, context)? };
    let mut report = Map::new();
    let (mut summaries, mut texts) = (Vec::new(), Vec::new());
    // Without tasks there is nothing else to measure, so that missing text is an error.
    if context.ranks.is_first() && (options.tasks.is_empty() || has_held_out(context)?) {
        let held_out = held_out(&options, &loaded, context)?;
        summaries.push(held_out.summary());
        texts.push(held_out.to_string());
        if let Value::Object(fields) = to_json(&held_out)? {
            report.extend(fields);
        }
    }
    if let Some(tasks) = tasks {
        summaries.push(tasks.summary);
        texts.push(tasks.text);
        report.insert("tasks".to_owned(), tasks.scores);
    }
    Ok(Outcome { summary: summaries.join(" · "), text: texts.join("\n"), report: Value::Object(report) })
}

fn has_held_out(context: &Context<'_>) -> Result<bool> {
    if earlier(context.plan, context.index, "prepare").is_none() {
        return Ok(false);
    }
    Ok(read_documents(&context.input("prepare")?, Split::Validation)?.next().is_some())
}

fn held_out(options: &EvaluateOptions, loaded: &Loaded, context: &Context<'_>) -> Result<EvaluateReport> {
    let (prepared, tokenizer) = (context.input("prepare")?, context.tokenizer()?);
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

fn tasks(options: &EvaluateOptions, loaded: &Loaded, context: &Context<'_>) -> Result<Option<Finding>> {
    let started = Instant::now();
    let tokenizer = context.text_tokenizer()?;
    let length = context.pretrain_options()?.seq_len;
    let questions = Questions::new(options, options.suite()?, &tokenizer, length, None)?;
    let corpus = earlier(context.plan, context.index, "prepare").map(|_| context.input("prepare")).transpose()?;
    let (name, source) = (context.plan.name.clone(), loaded.folder.display().to_string());
    let subject = Subject { name, source, loaded, tokenizer: &tokenizer, corpus };
    let output = Output { folder: context.folder, fresh: false, started };
    evaluation::evaluate(&subject, &questions, &output, context.ranks, context.observer)
}

/// Evaluates the tasks of a later stage while the model is being trained.
pub struct TaskProbe<'a> {
    every: Span,
    questions: Questions,
    tokenizer: TextTokenizer,
    ranks: &'a Ranks,
    observer: &'a dyn Observer,
}

impl<'a> TaskProbe<'a> {
    /// What the stages between training stage `context` and the next training ask for with `every`, if one does.
    ///
    /// # Errors
    /// When several do, or its tasks or their documents are not as they should be.
    pub fn of_plan(context: &Context<'a>) -> Result<Option<Self>> {
        let mut found = None;
        let behind = context.plan.stages[context.index + 1..].iter().take_while(|stage| stage.kind != "pretrain");
        for stage in behind.filter(|stage| stage.kind == "evaluate") {
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
            found = Some(Self { every, questions, tokenizer, ranks, observer });
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
        let (asked, journal) =
            answer::answer_together(network, &suite, group, self.questions.answering(), self.observer)?;
        let answers = answer::collect(&suite, &asked, &journal)?
            .ok_or_else(|| Error::new("a rank left documents unanswered while evaluating"))?;
        let results = suite.finish(&answers)?;
        if self.ranks.is_first() {
            self.observer.event(Event::Note(format!("step {step}: {}", evaluation::summary(&results))));
        }
        Ok(evaluation::scores(&results))
    }
}
