//! What each kind of stage does: finds its inputs among the stages before it, calls the engine, sums up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::plan::{Component, Plan, Stage};
use psann_core::registry::Kind;
use psann_core::{Error, Event, Observer, Result, Tokenizer, options};
use psann_data::loader::{HeldOutOptions, Loader, TokenCounts, TrainingText, count_tokens, validation_batches};
use psann_data::tokenizer::{self, TextTokenizer, TokenizerStageOptions};
use psann_data::{Manifest, PrepareJob, PrepareOptions, Split, read_documents};
use psann_eval::network::Network;
use psann_eval::sample::{Sample, SampleOptions};
use psann_train::export::Format;
use psann_train::hugging_face::{self, TokenizerFolder};
use psann_train::probe::Probe;
use psann_train::ranks::Ranks;
use psann_train::reference::{self, TokenizerFiles};
use psann_train::{Job, PretrainOptions};
use serde_json::{Value, json};

use super::evaluate::{self, TaskProbe};
use super::{Fingerprint, Outcome, RunDirectory, data, earlier, overview};
use crate::display::count;

/// Where a stage stands.
pub struct Context<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The stage's place in it.
    pub index: usize,
    /// The run's folder.
    pub directory: &'a RunDirectory,
    /// Fingerprints of all stages.
    pub fingerprints: &'a [Fingerprint],
    /// The stage's own folder.
    pub folder: &'a Path,
    /// The processes that work on the run.
    pub ranks: &'a Ranks,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
}

impl Context<'_> {
    /// The folder of the latest earlier stage of a kind; of `prepare` that of its corpus.
    pub fn input(&self, kind: &str) -> Result<PathBuf> {
        let (index, stage) = earlier(self.plan, self.index, kind)
            .ok_or_else(|| Error::usage(format!("there is no `{kind}` stage before it")).hint(missing(kind)))?;
        let folder = self.directory.stage_folder(stage, &self.fingerprints[index]);
        Ok(if kind == "prepare" { corpus_folder(stage, &folder) } else { folder })
    }

    /// The options of the training before this stage.
    pub fn pretrain_options(&self) -> Result<PretrainOptions> {
        let (_, stage) = earlier(self.plan, self.index, "pretrain")
            .ok_or_else(|| Error::usage("there is no `pretrain` stage before it").hint(missing("pretrain")))?;
        PretrainOptions::parse(&stage.options)
    }

    /// The options of this stage, which is a training.
    pub fn own_pretrain_options(&self) -> Result<PretrainOptions> {
        PretrainOptions::parse(&self.plan.stages[self.index].options)
    }

    /// The tokenizer of the run.
    pub fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>> {
        Ok(Arc::new(self.text_tokenizer()?))
    }

    /// The same with what stands beside it, such as chat templates.
    pub fn text_tokenizer(&self) -> Result<TextTokenizer> {
        tokenizer::open(&self.input("tokenizer")?)
    }

    /// The text that the model is trained on.
    pub fn training_text(&self) -> Result<TrainingText> {
        match data::source(self.plan, self.index)? {
            Some(source) => TrainingText::source(&source),
            None => Ok(TrainingText::prepared(&self.input("prepare")?, Split::Train)),
        }
    }

    /// The tokens of `text`; counted once, and kept beside the tokenizer.
    pub fn count(&self, text: &TrainingText, tokenizer: &Arc<dyn Tokenizer>, sequence: u64) -> Result<TokenCounts> {
        count_tokens(text, tokenizer, sequence as usize, &self.input("tokenizer")?, self.observer)
    }

    /// Lets the first rank do `work` before the others, who then find what it kept.
    fn first_before_others<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.ranks.is_first() {
            self.ranks.group.barrier()?;
        }
        let done = work()?;
        if self.ranks.is_first() {
            self.ranks.group.barrier()?;
        }
        Ok(done)
    }
}

fn missing(kind: &str) -> &'static str {
    match kind {
        "prepare" => "put `.prepare(source)` before it",
        "tokenizer" => "give the model a tokenizer: `vocab: tokenizer::train_bpe()`",
        _ => "put `.pretrain(model, #{ … })` before it",
    }
}

/// Runs one stage.
pub fn execute(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    match stage.kind.as_str() {
        "prepare" => prepare(stage, context),
        "tokenizer" => tokenizer_stage(stage, context),
        "pretrain" => pretrain(stage, context),
        "evaluate" => evaluate::execute(stage, context),
        "sample" => sample(stage, context),
        "save" => save(stage, context),
        other => Err(Error::usage(format!("this program cannot run a stage of kind `{other}`"))),
    }
}

/// Where a `prepare` stage leaves its corpus: in `out`, or in its own folder.
fn corpus_folder(stage: &Stage, folder: &Path) -> PathBuf {
    corpus_elsewhere(stage).unwrap_or_else(|| folder.to_owned())
}

/// The folder that a `prepare` stage was told to put its corpus into.
pub fn corpus_elsewhere(stage: &Stage) -> Option<PathBuf> {
    let out = stage.options.get("out").and_then(Value::as_str);
    out.filter(|_| stage.kind == "prepare").map(PathBuf::from)
}

/// Whether what a finished stage left elsewhere is gone, or another plan's.
pub fn is_lost(stage: &Stage, fingerprint: &Fingerprint) -> bool {
    let is_there =
        |corpus: PathBuf| Manifest::read(&corpus).is_ok_and(|manifest| manifest.fingerprint == fingerprint.0);
    corpus_elsewhere(stage).is_some_and(|corpus| !is_there(corpus))
}

fn prepare(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: PrepareOptions = options::parse(&stage.options)?;
    let directory = corpus_folder(stage, context.folder);
    // Batches come and go by the megabyte: memory that is given back each time costs a tenth of the work.
    psann_torch::memory::set_freed(psann_torch::memory::Freed::Kept);
    let report = psann_data::prepare(&PrepareJob {
        options: &options,
        fingerprint: &context.fingerprints[context.index].0,
        directory: &directory,
        observer: context.observer,
    })?;
    Ok(Outcome { summary: report.summary(), text: String::new(), report: to_json(&report)? })
}

fn tokenizer_stage(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: TokenizerStageOptions = options::parse(&stage.options)?;
    let text = context.training_text()?;
    let report = tokenizer::tokenizer_stage(&options, &text, context.folder, context.observer)?;
    let summary = format!("{} tokens · {} bytes per token", report.vocabulary, report.bytes_per_token);
    Ok(Outcome { summary, text: String::new(), report: to_json(&report)? })
}

fn pretrain(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let mut options = PretrainOptions::parse(&stage.options)?;
    let (text, tokenizer) = (context.training_text()?, context.tokenizer()?);
    options.model = Some(with_vocabulary(&options.model()?, tokenizer.vocabulary()));
    let Ranks { device, group, .. } = context.ranks;
    let parts = options.components_on(options.placement(*device, Arc::clone(group)))?;
    tokenizer::check_vocabulary(tokenizer.vocabulary(), parts.model.vocabulary() as usize)?;
    let loader = data::loader_options(&options, group.rank(), group.size());
    let held_out = HeldOutOptions {
        seq_len: loader.seq_len,
        rows: loader.rows,
        batches: options.validation.batches as usize,
        rank: loader.rank,
        ranks: loader.ranks,
        separate_documents: loader.separate_documents,
    };
    let validation = if data::is_prepared(context.plan, context.index) {
        let documents = read_documents(&context.input("prepare")?, Split::Validation)?;
        validation_batches(documents, tokenizer.as_ref(), held_out)?
    } else {
        Vec::new()
    };
    let epoch_tokens = match options.epochs {
        Some(_) => {
            let counted = context.first_before_others(|| context.count(&text, &tokenizer, options.seq_len))?;
            Some(counted.tokens)
        }
        None => None,
    };
    let stream = Loader::new(&text, tokenizer, loader)?;
    for note in stream.notes() {
        context.observer.event(Event::Note(note));
    }
    let summary = psann_train::pretrain(Job {
        options: &options,
        model: parts.model,
        sharder: parts.sharder,
        optimizer: parts.optimizer,
        stream: Box::new(stream),
        validation,
        probe: TaskProbe::of_plan(context)?.map(|probe| Box::new(probe) as Box<dyn Probe + '_>),
        epoch_tokens,
        directory: context.folder,
        device: *device,
        observer: context.observer,
        identity: json!({ "fingerprint": context.fingerprints[context.index] }),
    })?;
    let mut line = format!(
        "{} parameters · {} steps · {} tokens · loss {:.3}",
        count(summary.parameters as f64),
        summary.steps,
        count(summary.tokens as f64),
        summary.loss
    );
    if let Some(loss) = summary.validation_loss {
        line.push_str(&format!(" · validation loss {loss:.3}"));
    }
    if let Some(speed) = summary.tokens_per_second {
        line.push_str(&format!(" · {} tokens/s", count(speed)));
    }
    if let Some(peak) = summary.peak_memory {
        let planned = crate::display::bytes(summary.planned_memory as f64);
        line.push_str(&format!(" · memory {} (planned {planned})", crate::display::bytes(peak as f64)));
    }
    Ok(Outcome { summary: line, text: String::new(), report: to_json(&summary)? })
}

fn sample(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: SampleOptions = options::parse(&stage.options)?;
    let tokenizer = context.tokenizer()?;
    let loaded = psann_train::checkpoint::load_model(&context.input("pretrain")?)?;
    let network = Network::new(loaded.model.as_ref(), &loaded.parameters)?;
    let samples = psann_eval::sample(network, tokenizer.as_ref(), &options, context.observer)?;
    let text = Sample::render(&samples);
    super::directory::write(&context.folder.join("samples.txt"), text.as_bytes())?;
    let summary = format!("{} text{}", samples.len(), if samples.len() == 1 { "" } else { "s" });
    Ok(Outcome { summary, text, report: to_json(&samples)? })
}

fn save(stage: &Stage, context: &Context<'_>) -> Result<Outcome> {
    let options: psann_train::export::SaveOptions = options::parse(&stage.options)?;
    let tokenizer = context.input("tokenizer")?;
    let files = tokenizer::files(&tokenizer);
    let destination = options.path.as_ref().map_or_else(|| context.folder.to_owned(), PathBuf::from);
    let model = context.input("pretrain")?;
    let report = match options.format {
        Format::Safetensors => psann_train::export::save(&model, &destination, &files, &options)?,
        Format::HuggingFace => {
            let tokenizer = tokenizer_folder(&tokenizer)?;
            hugging_face::export(&model, &destination, Some(&tokenizer), &options)?
        }
        Format::Psannlm => {
            std::fs::create_dir_all(&destination)
                .map_err(|e| Error::new(format!("cannot make `{}`", destination.display())).because(e))?;
            reference::export(&model, &destination.join("model.pt"), Some(&tokenizer_files(&tokenizer)?))?
        }
    };
    let summary = format!("{} · {}", report.path.display(), crate::display::bytes(report.bytes as f64));
    Ok(Outcome { summary, text: String::new(), report: to_json(&report)? })
}

/// The tokenizer in `folder`, as folders of Hugging Face need it.
pub fn tokenizer_folder(folder: &Path) -> Result<TokenizerFolder> {
    let tokenizer = tokenizer::open(folder)?;
    let special = tokenizer.special();
    let named = serde_json::from_str(&tokenizer.special_json())
        .map_err(|e| Error::new("cannot list the special tokens").because(e))?;
    let files = hugging_face::tokenizer_files(folder);
    Ok(TokenizerFolder { files, bos: special.bos, eos: special.eos, pad: special.pad, named })
}

/// The tokenizer in `folder`, as the reference's files carry it.
pub fn tokenizer_files(folder: &Path) -> Result<TokenizerFiles> {
    let tokenizer = tokenizer::open(folder)?;
    Ok(TokenizerFiles { json: tokenizer.json()?, special: tokenizer.special_json() })
}

/// A report as JSON.
pub fn to_json<T: serde::Serialize>(report: &T) -> Result<Value> {
    serde_json::to_value(report).map_err(|e| Error::new("cannot write a report as JSON").because(e))
}

/// The model with the vocabulary's size in place of `"tokenizer"`.
pub fn with_vocabulary(model: &Component, vocabulary: usize) -> Component {
    let mut model = model.clone();
    if let Some(options) = model.options.as_object_mut()
        && !options.get("vocab").is_some_and(Value::is_number)
    {
        options.insert("vocab".into(), json!(vocabulary));
    }
    model
}

/// The size of the vocabulary that stage `index` will find, as far as the plan tells: a trained tokenizer may end up
/// smaller than asked for.
pub fn planned_vocabulary(plan: &Plan, index: usize) -> Result<usize> {
    let component = earlier(plan, index, "tokenizer")
        .and_then(|(_, stage)| Component::from_value(&stage.options["tokenizer"]))
        .ok_or_else(|| Error::usage("the model has no tokenizer").hint(missing("tokenizer")))?;
    if component.name == "load" {
        return Ok(tokenizer::load(&options::parse(&component.options)?)?.vocabulary());
    }
    let default = || overview::default_of(Kind::Tokenizer, &component.name, "vocab");
    let vocab = component.options.get("vocab").cloned().or_else(default).unwrap_or(Value::Null);
    let vocab: psann_core::quantity::Count =
        serde_json::from_value(vocab).map_err(|e| Error::usage("the tokenizer's `vocab` is no count").because(e))?;
    Ok(vocab.0 as usize)
}
