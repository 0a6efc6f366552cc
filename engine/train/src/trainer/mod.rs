//! The training loop: batches in, steps made, metrics written, checkpoints published.
//!
//! A run is a function of its options, its seed and its data. Nothing is drawn from an unseeded source, the learning
//! rate is a function of the step, dropout keys are a function of seed and step, and a checkpoint holds the rest. So a
//! run that was stopped or killed ends with the weights of one that was not, bit for bit.

mod batches;
pub mod guard;
mod guard_log;
mod install;
pub mod step;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use psann_core::collective::{Collective, sum_values};
use psann_core::tokens::{BatchStream, Cursor, Skip, TokenBatch};
use psann_core::{Error, Event, Model, Observer, Optimizer, Result, Sharder};
use psann_torch::{memory, threads};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::Device;

use crate::checkpoint::{Checkpoints, Content, Saving, State, VERSION};
use crate::executor::{Executor, MicroBatch};
use crate::metrics::{Metrics, StepMetrics};
use crate::options::PretrainOptions;
use crate::plan::plan;
use crate::probe::Probe;
pub use batches::micro_batches;
use guard::{Fired, Guard, Policy};
use step::{Moment, Stepper, mixed};

/// Everything a training run is made of.
pub struct Job<'a> {
    /// The stage's options; the model's must be complete (a vocabulary instead of a tokenizer).
    pub options: &'a PretrainOptions,
    /// The network.
    pub model: Box<dyn Model>,
    /// Where its weights live; still empty.
    pub sharder: Box<dyn Sharder>,
    /// What moves them; without state.
    pub optimizer: Box<dyn Optimizer>,
    /// Where this rank computes.
    pub device: Device,
    /// The batches of this rank.
    pub stream: Box<dyn BatchStream>,
    /// Held-out batches of this rank, as many as of any other; none for no validation.
    pub validation: Vec<TokenBatch>,
    /// Tokens of one pass over the text, for runs whose length is given in epochs.
    pub epoch_tokens: Option<u64>,
    /// What looks at the model now and then.
    pub probe: Option<Box<dyn Probe + 'a>>,
    /// The stage's folder: checkpoints and metrics go here, and an earlier run's are continued.
    pub directory: &'a Path,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
    /// What decides the result; stored in checkpoints and compared when one is continued.
    pub identity: Value,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSummary {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Number of weights.
    pub parameters: u64,
    /// Training loss of the last step, in nats per token.
    pub loss: f64,
    /// Loss on held-out text at the end; `None` without such text.
    pub validation_loss: Option<f64>,
    /// e to the validation loss.
    pub perplexity: Option<f64>,
    /// Seconds of this process.
    pub seconds: f64,
    /// Median speed of this process's steps; `None` when there was nothing left to do.
    pub tokens_per_second: Option<f64>,
    /// Step that an earlier run was continued from.
    pub resumed_from: Option<u64>,
    /// Most memory that a rank took for the run, in bytes; `None` where the system does not tell.
    pub peak_memory: Option<u64>,
    /// What the plan said of it.
    pub planned_memory: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
}

/// Task name of progress events.
const TASK: &str = "training";

/// Trains, or continues what an earlier run left in `job.directory`.
///
/// # Errors
/// `Error::interrupted` when the observer asked to stop; the run is saved then.
pub fn pretrain(job: Job<'_>) -> Result<TrainSummary> {
    let observer = job.observer;
    let result = Trainer::start(job).and_then(Trainer::run);
    observer.event(Event::Done { task: TASK.into() });
    result
}

struct Trainer<'a> {
    job: Job<'a>,
    device: Device,
    stepper: Stepper,
    guard: Guard,
    /// All ranks of the run; the first one tells of it.
    ranks: Arc<dyn Collective>,
    /// Of the first rank.
    metrics: Option<Metrics>,
    checkpoints: Checkpoints,
    /// The checkpoint whose files are being written.
    saving: Option<Saving>,
    total: u64,
    step: u64,
    /// Moves made; fewer than steps where guards left some out.
    updates: u64,
    /// Batches that guards left out.
    left_out: Vec<Skip>,
    tokens: u64,
    loss: f64,
    validation_loss: Option<f64>,
    /// The newest checkpoint and its step.
    saved: Option<(u64, PathBuf)>,
    resumed_from: Option<u64>,
    started: Instant,
    speeds: Vec<f64>,
    /// Bytes resident before the run took any.
    baseline: u64,
    planned: u64,
}

impl<'a> Trainer<'a> {
    /// Checks the job and puts weights, optimizer and data where the run begins or goes on.
    fn start(mut job: Job<'a>) -> Result<Self> {
        let options = job.options;
        let started = Instant::now();
        memory::set_freed(options.activation_checkpointing.0.freed_memory());
        if let Some(count) = options.threads {
            threads::set(count as usize);
        }
        let ranks = job.sharder.ranks();
        let planned = plan(options, job.model.as_ref(), job.optimizer.as_ref(), ranks.size(), job.device)?.memory.peak;
        // What came before counts neither as peak nor as the run's.
        memory::reset_peak();
        let baseline = memory::resident();
        let total = options.steps_of_run(job.epoch_tokens)?;
        options.schedule.check(total)?;
        let checkpoints = Checkpoints::open(job.directory, options.checkpoint.keep as usize, ranks.as_ref())?;
        let found = install::continue_or_begin(&mut job)?;
        let step = found.as_ref().map_or(0, |(state, _)| state.step);
        let executor =
            Executor { recompute: options.activation_checkpointing.0, together: options.together(ranks.size()) };
        for warning in job.model.warnings() {
            job.observer.event(Event::Warning(warning));
        }
        if step > 0 {
            job.observer.event(Event::Note(format!("goes on from step {step} of {total}")));
        }
        let first = ranks.rank() == 0;
        let mut trainer = Self {
            device: job.device,
            stepper: Stepper { executor, clip: options.clip, label_smoothing: options.label_smoothing },
            guard: match &found {
                Some((state, _)) => Guard::restore(options.guard, &state.guard)?,
                None => Guard::new(options.guard),
            },
            metrics: first.then(|| Metrics::open(job.directory, step)).transpose()?,
            ranks,
            checkpoints,
            saving: None,
            total,
            step,
            updates: found.as_ref().map_or(0, |(state, _)| state.updates),
            left_out: found.as_ref().map_or_else(Vec::new, |(state, _)| state.left_out.clone()),
            tokens: found.as_ref().map_or(0, |(state, _)| state.tokens),
            loss: found.as_ref().map_or(f64::NAN, |(state, _)| state.loss),
            validation_loss: None,
            resumed_from: found.as_ref().map(|(state, _)| state.step),
            saved: found.map(|(state, folder)| (state.step, folder)),
            started,
            speeds: Vec::new(),
            baseline,
            planned,
            job,
        };
        if options.guard.rewinds() && trainer.saved.is_none() {
            // Something to go back to from the first step on.
            trainer.save()?;
        }
        Ok(trainer)
    }

    fn run(mut self) -> Result<TrainSummary> {
        let options = self.job.options;
        let save_every = options.checkpoint.every.steps(self.total);
        let validate_every = options.validation.every.steps(self.total);
        let probe_every = self.job.probe.as_ref().map_or(0, |probe| probe.every().steps(self.total));
        let due = |step: u64, every: u64| every > 0 && step.is_multiple_of(every);
        while self.step < self.total {
            self.advance()?;
            self.end_save(false)?;
            let last = self.step == self.total;
            if last || due(self.step, validate_every) {
                self.validate()?;
            }
            if !last && due(self.step, probe_every) {
                self.probe()?;
            }
            let stop = !last && self.agree_to_stop()?;
            if last || stop || due(self.step, save_every) {
                self.save()?;
            }
            if stop {
                self.end_save(true)?;
                return Err(Error::interrupted(format!("stopped after step {} of {}", self.step, self.total))
                    .hint("it is saved; run the same command again to go on"));
            }
        }
        self.finish()
    }

    /// Whether any rank was asked to stop.
    fn agree_to_stop(&self) -> Result<bool> {
        let mut asked = [f64::from(self.job.observer.stop_requested())];
        sum_values(self.ranks.as_ref(), &mut asked)?;
        Ok(asked[0] > 0.0)
    }

    /// Makes one step and tells of it.
    fn advance(&mut self) -> Result<()> {
        let started = Instant::now();
        let options = self.job.options;
        let batch = self.next_batch()?;
        let micro = micro_batches(&batch, options.accumulation as usize, self.device)?;
        let data = started.elapsed();
        let number = self.step + 1;
        let moment = Moment {
            number,
            update: self.updates + 1,
            rate: options.schedule.factor(number, self.total),
            key: mixed(options.seed, number),
            dropout: true,
        };
        let job = &mut self.job;
        let mut outcome = self.stepper.gradients(job.model.as_ref(), job.sharder.as_mut(), &micro, moment)?;
        let fired = self.guard.judge(outcome.loss, outcome.gradient_norm);
        if let Some(fired) = &fired {
            self.tell_of_guard(fired, number)?;
        }
        match fired.map_or(Policy::Ignore, |fired| fired.policy) {
            Policy::Ignore => {
                let job = &mut self.job;
                self.stepper.apply(job.sharder.as_mut(), job.optimizer.as_mut(), &mut outcome, moment)?;
                self.updates += 1;
            }
            Policy::Skip => self.job.sharder.clear_gradients(),
            Policy::Stop => {
                outcome.check_finite(number)?;
                return Err(Error::new(format!("the loss or gradient of step {number} is far above the usual"))
                    .hint(format!("`{}` says what was read; set `guard.spike` to go on", guard_log::FILE)));
            }
            Policy::Rewind => return self.rewind(),
        }
        let elapsed = started.elapsed();
        self.step = number;
        self.tokens += options.tokens_per_step();
        self.loss = outcome.loss;
        let speed = options.tokens_per_step() as f64 / elapsed.as_secs_f64();
        self.speeds.push(speed);
        let rate = moment.rate * self.job.optimizer.peak_learning_rate();
        if number.is_multiple_of(options.log_every.max(1)) || number == self.total {
            let counters = self.job.stream.counters();
            let bytes_sent = self.ranks.bytes_sent();
            let made = StepMetrics {
                step: number,
                tokens: self.tokens,
                outcome: &outcome,
                rate,
                speed,
                data,
                elapsed,
                counters,
                bytes_sent,
            };
            self.write(&made.line())?;
        }
        self.job.observer.event(Event::Progress {
            task: TASK.into(),
            done: number,
            total: Some(self.total),
            unit: "steps",
            detail: format!("loss {:.3} · lr {rate:.2e} · {} tokens/s", outcome.loss, short(speed)),
        });
        Ok(())
    }

    fn next_batch(&mut self) -> Result<TokenBatch> {
        let batch = self.job.stream.next_batch()?;
        if batch.columns as u64 == self.job.options.seq_len + 1 {
            return Ok(batch);
        }
        Err(Error::new(format!(
            "the data stream gives rows of {} tokens, a sequence of {} needs one more than its length",
            batch.columns, self.job.options.seq_len
        )))
    }

    /// Writes down why a guard fired, and on what data.
    fn tell_of_guard(&self, fired: &Fired, step: u64) -> Result<()> {
        let rows = guard_log::rows(self.job.stream.as_ref(), self.ranks.as_ref())?;
        if self.metrics.is_some() {
            guard_log::append(self.job.directory, step, self.job.stream.drawn(), fired, &rows)?;
        }
        let what = match fired.policy {
            Policy::Ignore => "ignored",
            Policy::Skip => "left out",
            Policy::Stop => "the run stops",
            Policy::Rewind => "back to the last checkpoint, without this batch",
        };
        self.job.observer.event(Event::Warning(format!("step {step}: {fired}; {what}")));
        Ok(())
    }

    /// Goes back to the last checkpoint and leaves out the batch that was drawn last, and those before it that the options
    /// name.
    fn rewind(&mut self) -> Result<()> {
        let options = self.job.options.guard;
        if self.left_out.len() as u64 >= options.most_rewinds {
            return Err(Error::new(format!("the run went back {} times and goes wrong again", self.left_out.len()))
                .hint(format!("`{}` lists what was read each time; lower the learning rate", guard_log::FILE)));
        }
        self.end_save(true)?;
        let bad = self.job.stream.drawn();
        self.job.sharder.clear_gradients();
        let (state, folder) =
            install::go_back(&mut self.job)?.ok_or_else(|| Error::new("there is no checkpoint to go back to"))?;
        let skip = Skip((bad + 1).saturating_sub(options.rewind_batches).max(state.cursor.drawn + 1), bad);
        // Earlier ones are in the checkpoint's cursor; those since then are not.
        self.left_out.push(skip);
        for skip in &self.left_out {
            self.job.stream.skip(*skip)?;
        }
        self.guard = Guard::restore(options, &state.guard)?;
        (self.step, self.updates, self.tokens, self.loss) = (state.step, state.updates, state.tokens, state.loss);
        if self.metrics.is_some() {
            self.metrics = Some(Metrics::open(self.job.directory, self.step)?);
        }
        self.saved = Some((state.step, folder));
        Ok(())
    }

    /// Appends a line to the metrics; the first rank does.
    fn write(&mut self, line: &Value) -> Result<()> {
        self.metrics.as_mut().map_or(Ok(()), |metrics| metrics.write(line))
    }

    /// Measures the loss on held-out text and writes it down.
    fn validate(&mut self) -> Result<()> {
        let Some(loss) = self.measure()? else { return Ok(()) };
        self.validation_loss = Some(loss);
        self.write(&json!({ "step": self.step, "validation_loss": loss, "perplexity": loss.exp() }))?;
        let text = format!("step {}: validation loss {loss:.4} · perplexity {:.2}", self.step, loss.exp());
        self.job.observer.event(Event::Note(text));
        Ok(())
    }

    fn probe(&mut self) -> Result<()> {
        let Some(probe) = &mut self.job.probe else { return Ok(()) };
        let found = probe.look(self.step, self.job.model.as_ref(), self.job.sharder.as_mut())?;
        self.write(&json!({ "step": self.step, "evaluation": found }))
    }

    fn measure(&mut self) -> Result<Option<f64>> {
        let (mut sum, mut targets) = (0.0, 0);
        for batch in &self.job.validation {
            let micro: Vec<MicroBatch> = micro_batches(batch, self.job.options.accumulation as usize, self.device)?;
            let (of_batch, count) =
                self.stepper.executor.evaluate(self.job.model.as_ref(), self.job.sharder.as_mut(), &micro)?;
            sum += of_batch;
            targets += count;
        }
        let mut totals = [sum, targets as f64];
        sum_values(self.job.sharder.ranks().as_ref(), &mut totals)?;
        Ok((totals[1] > 0.0).then(|| totals[0] / totals[1]))
    }

    /// Publishes a checkpoint of this step, if there is none yet.
    fn save(&mut self) -> Result<()> {
        self.end_save(true)?;
        if self.saved.as_ref().is_some_and(|(step, _)| *step == self.step) {
            return Ok(());
        }
        // The lines before a checkpoint must survive with it.
        if let Some(metrics) = &self.metrics {
            metrics.sync()?;
        }
        let state = State {
            version: VERSION,
            step: self.step,
            tokens: self.tokens,
            loss: self.loss,
            seed: self.job.options.seed,
            updates: self.updates,
            left_out: self.left_out.clone(),
            guard: self.guard.state(),
            cursor: cursor(self.job.stream.as_ref(), self.ranks.as_ref())?,
            model: self.job.options.model()?,
            identity: self.job.identity.clone(),
            files: std::collections::BTreeMap::new(),
        };
        let content = Content::of(self.job.sharder.as_mut(), self.job.optimizer.as_ref())?;
        if self.job.options.checkpoint.in_background(self.device) {
            self.saving = Some(self.checkpoints.start(state, content, self.ranks.as_ref())?);
        } else {
            self.saved = Some((self.step, self.checkpoints.save(&state, content, self.ranks.as_ref())?));
        }
        Ok(())
    }

    /// Publishes the checkpoint that is being written, once the files of all ranks are there, or now if that `must` be.
    fn end_save(&mut self, must: bool) -> Result<()> {
        let Some(saving) = &self.saving else { return Ok(()) };
        if !must {
            let mut written = [f64::from(saving.is_written())];
            sum_values(self.ranks.as_ref(), &mut written)?;
            // On one rank nothing is summed, and the one counts for all.
            if (written[0] as usize) < self.ranks.size() {
                return Ok(());
            }
        }
        if let Some(saving) = self.saving.take() {
            let step = saving.step();
            self.saved = Some((step, self.checkpoints.end(saving, self.ranks.as_ref())?));
        }
        Ok(())
    }

    /// Most memory that any rank took above what was there before.
    fn peak_memory(&self) -> Result<Option<u64>> {
        if self.device != Device::Cpu || memory::peak_resident() == 0 {
            return Ok(None);
        }
        let own = memory::peak_resident().saturating_sub(self.baseline);
        let all = self.ranks.share(&own.to_le_bytes())?;
        Ok(all.into_iter().filter_map(|bytes| bytes.try_into().ok().map(u64::from_le_bytes)).max())
    }

    fn finish(mut self) -> Result<TrainSummary> {
        if self.validation_loss.is_none() {
            // All steps were done by an earlier process, which was killed before it could tell.
            self.validation_loss = self.measure()?;
        }
        self.end_save(true)?;
        let peak_memory = self.peak_memory()?;
        let (_, checkpoint) = self.saved.ok_or_else(|| Error::new("a run ended without a checkpoint"))?;
        self.speeds.sort_by(f64::total_cmp);
        let specs = self.job.model.segments().iter().flat_map(|segment| &segment.parameters);
        Ok(TrainSummary {
            steps: self.step,
            tokens: self.tokens,
            parameters: specs.map(|spec| spec.elements() as u64).sum(),
            loss: self.loss,
            validation_loss: self.validation_loss,
            perplexity: self.validation_loss.map(f64::exp),
            seconds: self.started.elapsed().as_secs_f64(),
            tokens_per_second: self.speeds.get(self.speeds.len() / 2).copied(),
            resumed_from: self.resumed_from,
            peak_memory,
            planned_memory: self.planned,
            checkpoint,
        })
    }
}

/// The place of all ranks in the data.
fn cursor(stream: &dyn BatchStream, ranks: &dyn Collective) -> Result<Cursor> {
    let failed = |e: serde_json::Error| Error::new("ranks cannot tell their places in the data").because(e);
    let own = serde_json::to_vec(&stream.cursor()).map_err(failed)?;
    let parts: std::result::Result<Vec<Cursor>, _> =
        ranks.share(&own)?.iter().map(|bytes| serde_json::from_slice(bytes)).collect();
    Cursor::merge(parts.map_err(failed)?)
}

/// `12.3k`, `850`.
fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if value >= 1e3 {
        format!("{:.1}k", value / 1e3)
    } else {
        format!("{value:.0}")
    }
}
