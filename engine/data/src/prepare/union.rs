//! Groups of documents that are copies of one another: union-find in which a group's root is always its smallest member.
//!
//! The larger root is hooked under the smaller one, so the groups and their roots do not depend on the order of unions,
//! and threads may unite at the same time without locks.

use std::sync::atomic::{AtomicU32, Ordering};

use psann_core::{Error, Result};

/// Every document in a group of its own, until they are united.
pub struct Union {
    parents: Vec<AtomicU32>,
}

impl Union {
    /// `documents` groups of one.
    ///
    /// # Errors
    /// When there are more than 4,294,967,295 documents.
    pub fn new(documents: u64) -> Result<Self> {
        let count = u32::try_from(documents).map_err(|_| {
            Error::new(format!("{documents} documents are more than one run compares (4,294,967,295)"))
                .hint("prepare the corpus in parts, each against the ones before it (`against`)")
        })?;
        Ok(Self { parents: (0..count).map(AtomicU32::new).collect() })
    }

    /// The smallest member of the document's group.
    pub fn root(&self, document: u32) -> u32 {
        let mut at = document;
        loop {
            let parent = self.parents[at as usize].load(Ordering::Relaxed);
            if parent == at {
                return at;
            }
            // Halve the path for the next one who walks it. A parent only ever gets smaller, so a lost race is harmless.
            let grandparent = self.parents[parent as usize].load(Ordering::Relaxed);
            let _ = self.parents[at as usize].compare_exchange_weak(
                parent,
                grandparent,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            at = grandparent;
        }
    }

    /// Makes the two documents' groups one.
    pub fn unite(&self, one: u32, other: u32) {
        let (mut one, mut other) = (self.root(one), self.root(other));
        while one != other {
            let (small, large) = (one.min(other), one.max(other));
            // Only a root may be hooked; when another thread was faster, climb on and try again.
            let hooked =
                self.parents[large as usize].compare_exchange(large, small, Ordering::AcqRel, Ordering::Relaxed);
            if hooked.is_ok() {
                return;
            }
            (one, other) = (self.root(small), self.root(large));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn roots_are_the_smallest_members_whatever_the_order() {
        let pairs: Vec<(u32, u32)> =
            (0..4000).map(|n: u32| (n * 7919 % 1000, (n * 104_729 + 13) % 1000 / 10 * 10)).collect();
        let in_order = Union::new(1000).unwrap();
        for (a, b) in &pairs {
            in_order.unite(*a, *b);
        }
        let parallel = Union::new(1000).unwrap();
        pairs.par_iter().rev().for_each(|(a, b)| parallel.unite(*b, *a));
        let roots = |union: &Union| (0..1000).map(|n| union.root(n)).collect::<Vec<_>>();
        assert_eq!(roots(&in_order), roots(&parallel));
        assert!(roots(&in_order).iter().enumerate().all(|(n, root)| *root <= n as u32));
    }

    proptest! {
        #[test]
        fn two_documents_share_a_root_exactly_when_a_path_joins_them(pairs in prop::collection::vec((0_u32..30, 0_u32..30), 0..40)) {
            let union = Union::new(30).unwrap();
            let mut group: Vec<u32> = (0..30).collect();
            for (a, b) in pairs {
                union.unite(a, b);
                let (from, to) = (group[a as usize].max(group[b as usize]), group[a as usize].min(group[b as usize]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
            for n in 0..30 {
                prop_assert_eq!(union.root(n), group[n as usize]);
            }
        }
    }
}
