//! Which of many pieces are equal, by their hashes: one table of 4 bytes a piece that is emptied and never freed.

use crate::words::hash::hash;

/// Finds, for each of a list of keys, the first equal one. A table of 32-bit positions: the keys themselves stay in the
/// list, and both fit the nearest cache for all but huge documents.
#[derive(Debug, Default)]
pub struct Firsts {
    /// Position plus one, open addressing.
    slots: Vec<u32>,
    mask: usize,
}

impl Firsts {
    /// Empties the table and makes room for `most` keys.
    pub fn clear(&mut self, most: usize) {
        let size = (3 * most).next_power_of_two();
        self.slots.clear();
        self.slots.resize(size, 0);
        self.mask = size - 1;
    }

    /// The first position with the same key as `position`: itself if the key is new.
    #[inline]
    pub fn first(&mut self, keys: &[u64], position: usize) -> usize {
        let key = keys[position];
        let mut slot = key as usize & self.mask;
        loop {
            let place = &mut self.slots[slot];
            let Some(other) = place.checked_sub(1) else {
                *place = position as u32 + 1;
                return position;
            };
            if keys[other as usize] == key {
                return other as usize;
            }
            slot = (slot + 1) & self.mask;
        }
    }
}

/// Room for [`Repeated::among`].
#[derive(Debug, Default)]
pub struct Seen {
    firsts: Firsts,
    keys: Vec<u64>,
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
        seen.firsts.clear(most);
        seen.keys.clear();
        for (position, piece) in pieces.enumerate() {
            seen.keys.push(hash(piece.as_bytes(), 0, piece.len()));
            repeated.pieces += 1;
            if seen.firsts.first(&seen.keys, position) != position {
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
    fn the_first_equal_key_is_found() {
        let mut firsts = Firsts::default();
        firsts.clear(6);
        let keys = [5, 0, 5, 5 + 16, 0, 5];
        let found: Vec<usize> = (0..keys.len()).map(|position| firsts.first(&keys, position)).collect();
        assert_eq!(found, [0, 1, 0, 3, 1, 0]);
    }
}
