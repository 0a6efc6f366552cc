//! Which documents are copies of one another, and which of them stays.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use psann_core::Result;
use psann_core::filter::Copies;

use super::group::{DocumentSet, Task};
use super::index::Index;
use super::segment::{rank, ranks};
use super::spill::NotesFile;
use super::union::Union;

/// Documents that a newcomer with the same key is compared with before it counts as different from all of them.
///
/// Pages cut from one template share keys by the thousand; comparing each with each would never end.
const LEADERS: usize = 32;
/// Pairs whose comparison a worker remembers: near copies share many keys and would be compared for each.
const REMEMBERED: usize = 1 << 14;

/// A group of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Members, those of the index included.
    pub size: u64,
    /// Rank and number of the document that stays.
    best: (u64, u64),
    /// The second member, in order.
    second: u64,
}

/// The groups of a corpus. Documents are numbered behind those of the index.
pub struct Clustered {
    union: Union,
    index_documents: u64,
    clusters: BTreeMap<u32, Cluster>,
}

impl Clustered {
    /// The group of a document that has copies.
    pub fn cluster(&self, document: u64) -> Option<&Cluster> {
        self.clusters.get(&self.union.root((self.index_documents + document) as u32))
    }

    /// The document that stays; `None` when it is one of the index.
    pub fn keeper(&self, cluster: &Cluster) -> Option<u64> {
        cluster.best.1.checked_sub(self.index_documents)
    }

    /// A member of the group other than the one that stays first.
    pub fn another(&self, cluster: &Cluster) -> u64 {
        cluster.second.saturating_sub(self.index_documents)
    }

    /// Size of every group.
    pub fn sizes(&self) -> impl Iterator<Item = u64> {
        self.clusters.values().map(|cluster| cluster.size)
    }
}

/// Unites documents with a common key that the filter calls the same.
pub fn link_copies(task: &Task<'_>, copies: &dyn Copies, dropped: &DocumentSet) -> Result<Clustered> {
    let corpus = &task.job.corpus;
    let index = match copies.against() {
        Some(folder) => Index::open(folder, task.name, copies)?,
        None => Index::default(),
    };
    let index_documents = index.documents();
    let union = Union::new(index_documents + corpus.documents())?;
    let notes = if copies.verifies() { task.notes()? } else { Vec::new() };
    let note = |document: u32, into: &mut Vec<u8>| -> Result<()> {
        let document = u64::from(document);
        match document.checked_sub(index_documents) {
            None => index.note(document, into),
            Some(document) => {
                let (segment, row) = corpus.locate(document);
                into.clear();
                notes[segment].as_ref().map_or(Ok(()), |file: &NotesFile| file.read(row, into))
            }
        }
    };
    task.each_range(&index.keys, &index.bases, dropped, |keys| {
        let mut compare =
            Compare { copies, remembered: vec![(0, 0, false); REMEMBERED], left: Vec::new(), right: Vec::new() };
        for run in keys.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            if !copies.verifies() {
                run[1..].iter().for_each(|(_, document)| union.unite(run[0].1, *document));
                continue;
            }
            let mut leaders = vec![run[0].1];
            for (_, document) in &run[1..] {
                let mut same = None;
                for leader in &leaders {
                    if compare.same(*leader, *document, &note)? {
                        same = Some(*leader);
                        break;
                    }
                }
                match same {
                    Some(leader) => union.unite(leader, *document),
                    None if leaders.len() < LEADERS => leaders.push(*document),
                    None => {}
                }
            }
        }
        Ok(())
    })?;
    let clusters = clusters(task, &union, index_documents, dropped)?;
    Ok(Clustered { union, index_documents, clusters })
}

struct Compare<'a> {
    copies: &'a dyn Copies,
    /// Pairs by a hash of both, with the answer. A pair is never (0, 0).
    remembered: Vec<(u32, u32, bool)>,
    left: Vec<u8>,
    right: Vec<u8>,
}

impl Compare<'_> {
    fn same(&mut self, one: u32, other: u32, note: &impl Fn(u32, &mut Vec<u8>) -> Result<()>) -> Result<bool> {
        let mixed = (u64::from(one) << 32 | u64::from(other)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = (mixed >> 40) as usize % REMEMBERED;
        let (a, b, answer) = self.remembered[slot];
        if (a, b) == (one, other) {
            return Ok(answer);
        }
        note(one, &mut self.left)?;
        note(other, &mut self.right)?;
        let answer = self.copies.same(&self.left, &self.right);
        self.remembered[slot] = (one, other, answer);
        Ok(answer)
    }
}

/// Finds the groups of two and more, and in each the document of the lowest rank, the first among equals.
fn clusters(
    task: &Task<'_>,
    union: &Union,
    index_documents: u64,
    dropped: &DocumentSet,
) -> Result<BTreeMap<u32, Cluster>> {
    let corpus = &task.job.corpus;
    let mut clusters: BTreeMap<u32, Cluster> = BTreeMap::new();
    let rank_of = |document: u64| -> Result<u64> {
        let (segment, row) = corpus.locate(document);
        rank(&corpus.segments[segment].0, task.position, row)
    };
    for (number, (segment, record)) in corpus.segments.iter().enumerate() {
        let ranks = ranks(segment, task.position)?;
        for row in 0..record.kept.documents {
            let document = corpus.bases[number] + row;
            if dropped.contains(document) {
                continue;
            }
            let id = index_documents + document;
            let root = union.root(id as u32);
            if u64::from(root) == id {
                continue;
            }
            let rank = ranks.get(row as usize).copied().unwrap_or(0);
            let cluster = match clusters.entry(root) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(new) => {
                    // A document of the index stays whatever its rank.
                    let best = match u64::from(root).checked_sub(index_documents) {
                        None => (0, u64::from(root)),
                        Some(document) => (rank_of(document)?, u64::from(root)),
                    };
                    new.insert(Cluster { size: 1, best, second: id })
                }
            };
            cluster.size += 1;
            if u64::from(root) >= index_documents {
                cluster.best = cluster.best.min((rank, id));
            }
        }
    }
    Ok(clusters)
}
