//! What running the stage would do, told from a sample: how much is kept, what drops the rest, and what it takes.
//!
//! Some partitions are met evenly by bytes, the beginning of each goes through the filters, and each stands for the
//! bytes on disk around it. How much the partitions differ tells how far off the sums may be. What a sample cannot show
//! is said, not guessed: copies of documents that were not read, and the error of a sample of one.
//!
//! | part | what |
//! |---|---|
//! | `choose` | which partitions are read |
//! | `sample` | reading, filtering and measuring some of one |
//! | `ratio` | sums and their errors |
//! | `copies` | what corpus filters find in the sample alone |
//! | `cost` | time, disk and memory |
//! | `text` | the estimate for people |

mod choose;
mod copies;
mod cost;
mod ratio;
mod sample;
mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use psann_core::quantity::{Bytes, Seconds};
use psann_core::source::Partition;
use psann_core::{DataSource, Error, Event, Observer, Result, registry};
use serde::Serialize;

pub use copies::Found;
pub use ratio::Measured;

use super::PrepareOptions;
use super::passes::Filters;
use super::report::Amount;
use choose::{Chosen, choose};
use cost::Cost;
use ratio::Clusters;
use sample::{Cluster, Sampler, Slice};

/// Keys of a sample that are held to look for copies within it.
const KEYS_HELD: usize = 2_000_000;

/// How much a sample may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleBudget {
    /// Most partitions.
    pub partitions: usize,
    /// Text to filter; at least one batch of each partition is.
    pub bytes: Bytes,
    /// Time. Half of it is for reading on behind what is filtered, to learn how much text a partition holds.
    pub time: Seconds,
    /// Bytes of text that make a token.
    pub bytes_per_token: f64,
}

impl Default for SampleBudget {
    fn default() -> Self {
        Self { partitions: 24, bytes: Bytes(64_000_000), time: Seconds(10.0), bytes_per_token: 4.5 }
    }
}

/// The share of the text that a filter drops.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FilterShare {
    /// Name of the filter.
    pub filter: String,
    /// Bytes it drops by bytes that the source gives.
    pub dropped: Measured,
}

/// What running the stage would do. Copies are not in it, see [`Estimate::within_sample`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// Partitions of the source.
    pub partitions: usize,
    /// Partitions that were sampled.
    pub sampled_partitions: usize,
    /// What was filtered.
    pub sampled: Amount,
    /// Whether that is all that a run would read.
    pub whole: bool,
    /// Documents that a run reads.
    pub documents: Measured,
    /// Text that a run reads, in bytes.
    pub text: Measured,
    /// Documents it keeps.
    pub kept_documents: Measured,
    /// Text it keeps, in bytes.
    pub kept: Measured,
    /// That by what it reads.
    pub kept_share: Measured,
    /// Tokens of what it keeps.
    pub tokens: Measured,
    /// What each filter that looks at one document drops, in the order of the recipe.
    pub filters: Vec<FilterShare>,
    /// Seconds it takes when no other program wants the processors and the disk keeps up.
    pub time: Measured,
    /// Workers it takes them with.
    pub workers: usize,
    /// Bytes on disk at the end of the work, before what was in progress is removed.
    pub working_disk: Measured,
    /// Bytes of the finished corpus.
    pub disk: Measured,
    /// Bytes of memory.
    pub memory: Measured,
    /// Bytes of memory that the options allow.
    pub memory_limit: u64,
    /// What the filters that look at the corpus drop of the sample alone.
    pub within_sample: Vec<Found>,
    /// What else to know, a sentence each.
    pub notes: Vec<String>,
}

/// Estimates from a sample what [`prepare`](super::prepare()) would do with these options. Writes nothing.
///
/// # Errors
/// When the source has no known size (standard input, a command): it is not touched. Else as the stage.
pub fn estimate(options: &PrepareOptions, budget: SampleBudget, observer: &dyn Observer) -> Result<Estimate> {
    let flow = options.data.as_ref().ok_or_else(|| {
        Error::usage("there is nothing to estimate")
            .hint("give the stage a source: `.prepare(source::jsonl(\"corpus.jsonl\"))`")
    })?;
    let source = registry::source(&flow.source.name, &flow.source.options)?;
    let filters = Filters::new(&flow.filters)?;
    let partitions = source.partitions()?;
    let notes = of_unknown_size(&partitions)?;
    let sampler = Sampler { options, source: source.as_ref(), filters: &filters, observer };
    let task = Task { sampler, partitions: &partitions, budget: &budget };
    let frame = match options.limit {
        Some(limit) if task.is_short(limit.0)? => task.beginning(limit.0),
        _ => task.spread(),
    };
    observer.event(Event::Done { task: Task::NAME.into() });
    Ok(task.estimate(&frame?, notes))
}

/// Notes which pieces have no size. One that is no file cannot even be looked into: it may be there to be read once.
fn of_unknown_size(partitions: &[Partition]) -> Result<Vec<String>> {
    let unknown: Vec<&Partition> = partitions
        .iter()
        .filter(|partition| partition.bytes == 0 && !Path::new(&partition.location).is_file())
        .collect();
    if let Some(first) = unknown.first()
        && unknown.len() == partitions.len()
    {
        return Err(Error::usage(format!(
            "the size of {} is unknown: nothing can be estimated without reading it",
            first.location
        ))
        .hint("write it to a file and name the file, or run the stage: its report has the true numbers"));
    }
    let note = |partition: &&Partition| {
        format!("{} is not in these numbers: its size is unknown before it is read", partition.location)
    };
    Ok(unknown.iter().map(note).collect())
}

/// The clusters that were read, and what they are multiplied with.
struct Frame {
    clusters: Vec<Cluster>,
    estimator: Clusters,
    /// Per cluster, what turns amounts of the sample into amounts per unit of size.
    scale: Vec<f64>,
    /// Size of all that a run reads: bytes on disk, or documents.
    size: f64,
    /// Whether the error of `scale` is known.
    sure: bool,
    whole: bool,
    /// Documents that a run reads, if the options limit it to fewer than there are.
    limit: Option<f64>,
    notes: Vec<String>,
}

impl Frame {
    fn values(&self, of: impl Fn(&Cluster) -> f64) -> Vec<f64> {
        self.clusters.iter().zip(&self.scale).map(|(cluster, scale)| of(cluster) * scale).collect()
    }

    fn sure(&self, measured: Measured) -> Measured {
        if self.sure { measured } else { Measured { error: None, ..measured } }
    }

    fn total_by(&self, estimator: &Clusters, of: impl Fn(&Cluster) -> f64) -> Measured {
        let values = self.values(of);
        self.sure(match self.limit {
            Some(limit) => estimator.ratio(&values, &self.values(documents)).times(limit),
            None => estimator.ratio(&values, &vec![1.0; values.len()]).times(self.size),
        })
    }

    /// The sum over all that a run reads.
    fn total(&self, of: impl Fn(&Cluster) -> f64) -> Measured {
        self.total_by(&self.estimator, of)
    }

    /// A part by the whole.
    fn share(&self, part: impl Fn(&Cluster) -> f64, whole: impl Fn(&Cluster) -> f64) -> Measured {
        self.sure(self.estimator.ratio(&self.values(part), &self.values(whole)))
    }
}

fn documents(cluster: &Cluster) -> f64 {
    cluster.read.documents as f64
}

/// How much text the partitions of a sample hold.
struct Texts {
    bytes: Vec<f64>,
    /// How many were read to their end.
    ended: usize,
    /// Whether of some nothing is known but what the others hold.
    guessed: bool,
}

struct Task<'a> {
    sampler: Sampler<'a>,
    partitions: &'a [Partition],
    budget: &'a SampleBudget,
}

impl Task<'_> {
    const NAME: &'static str = "sampling";

    /// Whether so many documents fit into the budget, going by the first ones.
    fn is_short(&self, limit: u64) -> Result<bool> {
        let source: &dyn DataSource = self.sampler.source;
        for partition in self.partitions.iter().filter(|partition| partition.bytes > 0) {
            if let Some(batch) = source.open(partition, None)?.next_batch()? {
                let bytes: usize = batch.texts().map(str::len).sum();
                return Ok(limit as f64 * bytes as f64 / batch.len().max(1) as f64 <= self.budget.bytes.0 as f64);
            }
        }
        Ok(true)
    }

    fn progress(&self, done: usize, total: usize) {
        self.sampler.observer.event(Event::Progress {
            task: Self::NAME.into(),
            done: done as u64,
            total: Some(total as u64),
            unit: "partitions",
            detail: String::new(),
        });
    }

    /// Reads what a run with so short a limit reads.
    fn beginning(&self, limit: u64) -> Result<Frame> {
        let begin = Instant::now();
        let time = Duration::from_secs_f64(self.budget.time.0);
        let (mut left, mut clusters, mut keys, mut ended) = (limit, Vec::new(), KEYS_HELD, true);
        for (index, partition) in self.partitions.iter().enumerate().filter(|(_, partition)| partition.bytes > 0) {
            let rest = time.saturating_sub(begin.elapsed());
            if left == 0 || !clusters.is_empty() && rest.is_zero() {
                ended = false;
                break;
            }
            let slice = Slice { bytes: u64::MAX, documents: Some(left), filter: rest, read_on: Duration::ZERO, keys };
            let cluster = self.sampler.cluster(index, partition, &slice)?;
            left -= cluster.read.documents;
            ended &= cluster.whole;
            keys = keys.saturating_sub(usize::try_from(cluster.keys).unwrap_or(usize::MAX));
            clusters.push(cluster);
            self.progress((limit - left) as usize, limit as usize);
        }
        let whole = left == 0 || ended;
        let read = (limit - left) as f64;
        clusters.retain(|cluster| cluster.read.documents > 0);
        let unread = if whole { 0.0 } else { 1.0 - read / limit as f64 };
        let mut notes = Vec::new();
        if !whole {
            notes.push("time ran out before `limit` was reached: the rest is taken to be like the beginning".into());
        }
        Ok(Frame {
            estimator: Clusters::new(clusters.iter().map(|cluster| (documents(cluster), unread))),
            scale: clusters.iter().map(|cluster| 1.0 / documents(cluster)).collect(),
            size: if whole { read } else { limit as f64 },
            sure: true,
            whole,
            limit: None,
            notes,
            clusters,
        })
    }

    /// Reads some of partitions from all over the source.
    fn spread(&self) -> Result<Frame> {
        let chosen = choose(self.partitions, self.budget.partitions, self.sampler.options.seed);
        let mut read = self.read(&chosen)?;
        read.sort_by_key(|(chosen, _)| chosen.partition);
        let size = |index: usize| self.partitions[index].bytes as f64;
        let sized = self.partitions.iter().filter(|partition| partition.bytes > 0).count();
        let all_met = read.len() == sized;
        let (chosen, clusters): (Vec<Chosen>, Vec<Cluster>) = read.into_iter().unzip();
        let Texts { bytes: texts, ended, guessed } = self.texts(&clusters)?;
        let total = self.partitions.iter().map(|partition| partition.bytes as f64).sum::<f64>();
        let part = |cluster: &Cluster, text: &f64| if *text > 0.0 { cluster.read.bytes as f64 / text } else { 1.0 };
        let whole = all_met && clusters.iter().all(|cluster| cluster.whole);
        // Of partitions that were not met, nothing is known but what the others say.
        let met: f64 = clusters.iter().zip(&texts).map(|(c, text)| part(c, text) * size(c.partition)).sum();
        let unread = |cluster: &Cluster, text: &f64| match all_met {
            _ if whole => 0.0,
            true if cluster.whole => 0.0,
            true => 1.0 - part(cluster, text),
            false => 1.0 - met / total,
        };
        let weighted = chosen.iter().zip(clusters.iter().zip(&texts));
        let estimator = Clusters::new(weighted.map(|(chosen, (c, text))| (chosen.weight, unread(c, text))));
        let scale = |(cluster, text): (&Cluster, &f64)| 1.0 / part(cluster, text) / size(cluster.partition);
        let scale: Vec<f64> = clusters.iter().zip(&texts).map(scale).collect();
        let mut notes = Vec::new();
        if ended == 0 && !whole {
            notes.push("no partition was read to its end: sizes follow from the bytes read so far".into());
        }
        let mut frame =
            Frame { estimator, scale, size: total, sure: !guessed || ended > 1, whole, limit: None, notes, clusters };
        if let Some(limit) = self.sampler.options.limit
            && (limit.0 as f64) < frame.total(documents).value
        {
            frame.limit = Some(limit.0 as f64);
            frame.notes.push("`limit` reads the beginning of the source; the sample is from all of it".into());
        }
        Ok(frame)
    }

    /// Reads the chosen partitions, several at a time, those that time allows.
    fn read(&self, chosen: &[Chosen]) -> Result<Vec<(Chosen, Cluster)>> {
        let begin = Instant::now();
        let workers = super::workers(self.sampler.options).min(cores()).min(chosen.len()).max(1);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let found: Mutex<Vec<(Chosen, Cluster)>> = Mutex::new(Vec::new());
        let worker = || -> Result<()> {
            loop {
                let Some(chosen_one) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
                if begin.elapsed().as_secs_f64() > self.budget.time.0 && done.load(Ordering::Relaxed) > 0 {
                    return Ok(());
                }
                let half = Duration::from_secs_f64(self.budget.time.0 * workers as f64 * chosen_one.weight / 2.0);
                let slice = Slice {
                    bytes: (self.budget.bytes.0 as f64 * chosen_one.weight) as u64,
                    documents: None,
                    filter: half,
                    read_on: half,
                    keys: (KEYS_HELD as f64 * chosen_one.weight) as usize,
                };
                let index = chosen_one.partition;
                let cluster = self.sampler.cluster(index, &self.partitions[index], &slice)?;
                found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*chosen_one, cluster));
                self.progress(done.fetch_add(1, Ordering::Relaxed) + 1, chosen.len());
            }
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            let join = |handle: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            handles.into_iter().map(join).collect::<Vec<_>>().into_iter().collect::<Result<Vec<()>>>()
        })?;
        Ok(found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// How much text each partition of the sample holds.
    ///
    /// Where reading stopped before, the packed bytes it took tell; of the bytes of a partition, a source may read
    /// some only, and partitions that were read to their end tell how many.
    fn texts(&self, clusters: &[Cluster]) -> Result<Texts> {
        let size = |cluster: &Cluster| self.partitions[cluster.partition].bytes as f64;
        let ended: Vec<(f64, f64, f64)> =
            clusters.iter().filter_map(|c| Some((c.text? as f64, c.packed.unwrap_or(0) as f64, size(c)))).collect();
        let sum = |of: fn(&(f64, f64, f64)) -> f64| ended.iter().map(of).sum::<f64>();
        let needed = if sum(|c| c.1) > 0.0 { sum(|c| c.1) / sum(|c| c.2) } else { 1.0 };
        let text = |cluster: &Cluster| match (cluster.text, cluster.pace) {
            (Some(text), _) => Some(text as f64),
            (None, (text, packed)) if packed > 0 => Some(size(cluster) * needed * text as f64 / packed as f64),
            _ if sum(|c| c.0) > 0.0 => Some(size(cluster) * sum(|c| c.0) / sum(|c| c.2)),
            _ => None,
        };
        let texts: Option<Vec<f64>> =
            clusters.iter().map(|c| text(c).map(|text| text.max(c.read.bytes as f64))).collect();
        let texts = texts.ok_or_else(|| {
            Error::new("time ran out before it was known how much text there is").hint("give the sample more time")
        })?;
        let guessed = clusters.iter().any(|cluster| cluster.text.is_none() && cluster.pace.1 == 0);
        Ok(Texts { bytes: texts, ended: ended.len(), guessed })
    }

    fn estimate(&self, frame: &Frame, mut notes: Vec<String>) -> Estimate {
        let filters = self.sampler.filters;
        let options = self.sampler.options;
        let bytes = |cluster: &Cluster| cluster.read.bytes as f64;
        let share_of = |index: usize| frame.share(|cluster| cluster.dropped[index].bytes as f64, bytes);
        let shares = filters.all.iter().enumerate().filter(|(_, named)| named.filter.corpus().is_none());
        let text = frame.total(bytes);
        let documents = frame.total(documents);
        let kept = frame.total(|cluster| cluster.kept.bytes as f64);
        let mut sampled = Amount::default();
        let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
        for cluster in &frame.clusters {
            sampled.add(cluster.read);
            for (reason, count) in &cluster.skipped {
                *skipped.entry(reason).or_default() += count;
            }
        }
        notes.extend(frame.notes.iter().cloned());
        notes.extend(skipped.iter().map(|(reason, count)| format!("the source, in the sample: {count} × {reason}")));
        let cost = Cost { sampler: &self.sampler, partitions: self.partitions, frame };
        let tables = cost.tables(text.value);
        let (memory, memory_notes) = cost.memory(tables);
        notes.extend(memory_notes);
        let (working_disk, disk) = cost.disk(tables);
        Estimate {
            partitions: self.partitions.len(),
            sampled_partitions: frame.clusters.len(),
            sampled,
            whole: frame.whole,
            documents,
            text,
            kept_documents: frame.total(|cluster| cluster.kept.documents as f64),
            kept,
            kept_share: frame.share(|cluster| cluster.kept.bytes as f64, bytes),
            tokens: kept.times(1.0 / self.budget.bytes_per_token),
            filters: shares
                .map(|(index, named)| FilterShare { filter: named.name.clone(), dropped: share_of(index) })
                .collect(),
            time: cost.time(),
            workers: super::workers(options),
            working_disk,
            disk,
            memory,
            memory_limit: options.memory.0,
            within_sample: copies::within(filters, &frame.clusters),
            notes,
        }
    }
}

fn cores() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests;
