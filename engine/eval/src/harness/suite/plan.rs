//! Building a suite: which documents are evaluated, what they mean, and what is drawn for them.

use std::collections::{BTreeMap, BTreeSet};

use psann_core::{Error, Result};

use super::super::boundary::Encoder;
use super::super::fewshot::{self, Draw};
use super::super::prompt::{ChatRenderer, Format};
use super::super::task::{Fields, Output, Row, Task};
use super::{Document, Planned, Splits, Suite, SuiteOptions};
use crate::python::MersenneTwister;

impl<'a> Suite<'a> {
    /// Plans `tasks` with their rows. All that is random happens here.
    ///
    /// # Errors
    /// Names the task, and the file and line of a row that is not as the task needs it; a split that is missing or empty;
    /// options that do not fit.
    pub fn new(
        tasks: Vec<(Box<dyn Task>, Splits)>,
        options: SuiteOptions,
        encoder: Encoder<'a>,
        renderer: Option<&'a dyn ChatRenderer>,
    ) -> Result<Self> {
        if options.format != Format::Plain && renderer.is_none() {
            return Err(Error::usage("there is no chat template to write the prompts with")
                .hint("evaluate without one, or give a model whose tokenizer has `chat_template`"));
        }
        if let Some(unknown) =
            options.samples.keys().find(|name| !tasks.iter().any(|(task, _)| task.settings().name == **name))
        {
            return Err(Error::usage(format!("option `samples` names task `{unknown}`, which is not evaluated")));
        }
        let mut names = BTreeSet::new();
        let mut planned = Vec::with_capacity(tasks.len());
        for (task, splits) in tasks {
            let name = task.settings().name.clone();
            if !names.insert(name.clone()) {
                return Err(Error::usage(format!("task `{name}` is named twice")));
            }
            planned.push(plan(task, splits, &options).map_err(|error| error.within(format!("task `{name}`")))?);
        }
        Ok(Self { tasks: planned, options, encoder, renderer })
    }
}

/// The numbers of the documents that are evaluated, in order. Those that `samples` lists, in the order of the split and
/// each once; or the first ones.
///
/// # Errors
/// When a number is beyond the split.
pub fn select(total: usize, options: &SuiteOptions, task: &str) -> Result<Vec<usize>> {
    let Some(listed) = options.samples.get(task) else {
        let count = options.limit.map_or(total, |limit| limit.of(total));
        return Ok((0..count).collect());
    };
    if options.limit.is_some() {
        return Err(Error::usage("options `limit` and `samples` exclude each other"));
    }
    if let Some(beyond) = listed.iter().find(|number| **number >= total) {
        return Err(Error::usage(format!(
            "option `samples` names document {beyond} and there are {total}, numbered from 0"
        )));
    }
    let sorted: BTreeSet<usize> = listed.iter().copied().collect();
    if sorted.is_empty() {
        return Err(Error::usage("option `samples` lists no document"));
    }
    Ok(sorted.into_iter().collect())
}

fn plan(task: Box<dyn Task>, mut splits: Splits, options: &SuiteOptions) -> Result<Planned> {
    let settings = task.settings();
    let shots = settings.shown(options.shots);
    let split = settings.evaluated_split();
    let rows = rows(task.as_ref(), &splits, split)?;
    let original = rows.len();
    let numbers = select(original, options, &settings.name)?;

    let mut documents = Vec::with_capacity(numbers.len());
    for id in numbers {
        let row = &rows[id];
        let (fields, question) = at(row, || {
            let fields = task.prepare(row.fields.clone())?;
            let question = task.question(&fields)?;
            Ok((fields, question))
        })?;
        let (description, answer_prefix) = at(row, || Ok((task.description(&fields)?, task.answer_prefix(&fields)?)))?;
        documents.push(Document { id, fields, question, draw: Draw::default(), description, answer_prefix });
    }

    let mut examples = BTreeMap::new();
    let split = settings.example_split().to_owned();
    // A whole text has nothing before it: examples are drawn where there are enough, as the reference draws them, and
    // change nothing.
    let whole = settings.output == Output::Rolling;
    let enough = || splits.get(&split).is_some_and(|rows| rows.len() > shots);
    if shots > 0 && (!whole || enough()) {
        self::rows(task.as_ref(), &splits, &split)?;
        let pool_rows = splits.remove(&split).unwrap_or_default();
        let mut pool = Vec::with_capacity(pool_rows.len());
        for row in &pool_rows {
            pool.push(at(row, || task.prepare(row.fields.clone()))?);
        }
        let draws = {
            let asked: Vec<&Fields> = documents.iter().map(|document| &document.fields).collect();
            let pool: Vec<&Fields> = pool.iter().collect();
            let mut random = MersenneTwister::new(options.seed);
            fewshot::draw(&asked, &pool, shots, settings.excludes_itself(), &mut random)
                .map_err(|error| error.within(format!("split `{split}`")))?
        };
        for (document, draw) in documents.iter_mut().zip(draws) {
            for row in &draw.rows {
                if !whole && !examples.contains_key(row) {
                    let question = at(&pool_rows[*row], || task.question(&pool[*row]))?;
                    let (asked, answer) = question.example();
                    examples.insert(*row, (asked.to_owned(), answer.map(str::to_owned)));
                }
            }
            document.draw = draw;
        }
    }
    Ok(Planned { task, shots, original, documents, examples })
}

fn rows<'r>(task: &dyn Task, splits: &'r Splits, split: &str) -> Result<&'r [Row]> {
    let expects = || format!("expected {}", task.settings().expects(split));
    match splits.get(split) {
        Some(rows) if !rows.is_empty() => Ok(rows),
        Some(_) => Err(Error::new(format!("split `{split}` is empty")).hint(expects())),
        None => {
            let there = splits.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
            let there = if there.is_empty() { "no split".to_owned() } else { format!("`{there}`") };
            Err(Error::usage(format!("split `{split}` is missing; there is {there}")).hint(expects()))
        }
    }
}

/// Names the row in an error.
fn at<T>(row: &Row, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work().map_err(|error| error.within(format!("`{}` line {}", row.file, row.line)))
}
