//! `psann evaluate`: a trained model on tasks, with the numbers of lm-evaluation-harness.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use psann_core::{Error, Event, Observer, Result};
use psann_eval::evaluate::EvaluateOptions;
use psann_eval::harness::show::show;
use psann_eval::harness::{Key, Suite};
use psann_eval::network::store_in_half;
use psann_train::launch::{Exit, World};
use psann_train::ranks::Ranks;
use serde_json::Value;

use crate::cli::{EvaluateArgs, EvaluateCommand, WeightsKind};
use crate::display::{self, Failure};
use crate::evaluation::{self, Output, Questions, Subject, compared};
use crate::launch::{self, Part};
use crate::progress::Progress;
use crate::run::Trained;
use crate::stop::Stop;

/// Evaluates, shows prompts, or compares results.
pub fn execute(args: &EvaluateArgs) -> Result<(), Failure> {
    if let Some(EvaluateCommand::Compare { first, second }) = &args.command {
        display::result(&compared::of_files(first, second)?.to_string());
        return Ok(());
    }
    let path = args.run.as_deref().ok_or_else(|| Error::usage("no model is named"))?;
    let options = options(args)?;
    let world = match args.show_prompt {
        Some(_) => World::alone(),
        None => match launch::start_ranks(args.ranks)? {
            Part::Rank(world) => world,
            Part::Launched(Exit { code: 0, .. }) => return Ok(()),
            Part::Launched(exit) => return Err(Failure::Ranks(exit)),
        },
    };
    let observer = Progress::of_rank(Stop::listen()?, world.rank);
    if let Some(threads) = args.threads {
        psann_torch::threads::set(threads);
    }
    let started = Instant::now();
    let mut trained = Trained::open(path)?;
    let mut suite = options.suite()?;
    suite.samples = samples(args.samples.as_deref())?;
    let template = args.chat_template.as_ref().and_then(Option::as_deref);
    let questions = Questions::new(&options, suite, &trained.tokenizer, trained.reads_at_most(None), template)?;
    if let Some(count) = args.show_prompt {
        return Ok(shown(&questions.suite(&trained.tokenizer)?, count)?);
    }
    if args.weights == WeightsKind::Bf16 {
        store_in_half(&mut trained.loaded.parameters);
    }
    let subject = Subject {
        name: args.model_name.clone().unwrap_or_else(|| path.display().to_string()),
        source: path.display().to_string(),
        loaded: &trained.loaded,
        tokenizer: &trained.tokenizer,
        corpus: trained.corpus,
    };
    let output = args.output.clone().unwrap_or_else(|| default_output(path));
    let folder = evaluation::folder(&output, &subject.name);
    let output = Output { folder: &folder, fresh: args.fresh, started };
    let ranks = Ranks::on_cpu(world)?;
    if let Some(found) = evaluation::evaluate(&subject, &questions, &output, &ranks, &observer)? {
        display::result(if args.json { &found.json } else { &found.text });
        observer.event(Event::Note(format!("written to {}", found.file.display())));
    }
    Ok(())
}

fn shown(suite: &Suite<'_>, count: usize) -> Result<()> {
    for (task, planned) in suite.tasks().iter().enumerate() {
        for document in 0..planned.documents().len().min(count) {
            display::result(&show(suite, Key { task, document })?.to_string());
        }
    }
    Ok(())
}

/// What the command line asks for, as the recipe's stage has it.
fn options(args: &EvaluateArgs) -> Result<EvaluateOptions> {
    let defaults = EvaluateOptions::default();
    let options = EvaluateOptions {
        batch: args.batch,
        context: args.max_length.map(psann_core::quantity::Count),
        tasks: args.tasks.clone(),
        data: args.data.iter().map(|path| path.display().to_string()).collect(),
        fewshot: args.fewshot,
        fewshot_seed: args.fewshot_seed,
        limit: args.limit,
        chat_template: args.chat_template.is_some(),
        fewshot_as_multiturn: args.fewshot_as_multiturn,
        system_instruction: args.system_instruction.clone(),
        bootstrap: args.bootstrap,
        ..defaults
    };
    if options.batch == 0 {
        return Err(Error::usage("`--batch` must be at least 1, found 0"));
    }
    Ok(options)
}

/// `{"piqa": [0, 3]}`, in a file or on the command line.
fn samples(given: Option<&str>) -> Result<BTreeMap<String, Vec<usize>>> {
    let Some(given) = given else { return Ok(BTreeMap::new()) };
    let text = if given.trim_start().starts_with('{') {
        given.to_owned()
    } else {
        std::fs::read_to_string(given)
            .map_err(|e| Error::usage(format!("cannot read the list of documents `{given}`")).because(e))?
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|e| Error::usage("`--samples` is no JSON").because(e).hint("write `{\"piqa\": [0, 3]}`"))?;
    serde_json::from_value(value).map_err(|e| {
        Error::usage("`--samples` must name tasks with lists of document numbers")
            .because(e)
            .hint("write `{\"piqa\": [0, 3]}`")
    })
}

/// Beside the run or the model that is evaluated, where that is a folder of ours.
fn default_output(path: &Path) -> PathBuf {
    if path.join("plan.json").is_file() { path.join("evaluations") } else { PathBuf::from("evaluations") }
}
