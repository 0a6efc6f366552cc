//! Words with a split of their own: `cannot` is two, `Mr.` and `:)` are one.

use super::classes::entries;
use super::hash::{eight, first, hash, index};

/// One exception.
#[derive(Debug)]
pub struct Exception {
    pub text: String,
    /// Where each of its parts ends.
    pub ends: Vec<u8>,
}

/// The table of exceptions. Nearly every word is looked up and nearly none is one, so a bit map of their first 8 bytes
/// answers first.
#[derive(Debug)]
pub struct Exceptions {
    pub all: Vec<Exception>,
    longest: usize,
    bits: Box<[u64; 1 << BITS >> 6]>,
    /// Index into `all` plus one, open addressing.
    slots: Vec<u16>,
}

const SLOTS: usize = 1 << 12;
/// Size of the bit map as a power of two.
const BITS: u32 = 15;

impl Exceptions {
    /// No exception at all.
    pub fn none() -> Self {
        Self { all: Vec::new(), longest: 0, bits: Box::new([0; 1 << BITS >> 6]), slots: vec![0; SLOTS] }
    }

    /// spaCy's for English, but for those that are blanks.
    pub fn english() -> Self {
        let mut exceptions = Self::none();
        for entry in entries(include_str!("exceptions.txt")) {
            exceptions.insert(entry);
            if entry.contains('\'') {
                exceptions.insert(&entry.replace('\'', "\u{2019}"));
            }
        }
        exceptions
    }

    fn insert(&mut self, entry: &str) {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for part in entry.split('\u{a6}') {
            text.push_str(part);
            ends.push(text.len() as u8);
        }
        if self.find(text.as_bytes(), 0, text.len()).is_some() {
            return;
        }
        let key = hash(text.as_bytes(), 0, text.len());
        let bit = index(eight(text.as_bytes(), 0), 0, BITS);
        self.bits[bit / 64] |= 1 << (bit % 64);
        let mut slot = (key >> 32) as usize % SLOTS;
        while self.slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        self.longest = self.longest.max(text.len());
        self.all.push(Exception { text, ends });
        self.slots[slot] = self.all.len() as u16;
    }

    /// The exception `bytes[start..end]`.
    #[inline]
    pub fn find(&self, bytes: &[u8], start: usize, end: usize) -> Option<&Exception> {
        if end - start > self.longest {
            return None;
        }
        self.find_from(eight(bytes, start), bytes, start, end)
    }

    /// The same, given the 8 bytes from `start` on.
    #[inline]
    pub fn find_from(&self, word: u64, bytes: &[u8], start: usize, end: usize) -> Option<&Exception> {
        let bit = index(first(word, end - start), 0, BITS);
        if self.bits[bit / 64] >> (bit % 64) & 1 == 0 {
            return None;
        }
        self.look_up(bytes, start, end)
    }

    #[cold]
    fn look_up(&self, bytes: &[u8], start: usize, end: usize) -> Option<&Exception> {
        let (key, word) = (hash(bytes, start, end), &bytes[start..end]);
        let mut slot = (key >> 32) as usize % SLOTS;
        while let Some(index) = self.slots[slot].checked_sub(1) {
            let exception = &self.all[usize::from(index)];
            if exception.text.as_bytes() == word {
                return Some(exception);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_hold_with_both_apostrophes() {
        let exceptions = Exceptions::english();
        let ends = |word: &str| exceptions.find(word.as_bytes(), 0, word.len()).map(|found| found.ends.clone());
        assert_eq!(ends("don't"), Some(vec![2, 5]));
        assert_eq!(ends("don\u{2019}t"), Some(vec![2, 7]));
        assert_eq!(ends("I'd've"), Some(vec![1, 3, 6]));
        assert_eq!(ends("Mr."), Some(vec![3]));
        assert_eq!(ends("\u{2014}"), Some(vec![3]));
        assert_eq!(ends("ill"), None);
        assert_eq!(ends(""), None);
        // spaCy has 1,347, four of which are blanks.
        assert_eq!(exceptions.all.len(), 1_343);
    }
}
