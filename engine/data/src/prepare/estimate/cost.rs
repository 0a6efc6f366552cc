//! What a run takes: time, disk and memory.

use psann_core::filter::Rule;
use psann_core::source::Partition;

use super::super::spill::TABLE_BYTES;
use super::super::{BASE_BYTES, WORKER_BYTES, workers};
use super::ratio::Measured;
use super::sample::{Cluster, Sampler};
use super::{Frame, cores, documents, text};

/// Seconds to read a byte of stored text again.
const AGAIN: f64 = 1e-9;
/// Seconds to read, sort and compare a key.
const PER_KEY: f64 = 1e-7;

/// A sample, to be asked what a run takes.
pub struct Cost<'a> {
    /// The stage.
    pub sampler: &'a Sampler<'a>,
    /// The pieces of the source.
    pub partitions: &'a [Partition],
    /// What was read of them.
    pub frame: &'a Frame,
}

impl Cost<'_> {
    /// Bytes of the tables of all key files of the pass that has most of them.
    pub fn tables(&self, text: f64) -> f64 {
        let segments = (text / self.sampler.options.checkpoint.0.max(1) as f64).max(self.partitions.len() as f64);
        segments * TABLE_BYTES as f64
    }

    /// While the stage runs, and in the end.
    pub fn disk(&self, tables: f64) -> (Measured, Measured) {
        let options = self.sampler.options;
        let filters = self.sampler.filters;
        let copies = filters.all.iter().filter_map(|named| named.filter.corpus());
        let copies = copies.filter(|corpus| matches!(corpus.rule(), Rule::Copies(_))).count();
        let corpus = filters.passes.iter().map(|pass| pass.corpus.len()).sum::<usize>() as f64;
        let index = if options.index && copies > 0 { 1.0 } else { 0.0 };
        let done = |cluster: &Cluster| cluster.published + cluster.recorded + index * cluster.keyed;
        // Held-out documents stand in shards of their own before they are put together.
        let held_out = options.validation.0;
        let working = |cluster: &Cluster| {
            cluster.stored + cluster.keyed + cluster.recorded + held_out * cluster.published + done(cluster)
        };
        (self.frame.total(working).plus(corpus * tables), self.frame.total(done))
    }

    pub fn memory(&self, tables: f64) -> (Measured, Vec<String>) {
        let options = self.sampler.options;
        let base = BASE_BYTES as f64;
        let reading = workers(options) as f64 * WORKER_BYTES as f64;
        let corpus = self.sampler.filters.passes.iter().any(|pass| !pass.corpus.is_empty());
        let mut grouping = Measured::exactly(0.0);
        if corpus {
            // Parents of union-find, and two sets of documents.
            grouping = self.frame.total(|cluster| cluster.kept.documents as f64).times(4.0 + 2.0 / 8.0);
            let budget = options.memory.0.saturating_sub(BASE_BYTES).max(64 << 20) as f64 / 2.0;
            let keys = self.frame.total(|cluster| cluster.keys as f64 * 16.0).value;
            grouping = grouping.plus(tables + keys.min(budget));
        }
        let memory = if grouping.value > reading { grouping.plus(base) } else { Measured::exactly(base + reading) };
        let mut notes = Vec::new();
        if memory.value > options.memory.0 as f64 {
            let needs = text::memory(memory.value);
            notes.push(format!(
                "`memory` is {}, but the least that this takes is {needs}: give it more, or fewer documents",
                text::memory(options.memory.0 as f64)
            ));
        }
        if corpus && self.frame.total(documents).value > f64::from(u32::MAX) {
            notes.push("filters that look at the corpus can tell 4.29 billion documents apart, here are more".into());
        }
        (memory, notes)
    }

    /// Processor time by workers, and no less than the longest partition takes.
    pub fn time(&self) -> Measured {
        let options = self.sampler.options;
        let estimator = self.frame.estimator.of_endless();
        let total = |of: fn(&Cluster) -> f64| self.frame.total_by(&estimator, of);
        let all = total(|c| c.reading + c.filtering + c.storing + c.publishing);
        let (reading, filtering, storing, publishing) = (
            total(|c| c.reading).value,
            total(|c| c.filtering).value,
            total(|c| c.storing).value,
            total(|c| c.publishing).value,
        );
        let workers = workers(options).min(cores()) as f64;
        let sizes = self.partitions.iter().map(|partition| partition.bytes as f64);
        let longest = sizes.clone().fold(0.0, f64::max) / sizes.sum::<f64>().max(1.0);
        let mapping = if options.limit.is_some() {
            (reading + storing).max(filtering / workers)
        } else {
            let inner = (workers / self.partitions.len().max(1) as f64).ceil();
            let at_once = (reading + filtering + storing) / workers;
            at_once.max(longest * (reading + storing + filtering / inner))
        };
        let passes = self.sampler.filters.passes.len() as f64;
        let again = passes * AGAIN * total(|c| c.kept.bytes as f64).value;
        let grouping = PER_KEY * total(|c| c.keys as f64).value;
        let seconds = mapping + (publishing + again + grouping) / cores() as f64;
        let relative = if all.value > 0.0 { seconds / all.value } else { 0.0 };
        Measured { value: seconds, error: all.error.map(|error| error * relative) }
    }
}
