//! Tables of hashes that are emptied and never freed, for counting within one document after the other.

use crate::words::hash::hash;

/// A set of 64-bit hashes.
#[derive(Debug, Default)]
pub struct Seen {
    slots: Vec<u64>,
}

impl Seen {
    /// Empties the set and makes room for `most` hashes.
    pub fn clear(&mut self, most: usize) {
        self.slots.clear();
        self.slots.resize((2 * most).next_power_of_two(), 0);
    }

    /// Adds `key`; whether it was new.
    #[inline]
    pub fn insert(&mut self, key: u64) -> bool {
        // 0 marks a free slot.
        let key = key.max(1);
        let mask = self.slots.len() - 1;
        let mut slot = key as usize & mask;
        loop {
            match self.slots[slot] {
                0 => {
                    self.slots[slot] = key;
                    return true;
                }
                other if other == key => return false,
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

/// What is known of a key of [`Tally`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    key: u64,
    /// How often it came.
    pub count: u32,
    /// The position at which it came first.
    pub first: u32,
}

/// Counts of 64-bit hashes.
#[derive(Debug, Default)]
pub struct Tally {
    slots: Vec<Entry>,
}

impl Tally {
    /// Empties the table and makes room for `most` hashes.
    pub fn clear(&mut self, most: usize) {
        self.slots.clear();
        self.slots.resize((2 * most).next_power_of_two(), Entry::default());
    }

    /// Counts `key`, which comes at `position`.
    #[inline]
    pub fn add(&mut self, key: u64, position: u32) -> Entry {
        let mask = self.slots.len() - 1;
        let mut slot = key as usize & mask;
        loop {
            let entry = &mut self.slots[slot];
            if entry.count == 0 {
                *entry = Entry { key, count: 1, first: position };
                return *entry;
            }
            if entry.key == key {
                entry.count += 1;
                return *entry;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// How often `key` came.
    pub fn count(&self, key: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut slot = key as usize & mask;
        while self.slots[slot].count > 0 {
            if self.slots[slot].key == key {
                return self.slots[slot].count;
            }
            slot = (slot + 1) & mask;
        }
        0
    }
}

/// Copies among pieces of a text: how many came before already, and their characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeated {
    /// All pieces.
    pub pieces: usize,
    /// Those that are a copy of an earlier one.
    pub copies: usize,
    /// Characters in the copies.
    pub chars: usize,
}

impl Repeated {
    /// Counts copies among `pieces`, of which there are at most `most`.
    pub fn among<'a>(pieces: impl Iterator<Item = &'a str>, most: usize, seen: &mut Seen) -> Self {
        let mut repeated = Self::default();
        seen.clear(most);
        for piece in pieces {
            repeated.pieces += 1;
            if !seen.insert(hash(piece.as_bytes(), 0, piece.len())) {
                repeated.copies += 1;
                repeated.chars += piece.chars().count();
            }
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_counted_from_the_second_on() {
        let mut seen = Seen::default();
        let pieces = ["a", "b\u{e9}", "a", "", "b\u{e9}", "b\u{e9}", ""];
        let found = Repeated::among(pieces.into_iter(), pieces.len(), &mut seen);
        assert_eq!(found, Repeated { pieces: 7, copies: 4, chars: 5 });
        assert_eq!(Repeated::among(["a"].into_iter(), 1, &mut seen).copies, 0);
    }

    #[test]
    fn a_tally_counts_and_remembers_the_first() {
        let mut tally = Tally::default();
        tally.clear(3);
        for (position, key) in [5, 0, 5, 13, 5, 0].into_iter().enumerate() {
            tally.add(key, position as u32);
        }
        assert_eq!(tally.add(0, 9), Entry { key: 0, count: 3, first: 1 });
        assert_eq!((tally.count(5), tally.count(13), tally.count(7)), (3, 1, 0));
    }
}
